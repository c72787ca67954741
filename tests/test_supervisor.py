"""`fastnn run`: starts ranks, ends them all when one fails, starts them anew, and leaves none behind."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from rank_processes import PACKAGE

from fastnn import cli
from fastnn.cli import run as run_command

LIMIT = 100


@pytest.fixture
def start(tmp_path):
    """A function that starts `fastnn run ARGUMENTS program.py` with the program's text."""
    started = []

    def start(arguments, program, *more, command=("-m", "fastnn", "run"), **variables):
        (tmp_path / "program.py").write_text(program)
        command = [sys.executable, *command, *arguments, "program.py", *more]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RANK", "WORLD", "MASTER"))}
        env.pop("FASTNN_SECRET", None)
        env.update(variables, PYTHONPATH=str(PACKAGE.parent))
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, **pipe))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process):
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


def test_ranks_meet_and_get_their_arguments(start):
    program = """
import os, sys
import numpy as np
from fastnn import distributed
comm = distributed.init()
array = np.full(3, comm.rank + 1.0)
comm.all_reduce(array)
line = f"{comm.rank} of {comm.world_size} {array[0]} {sys.argv[1:]} {os.environ['LOCAL_RANK']} {comm.launch.restart}"
print(line + chr(10), end="", flush=True)
"""
    code, out, err = finish(start(["-n", "3"], program, "--epochs", "3", "-n", "7"))
    assert code == 0, err
    assert sorted(out.splitlines()) == [f"{rank} of 3 6.0 ['--epochs', '3', '-n', '7'] {rank} 0" for rank in range(3)]


def test_one_failure_ends_all_and_starts_them_anew(start):
    program = """
import os, sys, time
import numpy as np
from fastnn import distributed
comm = distributed.init()
if comm.launch.restart == 0 and comm.rank == 1:
    os.kill(os.getpid(), 9)
if comm.launch.restart == 1 and comm.rank == 0:
    sys.exit(7)
array = np.ones(1)
try:
    comm.all_reduce(array)
except distributed.RankDied as error:
    print(f"rank {comm.rank} heard of rank {error.rank}{chr(10)}", end="", flush=True)
    raise
print(f"sum {array[0]}{chr(10)}", end="", flush=True)
"""
    code, out, err = finish(start(["-n", "2", "--max-restarts", "2"], program))
    assert code == 0, err
    assert "rank 0 heard of rank 1" in out and "rank 1 heard of rank 0" in out and out.count("sum 2.0") == 2
    assert "fastnn run: rank 1 (process" in err and "was ended by SIGKILL" in err
    assert "starting all ranks anew (1 of 2 restarts)" in err and "starting all ranks anew (2 of 2 restarts)" in err
    assert "ended with exit code" in err


@pytest.mark.parametrize("how, wanted", [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 128 + 9)])
def test_the_exit_code_is_that_of_the_first_failure(start, how, wanted):
    program = f"import os, sys, time\nif os.environ['RANK'] == '1': {how}\ntime.sleep(1000)\n"
    begin = time.monotonic()
    code, _, err = finish(start(["-n", "2"], program))
    assert code == wanted and "rank 1 (process" in err
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_ranks(start, number):
    program = """
import os, signal, sys, time
def stop(number, frame):
    print(f"stopped by {number}{chr(10)}", end="", flush=True)
    sys.exit(1)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
print("ready" + chr(10), end="", flush=True)
time.sleep(1000)
"""
    process = start(["-n", "2"], program)
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    process.send_signal(number)
    code, out, _ = finish(process)
    assert code == 128 + number and out.count(f"stopped by {int(number)}") == 2


def test_no_rank_outlives_a_killed_supervisor(start):
    process = start(["-n", "2"], "import os, time\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(1000)\n")
    ranks = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    end = time.monotonic() + 30
    while any(is_running(rank) for rank in ranks):
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


MEET = """
import numpy as np
from fastnn import distributed
comm = distributed.init(join_timeout=60)
array = np.full(3, comm.rank + 1.0)
comm.all_reduce(array)
print(f"{comm.rank} of {comm.world_size}: {array[0]}{chr(10)}", end="", flush=True)
"""


def test_two_supervisors_meet(start):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
    hosts = ["-n", "2", "--nnodes", "2", "--rendezvous", place]
    nodes = [start([*hosts, "--node-rank", str(node)], MEET, FASTNN_SECRET="of this test") for node in range(2)]
    for node, (code, out, err) in enumerate(finish(node) for node in nodes):
        assert code == 0, err
        assert sorted(out.splitlines()) == [f"{rank} of 4: 10.0" for rank in (2 * node, 2 * node + 1)]


def test_torchrun_works_unchanged(start, tmp_path):
    """It listens at MASTER_PORT itself, and hands over no secret: the user's own is taken."""
    pytest.importorskip("torch")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code, out, err = finish(start([], MEET, command=command, XDG_CONFIG_HOME=str(tmp_path / "config")))
    assert code == 0, err
    assert sorted(out.splitlines()) == ["0 of 2: 3.0", "1 of 2: 3.0"]
    assert (tmp_path / "config" / "fastnn" / "secret").is_file()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-n", "0", "a.py"], "fastnn run: --nproc must be a whole number of at least 1, got 0"),
        (
            ["-n", "2", "--nnodes", "2", "a.py"],
            "fastnn run: --rendezvous must be HOST:PORT, where rank 0 waits, got nothing",
        ),
        (["-n", "2", "--rendezvous", "here", "a.py"], "fastnn run: --rendezvous must be HOST:PORT, got 'here'"),
        (
            ["-n", "2", "--nnodes", "2", "--node-rank", "2", "a.py"],
            "--node-rank must be a whole number from 0 to 1, got 2",
        ),
        (["a.py"], "required: -n/--nproc"),
    ],
)
def test_arguments_are_checked(capsys, arguments, message):
    assert cli.main(["run", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_place_of_the_rendezvous():
    assert run_command.place("node07:29500") == ("node07", 29500)
    assert run_command.place("fe80::1:29500") == ("fe80::1", 29500)
    assert run_command.place(None) == ("127.0.0.1", 0)
