"""Runs the same job in fastnn and in other frameworks, each in a process of its own, taking turns."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastnn import _check

PEERS = ("ours", "torch", "jax", "numpy")
_PAUSE = 0.25  # seconds: an OpenMP thread that waits for work still spins for 200 ms


@dataclass(frozen=True)
class Contest:
    """One job that all contenders do.

    Args:
        name: what it is called in the table.
        task: the task in the peers' scripts.
        parameters: what the task's builder is given.
        amount: how much one run does, in `unit`.
        unit: "samples/s", "GFLOP/s" or "GB/s".
    """

    name: str
    task: str
    parameters: dict[str, Any]
    amount: float
    unit: str


@dataclass
class Result:
    """What one contender did in one contest; `seconds` has one run's time for each turn."""

    contender: str
    variant: str
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    error: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else float("nan")


def peers_folder() -> Path:
    """Where the peers' scripts are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "peers", package.parent / "bench" / "peers"):
        if (folder / "protocol.py").exists():
            return folder
    _check.fail(
        "bench", "the folder of peers", f"at {package / 'peers'}", "none", "Reinstall fastnn.", error=FileNotFoundError
    )
    raise AssertionError


class Process:
    """A peer's script, running; see bench/peers/protocol.py for what it answers."""

    def __init__(self, peer: str, threads: int) -> None:
        script = peers_folder() / ("ours.py" if peer == "ours" else f"{peer}_peer.py")
        cpus = sorted(os.sched_getaffinity(0))[:threads]
        # The affinity mask is what every framework respects, JAX included, which has no setting of its own.
        pinned = f"import os, runpy; os.sched_setaffinity(0, {cpus}); runpy.run_path({str(script)!r}, run_name='__main__')"
        self._child = subprocess.Popen(
            [sys.executable, "-c", pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not os.environ.get("FASTNN_BENCH_STDERR") else None,
            text=True,
            env=_environment(threads, script.parent),
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


def _environment(threads: int, folder: Path) -> dict[str, str]:
    """This process's environment, without what would slow a peer down, and with its number of threads."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTNN_NUM_THREADS", "BENCH_THREADS"):
        environment[name] = str(threads)
    # fastnn is imported from where it is here; the peers find the modules beside them.
    package = str(Path(__file__).parent.parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), package, environment.get("PYTHONPATH", "")])
    return environment


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
    contest: Contest, present: dict[str, dict[str, Any]], threads: int, repeats: int = 5, seconds: float = 0.5
) -> list[Result]:
    """All contenders of one contest in turn, `repeats` times over."""
    entrants = [(peer, variant) for peer, hello in present.items() for variant in hello["tasks"].get(contest.task, [])]
    results = [Result(present[peer]["name"], variant) for peer, variant in entrants]
    processes = [Process(peer, threads) for peer, _ in entrants]
    try:
        for process, (_, variant), result in zip(processes, entrants, results):
            answer = process.ask("prepare", task=contest.task, variant=variant, parameters=contest.parameters)
            result.error = answer.get("error", "")
        for _ in range(repeats):
            for process, result in zip(processes, results):
                _take_turn(process, result, seconds)
    finally:
        for process in processes:
            process.close()
    return results


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


def contests(pattern: str = "") -> Iterator[Contest]:
    """The contests whose name contains every word of `pattern`."""
    words = pattern.lower().split()
    return (contest for contest in _CONTESTS if all(word in contest.name.lower() for word in words))


def _mlp(batch: int, samples: int, sizes: tuple[int, ...] = (1000, 128, 64, 10), name: str = "seed MLP") -> Contest:
    parameters = {"batch": batch, "samples": samples, "sizes": sizes}
    return Contest(f"{name}, batch {batch}", "mlp", parameters, samples, "samples/s")


def _gemm(m: int, k: int, n: int, form: str = "NN") -> Contest:
    parameters = {"m": m, "k": k, "n": n, "transpose_a": form[0] == "T", "transpose_b": form[1] == "T"}
    return Contest(f"GEMM {m}x{k}x{n} {form}", "gemm", parameters, 2e-9 * m * k * n, "GFLOP/s")


def _conv(direction: str, size: int, channels: int, filters: int, kernel: int, n: int = 128) -> Contest:
    parameters = {"direction": direction, "n": n, "size": size, "channels": channels, "filters": filters}
    parameters["kernel"] = kernel
    flops = 2e-9 * n * size * size * channels * filters * kernel * kernel
    name = f"conv {kernel}x{kernel} C{channels} K{filters} {size}x{size} {direction}"
    return Contest(name, "conv", parameters, flops, "GFLOP/s")


def _adamw(tensors: int, elements: int) -> Contest:
    name = f"AdamW {tensors} x {elements:,}".replace(",", " ")
    return Contest(name, "adamw", {"tensors": tensors, "elements": elements}, 28e-9 * tensors * elements, "GB/s")


_CONVS = [(14, 64, 64, 3), (28, 32, 64, 3), (14, 256, 64, 1)]
_CONTESTS = [
    _mlp(32, 20000),
    Contest("CNN, batch 128", "cnn", {"batch": 128, "samples": 6400}, 6400, "samples/s"),
    *[_gemm(32, 1000, 128, form) for form in ("NN", "TN", "NT")],
    *[_gemm(1000, 32, 128, form) for form in ("NN", "TN", "NT")],
    *[_gemm(size, size, size) for size in (128, 512, 2048)],
    _gemm(100352, 9, 32),
    *[_conv(direction, *shape) for shape in _CONVS for direction in ("forward", "dx", "dw")],
    _adamw(1, 25_000_000),
    _adamw(1000, 1000),
    _adamw(1, 1000),
]
