"""What goes wrong between processes, as exceptions that name who, where, when and why."""

from __future__ import annotations

from typing import Any


class CommunicationError(RuntimeError):
    """A group of processes can't go on. After one, every later call of the group raises at once.

    Attributes:
        rank: whose fault it is, None if nobody's in particular.
        host: where that rank ran, "" if unknown.
        operation: the number of the group's operation, from 1; 0 before the first.
        reason: the message.
    """

    def __init__(self, reason: str, rank: int | None = None, host: str = "", operation: int = 0):
        super().__init__(reason)
        self.rank, self.host, self.operation, self.reason = rank, host, operation, reason


class RankDied(CommunicationError):
    """A rank's process ended, left the group or was interrupted while others needed it."""


class CollectiveMismatch(CommunicationError):
    """The ranks called different operations, or one with different counts or dtypes."""


class CollectiveTimeout(CommunicationError, TimeoutError):
    """A rank didn't come to an operation within the limit."""


class RendezvousError(CommunicationError):
    """The ranks didn't find each other: one is missing, a port is taken, a secret is wrong."""


class CommunicatorClosed(CommunicationError):
    """The communicator was closed, or belongs to the process that this one was forked from."""


class WaitingForRank(UserWarning):
    """An operation has waited long for a rank, which may be slow, stopped or stuck."""


# By the numbers of comm::Trouble.
_CLASSES: dict[int, type[CommunicationError]] = {
    1: RankDied,
    2: CollectiveMismatch,
    3: CollectiveTimeout,
    4: RendezvousError,
    5: RankDied,
    6: CommunicatorClosed,
}


def of_failure(failed: Any) -> CommunicationError:
    """The exception for the extension's CommFailed(trouble, rank, host, operation, text)."""
    trouble, rank, host, operation, text = failed.args
    return _CLASSES[trouble](text, rank if rank >= 0 else None, host, operation)
