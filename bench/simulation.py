"""All-reduce among many ranks, message by message: when would the last one be done?

A message of b bytes keeps the sender's way out, and then the receiver's way in, busy for alpha + b * beta seconds
(Hockney, "The communication challenge for MPP", 1994); a rank sends one message at a time, and receives one at the same
time; what has been sent and can't be received yet waits in between.
Beside the simulations stand the formulas for undisturbed ranks.

    ring          Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009
    tree          reduced up a binary tree and broadcast down again, in pieces, one behind the other
    double tree   Sanders, Speck and Traff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan",
                  2009: two trees carry half of the array each; no rank sends on in both
    hierarchical  pushed over shared memory inside each host, by a ring between the hosts' first ranks
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Link:
    """What a message costs: `alpha` seconds, and `beta` seconds for each byte."""

    alpha: float
    beta: float

    def time(self, size):
        return self.alpha + size * self.beta

    def scaled(self, factor):
        return Link(self.alpha * factor, self.beta * factor)


@dataclass(frozen=True)
class Memory:
    """What an all-reduce over shared memory costs: bytes up to `cache` cost `beta` each, those beyond it `beyond`."""

    alpha: float
    beta: float
    cache: float
    beyond: float

    def time(self, size):
        return self.alpha + min(size, self.cache) * self.beta + max(0, size - self.cache) * self.beyond

    def scaled(self, factor):
        return Memory(self.alpha * factor, self.beta * factor, self.cache, self.beyond * factor)


@dataclass
class Disturbance:
    """What keeps ranks from being alike.

    Args:
        noise: seconds by which a message is late on average (exponentially distributed).
        skew: seconds by which ranks begin late on average, likewise.
        slow: {rank: factor of what its messages cost}: stragglers.
        seed: of the random numbers.
    """

    noise: float = 0.0
    skew: float = 0.0
    slow: dict[int, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self):
        self._random = np.random.default_rng(self.seed)

    def starts(self, ranks):
        return self._random.exponential(self.skew, ranks) if self.skew else np.zeros(ranks)

    def factors(self, ranks):
        """How much longer the messages that each rank sends take."""
        factors = np.ones(ranks)
        for rank, factor in self.slow.items():
            if rank < ranks:
                factors[rank] = factor
        return factors

    def delays(self, count):
        return self._random.exponential(self.noise, count) if self.noise else 0.0

    def delay(self):
        return self._random.exponential(self.noise) if self.noise else 0.0


def ring(ranks, size, link, disturbance=None):
    """Seconds until the last of the ranks has the sum."""
    disturbance = disturbance or Disturbance()
    return float(_ring(disturbance.starts(ranks), size, link, disturbance).max())


def ring_formula(ranks, size, link):
    """2 (P - 1) messages of size / P bytes behind one another."""
    return 2 * (ranks - 1) * link.time(size / ranks)


def _ring(starts, size, link, disturbance):
    """When each rank is done: in every step it sends on what it has got in the step before."""
    ranks = len(starts)
    plain = link.time(size / ranks)
    costs = plain * disturbance.factors(ranks)
    ready = sent = starts
    for _ in range(2 * (ranks - 1)):
        sent = np.maximum(ready, sent) + costs
        # The next rank takes a part when it has taken the one before.
        ready = np.maximum(np.roll(sent + disturbance.delays(ranks), 1), ready + plain)
    return ready


def hierarchical(ranks, size, network, local, per_host, disturbance=None):
    """Seconds until the last rank has the sum; `local`: of an all-reduce over shared memory among `per_host` ranks.

    The first ranks of the hosts form a ring; what they get the others copy, which is taken to cost as much as a sum.
    """
    disturbance = disturbance or Disturbance()
    hosts = math.ceil(ranks / per_host)
    starts = np.resize(disturbance.starts(ranks), (hosts, per_host)).max(1)
    inside = local.time(size) if per_host > 1 else 0.0
    summed = starts + inside * disturbance.factors(hosts)
    return float(_ring(summed, size, network, disturbance).max() + inside)


def hierarchical_formula(ranks, size, network, local, per_host):
    """A sum inside the hosts, a ring between them, and the handing out inside the hosts."""
    inside = local.time(size) if per_host > 1 else 0.0
    return 2 * inside + ring_formula(math.ceil(ranks / per_host), size, network)


def depth(ranks):
    """How many messages lie between the root of a binary tree and the rank that is farthest away."""
    return ranks.bit_length() - 1


def tree_pieces(ranks, size, link):
    """Into how many pieces the array is cut, so that `tree_formula` gives the least time."""
    return max(1, round(math.sqrt(max(0, 4 * depth(ranks) - 3) * size * link.beta / (3 * link.alpha))))


def tree_formula(ranks, size, link):
    """Of each piece a rank takes in two messages on its way up and sends two on its way down, and one of the others:
    4 depth messages until the first one is everywhere, and 3 for each further one. Of two ranks each sends one.
    """
    pieces = tree_pieces(ranks, size, link)
    first, further = (2, 1) if ranks == 2 else (4 * depth(ranks), 3)
    return (first + further * (pieces - 1)) * link.time(size / pieces)


def tree(ranks, size, link, disturbance=None, pieces=None):
    """Seconds until the last of the ranks has the sum."""
    pieces = pieces or tree_pieces(ranks, size, link)
    return _Trees(ranks, [lambda place: place], size / pieces, pieces, link, disturbance or Disturbance()).run()


def double_tree_pieces(ranks, size, link):
    """Of each half of the array, so that `double_tree_formula` gives the least time."""
    return max(1, round(math.sqrt(max(0, depth(ranks) - 1) * size / 2 * link.beta / link.alpha)))


def double_tree_formula(ranks, size, link):
    """As for one tree, but a rank sends four messages for each further pair of pieces: 2 * size bytes in all."""
    pieces = double_tree_pieces(ranks, size, link)
    first, further = (2, 2) if ranks == 2 else (4 * depth(ranks), 4)
    return (first + further * (pieces - 1)) * link.time(size / 2 / pieces)


def double_tree(ranks, size, link, disturbance=None, pieces=None):
    """Seconds until the last of the ranks has the sum. The second tree is the first one's mirror image."""
    pieces = pieces or double_tree_pieces(ranks, size, link)
    places = [lambda place: place, lambda place: ranks - 1 - place]
    return _Trees(ranks, places, size / 2 / pieces, pieces, link, disturbance or Disturbance()).run()


class _Way:
    """A rank's way out or in: one message after the other, of those that wait the one of the earliest piece."""

    __slots__ = ("busy", "end", "waiting")

    def __init__(self):
        self.busy, self.end, self.waiting = False, -math.inf, []


class _Trees:
    """Trees that carry `pieces` pieces of `piece` bytes each.

    Place i of a tree has the children 2 i + 1 and 2 i + 2; `places` tells for each tree which rank stands at a place.
    Messages are (piece, up, tree, sender's place, receiver's place): going up, a piece is the sum of all below, going
    down it is complete, and goes first.
    """

    SUMMED, SENT, CAME, TAKEN = range(4)

    def __init__(self, ranks, places, piece, pieces, link, disturbance):
        self.places, self.pieces, self.delay = places, pieces, disturbance.delay
        self.plain = link.time(piece)
        self.costs = (self.plain * disturbance.factors(ranks)).tolist()
        self.starts = disturbance.starts(ranks).tolist()
        self.children = [[child for child in (2 * i + 1, 2 * i + 2) if child < ranks] for i in range(ranks)]
        self.missing = [[[len(below)] * pieces for below in self.children] for _ in places]
        self.out, self.into = ([_Way() for _ in range(ranks)] for _ in range(2))
        self.events, self.count, self.last = [], 0, max(self.starts)

    def run(self):
        """Seconds until the last rank has the last piece."""
        for tree, rank_at in enumerate(self.places):
            for place, below in enumerate(self.children):
                for piece in range(0 if below else self.pieces):
                    self._at(self.starts[rank_at(place)], self.SUMMED, (piece, True, tree, place, place))
        while self.events:
            now, _, kind, message = heapq.heappop(self.events)
            if kind == self.SUMMED:
                self._summed(now, message)
            elif kind == self.SENT:
                self._at(now + self.delay(), self.CAME, message)
                self._next(now, self.out[self.places[message[2]](message[3])], self.SENT)
            else:
                way = self.into[self.places[message[2]](message[4])]
                if kind == self.CAME:
                    self._come(now, way, message)
                else:
                    self._taken(now, message)
                    self._next(now, way, self.TAKEN)
        return self.last

    def _at(self, time, kind, message):
        self.count += 1  # of two at the same time the first one comes first
        heapq.heappush(self.events, (time, self.count, kind, message))

    def _summed(self, now, message):
        """A place has its own piece and those of all below."""
        piece, _, tree, _, place = message
        if place > 0:
            self._send(now, (piece, True, tree, place, (place - 1) // 2))
        else:
            self._complete(now, piece, tree, place)

    def _complete(self, now, piece, tree, place):
        self.last = max(self.last, now)
        for child in self.children[place]:
            self._send(now, (piece, False, tree, place, child))

    def _send(self, now, message):
        rank = self.places[message[2]](message[3])
        way = self.out[rank]
        if way.busy:
            heapq.heappush(way.waiting, message)
        else:
            way.busy = True
            self._at(now + self.costs[rank], self.SENT, message)

    def _next(self, now, way, kind):
        """The way is free for what waits for it."""
        way.end, way.busy = now, bool(way.waiting)
        if way.waiting:
            message = heapq.heappop(way.waiting)
            cost = self.plain if kind == self.TAKEN else self.costs[self.places[message[2]](message[3])]
            self._at(now + cost, kind, message)

    def _come(self, now, way, message):
        """Its last byte is here. It needs the way in as long as the way out, but both may be needed at once."""
        if way.busy:
            heapq.heappush(way.waiting, message)
            return
        way.busy = True
        self._at(max(now, way.end + self.plain), self.TAKEN, message)

    def _taken(self, now, message):
        piece, up, tree, _, place = message
        if not up:
            return self._complete(now, piece, tree, place)
        self.missing[tree][place][piece] -= 1
        if self.missing[tree][place][piece] == 0:
            ready = max(now, self.starts[self.places[tree](place)])
            self._at(ready, self.SUMMED, (piece, True, tree, place, place))
        return None
