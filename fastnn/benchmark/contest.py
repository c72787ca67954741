"""Runs the same job in fastnn and in other frameworks, each in a process of its own, taking turns."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastnn.benchmark.job import Contest

PEERS = ("ours", "torch", "deepspeed", "jax", "numpy", "limit")
# What a peer's user would swap: which of fastnn's forms stands beside it, where there is more than one.
BESIDE = {"torch": "torch", "deepspeed": "torch", "jax": "jax", "numpy": "functional", "limit": "functional"}
_PAUSE = 0.25  # seconds: an OpenMP thread that waits for work still spins for 200 ms
# Variables that make OpenBLAS slower than it is by itself.
_DROPPED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTNN_NUM_THREADS", "BENCH_THREADS")


@dataclass
class Result:
    """What one contender did in one contest; `seconds` has one run's time for each turn."""

    peer: str
    contender: str
    variant: str
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    error: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else float("nan")


def peers_folder() -> Path:
    """Where the peers' scripts are: inside the installed package, or in a checkout's bench/."""
    packaged = Path(__file__).with_name("peers")
    return packaged if packaged.exists() else Path(__file__).parents[2] / "bench" / "peers"


class Process:
    """A peer's script, running; see bench/peers/protocol.py for what it answers."""

    def __init__(self, peer: str, threads: int) -> None:
        script = peers_folder() / ("ours.py" if peer == "ours" else f"{peer}_peer.py")
        self._child = subprocess.Popen(
            [sys.executable, "-c", _pinned(script, threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=script.parent,  # Python imports from there first: not from a checkout that has no kernels built
            env=_environment(script.parent, threads),
        )

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            print(json.dumps({"do": do, **order}), file=self._child.stdin, flush=True)
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": self._last_words()}

    def _last_words(self) -> str:
        text = self._child.stderr.read().strip() if self._child.stderr is not None else ""
        return text.splitlines()[-1] if text else f"ended with exit code {self._child.wait()}"

    def close(self) -> None:
        self._child.kill()
        self._child.communicate()


def _pinned(script: Path, threads: int) -> str:
    """Python that runs the script on the first CPUs: the affinity mask is the one setting that JAX respects too."""
    run = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    if not hasattr(os, "sched_getaffinity"):
        return run
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    return f"import os; os.sched_setaffinity(0, {cpus}); {run}"


def _environment(folder: Path, threads: int) -> dict[str, str]:
    """This process's environment, without what would slow a peer down, and with its number of threads."""
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    environment |= dict.fromkeys(_THREADS, str(threads))
    # The peers find the modules beside them, and fastnn where it is here.
    paths = [str(folder), str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def installed(peers: Iterable[str], threads: int) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Returns what each peer says it is and can do, and for those that don't start, why."""
    present, missing = {}, {}
    for peer in peers:
        process = Process(peer, threads)
        answer = process.ask("hello")
        process.close()
        if "error" in answer:
            missing[peer] = answer["error"]
        else:
            present[peer] = answer
    return present, missing


def run(
    contest: Contest, present: dict[str, dict[str, Any]], threads: int, repeats: int = 5, seconds: float = 0.4
) -> list[Result]:
    """All contenders of one contest in turn, `repeats` times over, for about `seconds` each time."""
    entrants = [
        (peer, variant)
        for peer, hello in present.items()
        for variant in hello["tasks"].get(contest.task, [])
        if variant not in contest.left_out
    ]
    results = [Result(peer, present[peer]["name"], variant) for peer, variant in entrants]
    processes: list[Process] = []
    try:
        processes += [Process(peer, threads) for peer, _ in entrants]
        for process, result in zip(processes, results):
            order = {"task": contest.task, "variant": result.variant, "parameters": contest.parameters}
            result.error = process.ask("prepare", **order).get("error", "")
        for _ in range(repeats):
            for process, result in zip(processes, results):
                _take_turn(process, result, seconds)
    finally:
        for process in processes:
            process.close()
    return results


def ours_beside(entry: Result, entries: Iterable[Result]) -> Result | None:
    """fastnn's form that belongs beside this contender: by framework, else the fastest."""
    ours = [other for other in entries if other.peer == "ours" and other.seconds]
    own = [other for other in ours if other.variant == BESIDE.get(entry.peer)]
    return min(own or ours, key=lambda other: other.median, default=None)


def _take_turn(process: Process, result: Result, seconds: float) -> None:
    if result.error:
        return
    time.sleep(_PAUSE)
    answer = process.ask("measure", seconds=seconds)
    if "error" in answer:
        result.error = answer["error"]
        return
    result.seconds.append(answer["seconds"])
    result.peak_mb = max(result.peak_mb, answer["peak_mb"])
