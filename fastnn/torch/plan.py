"""A step's plan: where parameters, gradients and states lie, which kernel calls update them, and whether that still
holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastnn import _backend, _check
from fastnn.torch import devices, native, storage
from fastnn.torch.options import plain
from fastnn.torch.tensors import PreparedTensors, Share

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
        self.parts = [Part(optimizer, prepared, i, share) for i, share in enumerate(prepared.shares)]
        self.watch = None
        if not prepared.copies:
            lists = [group["params"] for group in groups]
            self.watch = native.watch(lists, optimizer.state, prepared.names, self.addresses)
        self._copies = prepared.copies  # alive until the step is done
        # Whether all that a step needs to know stays on a GPU: `enqueue` takes the place of `run`.
        self.stays = bool(self.parts) and all(part.numbers is not None for part in self.parts)
        if not self.stays and any(part.numbers is not None for part in self.parts):
            wanted = "the same for all parameters, and those on GPUs alone, where counters stay there"
            _check.fail(type(optimizer).__name__, "capturable or fused", wanted, "True for some of them")
        for part in self.parts:
            part.ready(optimizer, alone=len(self.parts) == 1 or self.stays)
        if self.stays and any(part.looks_at_all for part in self.parts) and len({p.device for p in self.parts}) > 1:
            wanted = "0, and skip_nonfinite False, with capturable or fused on several devices"
            _check.fail(type(optimizer).__name__, "clip_norm", wanted, "another")

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
            if not part.ready(optimizer, alone=len(self.parts) == 1 or self.stays):
                return False
        return True

    def enqueue(self, found_inf: Any, loss_scale: Any) -> None:
        """The step as a GPU does it by itself, skipped where found_inf isn't 0.

        Args:
            found_inf, loss_scale: of torch.amp.GradScaler, tensors on the GPU, or None.
        """
        square = None
        if len(self.parts) > 1 and any(part.looks_at_all for part in self.parts):
            square = torch.zeros(1, dtype=torch.float64, device=self.parts[0].device)
            for part in self.parts:
                part.add_squares(square, loss_scale)
        for part in self.parts:
            part.enqueue(found_inf, loss_scale, square)
        torch.autograd.graph.increment_version(self.params)
        for part in self.parts:
            part.note_versions()

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
        for part in self.parts:
            part.note_versions()
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
    """One call of a kernel.

    Args:
        number: of all parts.
        share: what it updates.
    """

    def __init__(self, optimizer: Optimizer, prepared: PreparedTensors, number: int, share: Share) -> None:
        self.group, self.columns, self.repeated = share.group, share.columns, share.repeated
        self._method, self._formats, self._number = share.method, share.formats, number
        self.device, self._kernels = share.device, devices.kernels_of(type(optimizer).__name__, share.device)
        self._fixed = self._fixed_options(optimizer)
        self._params = [prepared.all[column] for column in share.columns]
        addresses = np.ascontiguousarray(prepared.addresses[:, share.columns])
        self._rows = {name: addresses[_STATES + i] for i, name in enumerate(prepared.names)}
        self.numbers: devices.DeviceNumbers | None = None
        counts = optimizer.counts(self.group, self._method)
        if devices.stays(self.group, self._params[0]):
            counters = [optimizer.state[param]["step"] for param in self._params] if counts else []
            self.numbers = devices.DeviceNumbers(share.device, counters)
        self.steps = self._rows["step"] if counts and self.numbers is None else None
        self.lr, self.step, self.clip_norm = 0.0, share.step, 0.0
        self.table = self._make_table(optimizer, addresses, prepared.counts[share.columns])
        self._versions: list[int] = []  # of parameters with a copy for master
        self._read = optimizer.option_reader()
        self._values: tuple[Any, ...] | None = None
        self._rule: Any = None
        self._skips = False
        self._found_inf: Any = None

    def _make_table(self, optimizer: Optimizer, addresses: np.ndarray, counts: np.ndarray) -> Any:
        group, formats = self.group, self._formats
        slots = optimizer.slots(group, self._method)
        settings = optimizer.tensor_settings(self._params, group, self._method)
        adapts, rows = settings.pop("adapts", None), settings.pop("rows", None)
        if formats.master is not None:
            settings["masters"] = self._rows[storage.MASTERS[formats.master][0]]
        elif group["stochastic_rounding"] and formats.param != torch.float32:
            settings["seed"] = group["seed"] + (self._number << 32)  # apart from the other parts'
        if any(name.endswith("8") for name in formats.states):
            keys = [storage.scale_key(name) for name in slots]
            settings["scales"] = [self._rows[k] if f.endswith("8") else None for k, f in zip(keys, formats.states)]
        with devices.current(self.device, self._kernels):
            table = self._kernels.TensorTable.of_addresses(
                addresses[_PARAMS],
                addresses[_GRADS],
                [self._rows[name] for name in slots],
                counts,
                dtypes=formats.of_table(),
                l1=np.full(len(counts), plain(group["l1"]), np.float32),
                borrowed=True,
                **settings,
            )
            if adapts is not None:
                table.set_adapts(adapts)
            if rows is not None:
                table.set_rows(rows)
        return table

    def _fixed_options(self, optimizer: Optimizer) -> tuple[Any, ...]:
        """What a table can't change any more."""
        options = (plain(self.group[name]) for name in ("l1", *optimizer.table_options, *storage.OPTIONS))
        return (*optimizer.slots(self.group, self._method), *options)

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
            if self._fixed_options(optimizer) != self._fixed:
                return False
            self._bind(optimizer, alone)
            # A tensor may get another value and be the same object.
            self._values = None if any(map(_has_tensor, values)) else values
        self._renew_masters(optimizer)
        lr = self.group["lr"]
        if self.numbers is not None:
            return True
        self.lr = lr if type(lr) is float else plain(lr)
        if self.steps is not None:
            self.step = _backend.kernels.next_step(self.steps)
        return self.step != 0

    def _bind(self, optimizer: Optimizer, alone: bool) -> None:
        group = self.group
        self.clip_norm = plain(group["clip_norm"])
        self._skips = alone and group["skip_nonfinite"]
        self._found_inf = devices.new_flag(self.device) if self._skips and self.numbers is None else None
        make = getattr(self._kernels, optimizer.rule_of(self._method))
        self._rule = make(
            weight_decay=plain(group["weight_decay"]),
            decoupled=group.get("decoupled_weight_decay", False),
            maximize=group["maximize"],
            clip_norm=self.clip_norm if alone else 0.0,
            clip_value=plain(group["clip_value"]),
            skip_nonfinite=self._skips,
            **optimizer.rule_options(group, self._method),
        )

    def note_versions(self) -> None:
        """Remembers which state of the parameters goes with their masters."""
        if self._formats.master == "float32":
            self._versions = [param._version for param in self._params]

    def _renew_masters(self, optimizer: Optimizer) -> None:
        """Of parameters that somebody has written to since; a remainder goes with whatever they are."""
        for param, version in zip(self._params, self._versions):
            if param._version != version:
                storage.renew_master(optimizer.state[param]["master"], param)

    def run(self, scale: float) -> bool:
        """Does its part of the step; returns False if it was skipped as a gradient isn't finite.

        Args:
            scale: the gradients count so many times.
        """
        if self.repeated and self.steps is not None:
            self.step = _backend.kernels.next_step(self.steps)
        with devices.current(self.device, self._kernels):
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

    @property
    def looks_at_all(self) -> bool:
        """Whether a step depends on all gradients of the optimizer."""
        return bool(self.clip_norm or self.group["skip_nonfinite"])

    def add_squares(self, square: torch.Tensor, loss_scale: Any) -> None:
        """Adds the squares of its gradients to a sum on the GPU."""
        with devices.current(self.device, self._kernels):
            self._kernels.add_squares(self._rule, self.table, square, devices.one_number(loss_scale))

    def enqueue(self, found_inf: Any, loss_scale: Any, square: torch.Tensor | None) -> None:
        """Its part of `Plan.enqueue`."""
        assert self.numbers is not None
        with devices.current(self.device, self._kernels):
            self.numbers.advance(self.group["lr"], self.step)
            found = self.numbers.flag(found_inf, self._skips)
            step = (self.numbers.lr, self.numbers.step, found, square, devices.one_number(loss_scale))
            self._kernels.update(self._rule, self.table, *step)
            self.numbers.retreat(found)
        if self.steps is None:
            self.step = 2  # which number it is doesn't matter after the first


def _has_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, (tuple, list)) and any(map(_has_tensor, value)))
