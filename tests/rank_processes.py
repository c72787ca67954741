"""Ranks as real processes: each runs a small script, and what it prints is looked at."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

from fastnn import _backend

PACKAGE = Path(_backend.__file__).resolve().parent
LIMIT = 100  # seconds; a loaded machine is slow, a hanging test must end

# Each script finds these names: comm, rank, world, say(value), and fails(call) -> what was raised.
PRELUDE = """
import json, os, signal, sys, time
import numpy as np
import ml_dtypes
from fastnn import distributed

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores Ctrl-C

def say(value):
    print(json.dumps(value), flush=True)

def fails(call):
    begin = time.monotonic()
    try:
        call()
    except Exception as error:
        found = {"type": type(error).__name__, "text": str(error), "after": time.monotonic() - begin}
        for name in ("rank", "host", "operation"):
            found[name] = getattr(error, name, None)
        return found
    return {"type": "", "text": "nothing was raised", "after": time.monotonic() - begin}
"""
JOIN = """
comm = distributed.init(**json.loads(os.environ["INIT"]))
rank, world = comm.rank, comm.world_size
"""


class Ranks:
    """The processes of a job; ends those that are left."""

    def __init__(self, folder, script, world, *, join=True, env=None, each=None, command=None, **options):
        self.folder, self.world = folder, world
        self.name = f"fastnn-test-{uuid.uuid4().hex}"
        path = folder / f"{self.name}.py"
        path.write_text(PRELUDE + (JOIN if join else "") + script)
        self.processes = []
        for rank in range(world):
            variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "FASTNN_SECRET": "of the tests"}
            variables.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR=f"unix:{self.name}")
            variables.update(INIT=json.dumps({"join_timeout": 60, **options}), OMP_NUM_THREADS="1")
            variables.update(env or {})
            variables.update(each(rank) if each else {})
            arguments = [*(command(rank) if command else []), sys.executable, str(path)]
            pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
            self.processes.append(subprocess.Popen(arguments, cwd=folder, env=variables, **pipe))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its children, who hold its pipes
            process.communicate()

    def heard(self, rank):
        """The next value that a rank says."""
        watchdog = threading.Timer(LIMIT, self.processes[rank].kill)
        watchdog.start()
        line = self.processes[rank].stdout.readline()
        watchdog.cancel()
        assert line, f"rank {rank} ended: {self.processes[rank].stderr.read()}"
        return json.loads(line)

    def kill(self, rank, how=signal.SIGKILL):
        self.processes[rank].send_signal(how)

    def results(self, *, dead=()):
        """What each rank says until its end, all of it; ranks that aren't `dead` must end well."""
        values, end = [], time.monotonic() + LIMIT
        for rank, process in enumerate(self.processes):
            out, err = process.communicate(timeout=max(1.0, end - time.monotonic()))
            if rank not in dead:
                assert process.returncode == 0, f"rank {rank}: {process.returncode}\n{out}\n{err}"
            values.append([json.loads(line) for line in out.splitlines()])
        return values


def run_ranks(folder, script, world, **options):
    """What the ranks of a job say, one list for each, once all have ended well."""
    with Ranks(folder, script, world, **options) as ranks:
        return ranks.results()
