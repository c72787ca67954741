"""ZeRO-1 (Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020): each rank
keeps the optimizer's state of its own part of the parameters alone, updates that part, and gives it to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import _backend, _check, optimizers
from fastnn.distributed import state
from fastnn.distributed.communicator import Communicator

Array = np.ndarray


@dataclass
class Piece:
    """A part of a parameter that this rank updates."""

    name: str
    value: Array
    grad: Array
    regularizer: Any
    begin: int  # in the flat arrays


class Sharded(optimizers.Optimizer):
    """An optimizer whose state is divided among the ranks: with n ranks each one keeps an n-th of it.

    A step sums each rank's part of the gradients, updates that part of the parameters and hands it to all. The
    result is that of the optimizer itself, to the bit on up to two hosts (more are summed in another order).

    Args:
        optimizer: a name or an object of `fastnn.optimizers` whose update goes element by element: Lamb, LARS and Muon
            look at whole tensors, and so does clipping by norm.

    State that is saved is this rank's own part; each rank saves and loads its own, with the same number of ranks.

    Raises:
        ValueError: the optimizer looks at whole tensors; `compile` before `fastnn.distributed.init`.
    """

    default_name = "sharded"

    def __init__(self, optimizer: Any) -> None:
        self.inner = optimizers.get(optimizer)
        super().__init__(self.inner.learning_rate, name=self.inner.name)
        for option in ("clipnorm", "global_clipnorm", "skip_nonfinite"):
            if getattr(self.inner, option):
                self._fail("optimizer", f"one without {option}, which looks at all parts", self.inner.default_name)
        if not self.inner.parts([])[0].rule.elementwise or len(self.inner.parts([])) != 1:
            remedy = "Use it on its own."
            self._fail("optimizer", "one that updates element by element", self.inner.default_name, remedy)
        self._comm: Communicator | None = None
        self._op = "mean"
        self._all: list[Any] = []

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's."""
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner.learning_rate = value

    @property
    def iterations(self) -> int:
        """How many steps have been made."""
        return self.inner.iterations

    def exclude_from_weight_decay(self, var_list: Any = (), var_names: Any = ()) -> None:
        """As for the optimizer itself."""
        self.inner.exclude_from_weight_decay(var_list, var_names)

    def self_updates(self, parameters: Sequence[Any]) -> tuple[Any, Callable[[], None] | None] | None:
        """None: the gradients of all ranks come together before an update."""
        return None

    def build(self, parameters: Sequence[Any], flat_param: Array, flat_grad: Array) -> None:
        """As for the optimizer itself; state is made for this rank's part alone."""
        comm = state.current()
        if comm is None:
            remedy = "Call fastnn.distributed.init() before compile."
            _check.fail("Sharded", "the model", "compiled after init", "a call before", remedy)
        self._comm, self._all, self._flat = comm, list(parameters), flat_param
        begin, end = self.part(comm.rank)
        inner = self.inner
        inner.build(self._pieces(flat_grad), flat_param[begin:end], flat_grad[begin:end])
        self.stop_flag, self._step, self._skipped = inner.stop_flag, inner._step, inner._skipped

    def part(self, rank: int) -> tuple[int, int]:
        """(begin, end) of a rank's part of the flat arrays: of equal length, but for what the last ones lack."""
        assert self._comm is not None
        size = part_size(self._flat.size, self._comm.world_size)
        return min(rank * size, self._flat.size), min((rank + 1) * size, self._flat.size)

    def _pieces(self, flat_grad: Array) -> list[Piece]:
        assert self._comm is not None
        begin, end = self.part(self._comm.rank)
        base = _backend.address(self._flat)
        pieces = []
        for parameter in self._all:
            start = (_backend.address(parameter.value) - base) // self._flat.itemsize
            low, high = max(start, begin), min(start + parameter.value.size, end)
            if low < high:
                value, grad = self._flat[low:high], flat_grad[low:high]
                pieces.append(Piece(parameter.name, value, grad, parameter.regularizer, low))
        return pieces

    def rebind(self, flat_grad: Array) -> None:
        """The gradients lie in these flat ones from now on."""
        for piece in self.inner._parameters:
            piece.grad = flat_grad[piece.begin : piece.begin + piece.value.size]
        self.inner.rebind(flat_grad)

    def combine(self, shared: Array, op: str) -> None:
        """Sum this rank's part of the gradients of all ranks.

        Args:
            shared: float32[world_size * part], the flat gradients and what the last parts lack.
            op: "sum" or "mean".
        """
        assert self._comm is not None
        size = shared.size // self._comm.world_size
        self._comm.reduce_scatter(shared, shared[self._comm.rank * size :][:size], op)

    def step(self) -> None:
        """Update this rank's part and give it to all ranks, theirs to this one."""
        assert self._comm is not None
        self.scheduled_step(_backend.to_device(self.upcoming_rates(1)), _backend.zeros(1, np.int64))
        for rank in range(self._comm.world_size):
            begin, end = self.part(rank)
            self._comm.broadcast(self._flat[begin:end], rank)

    def begin_step(self, rates: Array, slot: Array) -> None:
        """As for the optimizer itself."""
        self.inner.begin_step(rates, slot)

    def common_step(self) -> None:
        """The update of this rank's part, after `begin_step`."""
        if self.inner._parameters:  # there may be more ranks than parts
            self.inner.common_step()

    def upcoming_rates(self, count: int) -> Array:
        """The learning rates of the next `count` steps."""
        return self.inner.upcoming_rates(count)

    def state_arrays(self) -> dict[str, Array]:
        """This rank's part of the state: names end in the first element of the flat parameters that they belong to."""
        arrays_by_name = {"iterations": self.inner._step}
        for slot, arrays in self.inner._slots.items():
            pairs = zip(self.inner._parameters, arrays)
            arrays_by_name.update({f"{slot}/{piece.name}@{piece.begin}": array for piece, array in pairs})
        return arrays_by_name

    def get_config(self) -> dict[str, Any]:
        """The inner optimizer, as `optimizers.serialize` describes it."""
        return {"optimizer": optimizers.serialize(self.inner)}


def part_size(count: int, ranks: int) -> int:
    """Elements of a rank's part: a multiple of a cache line."""
    return -(-count // (16 * ranks)) * 16
