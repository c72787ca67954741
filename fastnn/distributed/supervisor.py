"""Starts the ranks of one host, watches them, and starts them anew when one fails: what ``fastnn run`` does."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

_GRACE = 5.0  # seconds for the other ranks to find out by themselves, and again after SIGTERM
_SLICE = 0.05  # seconds between two looks at the ranks
_PR_SET_PDEATHSIG = 1


@dataclass
class Job:
    """What to run, and where.

    Attributes:
        command: the program and its arguments, the same for all ranks.
        ranks: how many of them run on this host.
        hosts: how many hosts take part, each with as many ranks.
        host: the number of this one.
        address, port: where rank 0 waits for the others; on one host, port 0 takes any that is free.
        restarts: how often all ranks are started anew after one has failed.
    """

    command: Sequence[str]
    ranks: int
    hosts: int = 1
    host: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    restarts: int = 0
    stopped_by: int | None = field(default=None, init=False)  # a signal


class Rank:
    """A running rank."""

    def __init__(self, job: Job, local_rank: int, attempt: int, port: int, secret: str, listening: int | None):
        self.number = job.host * job.ranks + local_rank
        variables = {
            **os.environ,
            "RANK": str(self.number),
            "WORLD_SIZE": str(job.ranks * job.hosts),
            "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(job.ranks),
            "MASTER_ADDR": job.address,
            "MASTER_PORT": str(port),
            "FASTNN_RESTART": str(attempt),
        }
        if secret:
            variables["FASTNN_SECRET"] = secret
        variables.pop("FASTNN_LISTENING", None)
        if listening is not None:
            variables["FASTNN_LISTENING"] = str(listening)
        inherited = () if listening is None else (listening,)
        parent = os.getpid()
        self.process = subprocess.Popen(
            job.command, env=variables, pass_fds=inherited, preexec_fn=lambda: _end_with(parent)
        )

    def ended(self) -> str:
        """How it ended, in words; "" while it runs and after it has ended well."""
        code = self.process.poll()
        if not code:
            return ""
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"rank {self.number} (process {self.process.pid}) {how}"


def _end_with(parent: int) -> None:
    """In a new child: it's killed when the supervisor ends, even if that is killed itself."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def run(job: Job) -> int:
    """Run the job's ranks on this host, again after a failure as often as the job allows.

    Returns:
        0 if all ranks ended well; otherwise the exit code of the one that failed first, 128 + the signal that ended it.
    """
    with _signals_for(job):
        for attempt in range(job.restarts + 1):
            code = _attempt(job, attempt)
            if code == 0 or job.stopped_by is not None:
                break
            if attempt < job.restarts:
                _say(f"starting all ranks anew ({attempt + 1} of {job.restarts} restarts)")
    return code if job.stopped_by is None else 128 + job.stopped_by


def _say(text: str) -> None:
    print(f"fastnn run: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _signals_for(job: Job) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the ranks first."""

    def stop(number: int, frame: FrameType | None) -> None:
        job.stopped_by = number

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _attempt(job: Job, attempt: int) -> int:
    """Start all ranks and wait for them. Returns the first failure's exit code."""
    secret = os.environ.get("FASTNN_SECRET", "")
    if not secret and job.hosts == 1:
        secret = secrets.token_hex(32)
    listening, port = None, job.port
    if job.hosts == 1:  # bound here, so that the port is free and nobody else can take it
        listening = socket.create_server((job.address, job.port))
        port = listening.getsockname()[1]
    ranks: list[Rank] = []
    try:
        for local_rank in range(job.ranks):
            inherited = listening.fileno() if listening is not None and local_rank == 0 else None
            ranks.append(Rank(job, local_rank, attempt, port, secret, inherited))
        if listening is not None:
            listening.close()  # rank 0's now
        return _watch(job, ranks)
    finally:
        _end(ranks)


def _watch(job: Job, ranks: list[Rank]) -> int:
    """Wait until all ranks have ended, or one has failed."""
    while job.stopped_by is None:
        for rank in ranks:
            how = rank.ended()
            if how:
                _say(how)
                code = rank.process.returncode
                _wait(ranks, _GRACE)
                return code if code > 0 else 128 - code
        if all(rank.process.poll() == 0 for rank in ranks):
            return 0
        time.sleep(_SLICE)
    for rank in ranks:
        with contextlib.suppress(ProcessLookupError):
            rank.process.send_signal(job.stopped_by)
    _wait(ranks, _GRACE)
    return 128 + job.stopped_by


def _wait(ranks: list[Rank], seconds: float) -> bool:
    """Whether all ranks have ended within this time."""
    end = time.monotonic() + seconds
    while any(rank.process.poll() is None for rank in ranks):
        if time.monotonic() > end:
            return False
        time.sleep(_SLICE)
    return True


def _end(ranks: list[Rank]) -> None:
    """Nothing is left running."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(ending)
        if _wait(ranks, _GRACE):
            return
