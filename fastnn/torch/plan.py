"""A step's plan: where parameters, gradients and states lie, which kernel calls update them, and whether that still
holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastnn import _backend
from fastnn.torch import native, storage
from fastnn.torch.options import plain
from fastnn.torch.tensors import PreparedTensors

if TYPE_CHECKING:
    from fastnn.torch.base import Optimizer

_PARAMS, _GRADS, _STATES = 0, 1, 2  # rows of the addresses


class Plan:
    """Made for what an optimizer finds in one step, and used again as long as `holds`.

    One kernel call updates the parameters of a group whose step counters and formats agree. Counters disagree where
    some had no gradient in some steps; and what is listed twice is updated twice, one after the other, as torch's loops
    do it.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        self.groups = list(groups)
        prepared = PreparedTensors(optimizer)
        self.addresses = prepared.addresses
        self.params = prepared.params
        self.parts = [Part(optimizer, prepared, *part) for part in prepared.parts()]
        self.watch = None
        if not prepared.copies:
            lists = [group["params"] for group in groups]
            self.watch = native.watch(lists, optimizer.state, prepared.names, self.addresses)
        self._copies = prepared.copies  # alive until the step is done
        for part in self.parts:
            part.ready(optimizer, alone=len(self.parts) == 1)

    def holds(self, optimizer: Optimizer) -> bool:
        """Whether `run` may be called; takes a step's options, learning rates and gradients from the optimizer."""
        if self.watch is None or len(self.groups) != len(optimizer.param_groups):
            return False
        lists = []
        for group, known in zip(optimizer.param_groups, self.groups):
            if group is not known:
                return False
            lists.append(group["params"])
        result = self.watch.refresh(lists, optimizer.state)
        if result == self.watch.CHANGED:
            return False
        for part in self.parts:
            if result == self.watch.MOVED:
                part.move_grads(self.addresses[_GRADS])
            if not part.ready(optimizer, alone=len(self.parts) == 1):
                return False
        return True

    def run(self, scale: float) -> bool:
        """Does the step; returns whether it was skipped as a gradient isn't finite.

        Args:
            scale: the gradients count so many times.
        """
        scales = self._scales(scale)
        if scales is None:
            return True
        for part, factor in zip(self.parts, scales):
            if not part.run(factor):
                return True  # the only part
        torch.autograd.graph.increment_version(self.params)  # a graph from before the step must not be used after it
        return False

    def _scales(self, scale: float) -> list[float] | None:
        """For each part what clipping by norm makes of the scale, where no kernel sees all gradients; None if the step
        is to be skipped.
        """
        limits = [part.clip_norm for part in self.parts]
        if len(limits) < 2:
            return [scale] * len(limits)
        grads = [param.grad for param in self.params if param.numel()]
        if any(part.group["skip_nonfinite"] for part in self.parts):
            if not math.isfinite(torch.nn.utils.get_total_norm(grads, math.inf)):
                return None
        if not any(limits):
            return [scale] * len(limits)
        norm = scale * float(torch.nn.utils.get_total_norm([grad.float() for grad in grads]))
        return [scale * limit / norm if limit and norm > limit else scale for limit in limits]


class Part:
    """One call of a kernel: tensors of one group, all in the same step.

    Args:
        group: whose options count.
        columns: int64[n], which of the addresses.
        step: of the update to come, unless counters say so.
        repeated: whether these parameters have been updated in an earlier part of the same step.
        formats: of the tensors.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        prepared: PreparedTensors,
        group: dict[str, Any],
        columns: np.ndarray,
        step: int,
        repeated: bool,
        formats: storage.Formats,
    ) -> None:
        self.group, self.columns, self.repeated = group, columns, repeated
        self._fixed = _fixed(optimizer, group)
        addresses = np.ascontiguousarray(prepared.addresses[:, columns])
        rows = {name: addresses[_STATES + i] for i, name in enumerate(prepared.names)}
        self.steps = rows["step"] if optimizer.counts_steps else None
        self.lr, self.step = 0.0, step
        adapts = np.array([optimizer.adapts(prepared.all[column], group) for column in columns], np.float32)
        self.table = _backend.kernels.TensorTable.of_addresses(
            addresses[_PARAMS],
            addresses[_GRADS],
            [rows[name] for name in optimizer.slots(group)],
            prepared.counts[columns],
            dtypes=formats.of_table(),
            l1=np.full(len(columns), plain(group["l1"]), np.float32),
            decay=adapts,
            borrowed=True,
        )
        if not adapts.all():
            self.table.set_adapts(adapts)
        self.clip_norm = 0.0
        self._read = optimizer.option_reader()
        self._values: tuple[Any, ...] | None = None
        self._rule: Any = None
        self._found_inf: np.ndarray | None = None

    def move_grads(self, addresses: np.ndarray) -> None:
        """Takes the gradients from elsewhere: int64, all of the optimizer's."""
        self.table.move_grads(addresses[self.columns])

    def ready(self, optimizer: Optimizer, alone: bool) -> bool:
        """Takes options, learning rate and step count for `run`; False if they need another table.

        Args:
            alone: whether this is the whole step, so that the kernel sees all gradients.
        """
        values = self._read(self.group)
        if values != self._values:
            if _fixed(optimizer, self.group) != self._fixed:
                return False
            self._bind(optimizer, alone)
            # A tensor may get another value and be the same object.
            self._values = None if any(map(_has_tensor, values)) else values
        lr = self.group["lr"]
        self.lr = lr if type(lr) is float else plain(lr)
        if self.steps is not None:
            self.step = _backend.kernels.next_step(self.steps)
        return self.step != 0

    def _bind(self, optimizer: Optimizer, alone: bool) -> None:
        group = self.group
        self.clip_norm = plain(group["clip_norm"])
        self._found_inf = np.zeros(1, np.float32) if alone and group["skip_nonfinite"] else None
        make = getattr(_backend.kernels, optimizer.rule)
        self._rule = make(
            weight_decay=plain(group["weight_decay"]),
            decoupled=group.get("decoupled_weight_decay", False),
            maximize=group["maximize"],
            clip_norm=self.clip_norm if alone else 0.0,
            clip_value=plain(group["clip_value"]),
            skip_nonfinite=self._found_inf is not None,
            **optimizer.rule_options(group),
        )

    def run(self, scale: float) -> bool:
        """Does its part of the step; returns False if it was skipped as a gradient isn't finite.

        Args:
            scale: the gradients count so many times.
        """
        if self.repeated and self.steps is not None:
            self.step = _backend.kernels.next_step(self.steps)
        if self._found_inf is None:
            self._rule.step(self.table, self.lr, self.step, scale)
        else:
            self._found_inf[0] = 0
            self._rule.step(self.table, self.lr, self.step, scale, self._found_inf)
            if self._found_inf[0]:
                return False
        if self.steps is None:
            self.step = 2  # which number it is doesn't matter after the first
        else:
            _backend.kernels.set_steps(self.steps, self.step)
        return True


def _fixed(optimizer: Optimizer, group: dict[str, Any]) -> tuple[Any, ...]:
    """What a table can't change any more."""
    options = (*optimizer.table_options, *storage.OPTIONS)
    return (*optimizer.slots(group), plain(group["l1"]), *(group[name] for name in options))


def _has_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, (tuple, list)) and any(map(_has_tensor, value)))
