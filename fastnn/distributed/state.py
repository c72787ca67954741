"""The process's own group: joined once, found by whatever trains."""

from __future__ import annotations

from typing import Any

from fastnn import _backend, _check
from fastnn.distributed.communicator import Communicator

_current: Communicator | None = None


def init(rank: int | None = None, world_size: int | None = None, **options: Any) -> Communicator:
    """Join the job's group of processes, once, and share the host's cores among its ranks.

    Args:
        rank, world_size, **options: as for `Communicator`; by default the launcher's environment says them, and without
            a launcher this is a group of one.

    Returns:
        The communicator, which `current` returns from now on, too. A second call returns it again.

    Raises:
        RendezvousError: ranks are missing, the port is taken, a secret is wrong.
    """
    global _current
    if _current is not None:
        if rank is not None or world_size is not None or options:
            remedy = "Call fastnn.distributed.shutdown() first, or make a Communicator beside it."
            _check.fail("init", "its arguments", "given at the first call alone", "a second call with some", remedy)
        return _current
    _current = Communicator(rank, world_size, **options)
    _share_cores(_current)
    return _current


def _share_cores(comm: Communicator) -> None:
    """Ranks that run on the same cores must not use all of them each."""
    fair = max(1, comm.cores // comm.local_world_size)
    if not _backend.is_thread_count_chosen() and _backend.get_num_threads() > fair:
        _backend.set_num_threads(fair)


def current() -> Communicator | None:
    """The communicator of `init`, None before it and after `shutdown`."""
    return _current


def shutdown() -> None:
    """Leave the group of `init`."""
    global _current
    if _current is not None:
        _current.close()
        _current = None
