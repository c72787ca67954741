"""The ring all-reduce on the GPUs of one host (Patarasuk and Yuan, "Bandwidth Optimal All-reduce Algorithms for
Clusters of Workstations", 2009): each GPU writes to memory of the next one, and combines what has come with its own.

Arrays are cut into as many parts as there are ranks, parts into messages that fit a slot of the link. Whatever a GPU
waits for was enqueued before on the other one (`csrc/cuda/peer_link.h`): the processes count messages for each other in
the host's shared memory, where a rank that is gone is noticed, and so no GPU waits for ever.

A rank sends (n - 1) / n of an all-reduce's bytes twice. Sums go round the ring: each part is added up in the order of
the ranks, beginning with another one for each part; all ranks get the same bits, in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from fastnn.distributed import arguments

_SLOTS, _SLOT_BYTES = 4, 4 << 20  # a message that is as long takes 10 microseconds over NVLink 4, 160 over PCIe 4
_GRAIN = 64  # elements: parts begin at multiples of 16 bytes
_SENT, _TAKEN = 0, 1  # counters


@dataclass(frozen=True)
class Part:
    """A stretch of an array that a rank sends or receives.

    Attributes:
        out: where it lies, or is to go.
        count: its elements.
        own: what is combined with the one that comes, 0 for nothing.
        divisor: of the result.
    """

    out: int
    count: int
    own: int = 0
    divisor: int = 1


class DeviceRing:
    """A ring of GPUs.

    Args:
        comm: the group, on one host.
        kernels: the extension for GPUs.
        link: connected to the neighbours.
    """

    def __init__(self, comm: Any, kernels: Any, link: Any):
        self._comm, self._kernels, self._link = comm, kernels, link
        self._rank, self._world = comm.rank, comm.world_size
        self._sent = self._received = 0
        self._scratch: Any = None

    @classmethod
    def open(cls, comm: Any, kernels: Any) -> DeviceRing | None:
        """A ring of all ranks of the group, None if a GPU can't reach the next one's memory or there are several hosts.

        Raises:
            CommunicationError: a rank is gone.
        """
        if comm.hosts > 1:
            return None
        link = kernels.PeerLink(_SLOTS, _SLOT_BYTES)
        own = np.frombuffer(link.passport(), np.int64)
        passports = np.empty((comm.world_size, len(own)), np.int64)
        comm.all_gather(own, passports)
        next_rank, previous = (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size
        reached = np.array([link.connect(passports[next_rank].tobytes(), passports[previous].tobytes())], np.int32)
        comm.all_reduce(reached, "min")
        return cls(comm, kernels, link) if reached[0] else None

    def close(self) -> None:
        """Give back the slots."""
        self._link = self._scratch = None

    def run(self, call: Any) -> None:
        """See `Transport`."""
        if call.count > 0:
            getattr(self, f"_{call.kind}")(call, arguments.ITEM_SIZES[call.dtype])

    def _all_reduce(self, call: Any, item: int) -> None:
        def part(number: int) -> tuple[int, int]:
            begin, end = share(call.count, number % self._world, self._world)
            return call.destination + begin * item, end - begin

        divisor = self._world if call.op == "mean" else 1
        parts = []
        for step in range(1, 2 * self._world - 1):
            out, count = part(self._rank - step)
            sums = step < self._world
            parts.append(Part(out, count, out if sums else 0, divisor if step == self._world - 1 else 1))
        self._pass(call, [Part(*part(self._rank)), *parts[:-1]], parts)

    def _reduce_scatter(self, call: Any, item: int) -> None:
        size = call.count * item
        if self._scratch is None or self._scratch.bytes < 2 * size:
            self._scratch = self._kernels.DeviceMemory(2 * size)
        parts = []
        for step in range(1, self._world):
            own = call.source + (self._rank - 1 - step) % self._world * size
            parts.append(Part(self._scratch.address + step % 2 * size, call.count, own))
        divisor = self._world if call.op == "mean" else 1
        parts[-1] = replace(parts[-1], out=call.destination, divisor=divisor)
        first = Part(call.source + (self._rank - 1) % self._world * size, call.count)
        self._pass(call, [first, *parts[:-1]], parts)

    def _all_gather(self, call: Any, item: int) -> None:
        size = call.count * item
        own = Part(call.destination + self._rank * size, call.count)
        self._kernels.copy_memory(own.out, call.source, size)
        steps = range(1, self._world)
        parts = [Part(call.destination + (self._rank - step) % self._world * size, call.count) for step in steps]
        self._pass(call, [own, *parts[:-1]], parts)

    def _broadcast(self, call: Any, item: int) -> None:
        whole = Part(call.destination, call.count)
        is_last = (self._rank + 1) % self._world == call.root
        sends, receives = [] if is_last else [whole], [] if self._rank == call.root else [whole]
        self._pass(call, sends, receives, forwards=True)

    def _pass(self, call: Any, sends: list[Part], receives: list[Part], forwards: bool = False) -> None:
        """Send and receive parts, in turns; part i + 1 that is sent is part i that was received.

        Args:
            forwards: each message that is sent was received just before instead.
        """
        item = arguments.ITEM_SIZES[call.dtype]
        for sent, received in zip_longest(sends, receives, fillvalue=Part(0, 0)):
            for out, into in zip_longest(self._messages(sent, item), self._messages(received, item)):
                if forwards and into is not None:
                    self._receive(call, into)
                if out is not None:
                    self._send(out, item)
                if not forwards and into is not None:
                    self._receive(call, into)

    def _messages(self, part: Part, item: int) -> Iterator[Part]:
        longest = self._link.slot_bytes // item
        for begin in range(0, part.count, longest):
            own = part.own + begin * item if part.own else 0
            yield Part(part.out + begin * item, min(longest, part.count - begin), own, part.divisor)

    def _send(self, message: Part, item: int) -> None:
        group, link = self._comm._group, self._link
        if self._sent >= link.slots:  # the slot must have been read
            self._comm._await(_TAKEN, (self._rank + 1) % self._world, self._sent - link.slots + 1)
        link.send(self._sent, message.out, message.count * item)
        self._sent += 1
        group.announce(_SENT, self._sent % (1 << 32))

    def _receive(self, call: Any, message: Part) -> None:
        self._comm._await(_SENT, (self._rank - 1) % self._world, self._received + 1)
        numbers = {"type": arguments.TYPES[call.dtype], "combine": arguments.COMBINES[call.op]}
        self._link.receive(self._received, message.own, message.out, message.count, divisor=message.divisor, **numbers)
        self._received += 1
        self._comm._group.announce(_TAKEN, self._received % (1 << 32))


def share(count: int, number: int, parts: int) -> tuple[int, int]:
    """(begin, end) of one of as many parts of `count` elements, in whole grains as evenly as can be."""
    grains = -(-count // _GRAIN)
    begin, end = (grains * i // parts * _GRAIN for i in (number, number + 1))
    return min(begin, count), min(end, count)
