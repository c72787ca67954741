"""Training by several processes: on the cores of one host, or on several hosts.

from fastnn import distributed

comm = distributed.init()          # under `fastnn run -n 4 train.py`, torchrun, srun or mpirun
comm.all_reduce(gradients, "mean")
"""

from __future__ import annotations

from fastnn.distributed.communicator import Communicator
from fastnn.distributed.errors import (
    CollectiveMismatch,
    CollectiveTimeout,
    CommunicationError,
    CommunicatorClosed,
    RankDied,
    RendezvousError,
    WaitingForRank,
)
from fastnn.distributed.handle import Handle
from fastnn.distributed.launch import Launch, resolve
from fastnn.distributed.sharded import Sharded
from fastnn.distributed.state import current, init, shutdown

__all__ = [
    "CollectiveMismatch",
    "CollectiveTimeout",
    "CommunicationError",
    "Communicator",
    "CommunicatorClosed",
    "Handle",
    "Launch",
    "RankDied",
    "RendezvousError",
    "Sharded",
    "WaitingForRank",
    "current",
    "init",
    "resolve",
    "shutdown",
]
