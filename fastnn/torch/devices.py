"""Where parameters are: the kernels for them, torch's stream there, and numbers of a step that stay on a GPU."""

from __future__ import annotations

import contextlib
from types import ModuleType
from typing import Any

import numpy as np
import torch

from fastnn import _backend
from fastnn.functional.places import OnStream

_NOTHING: Any = contextlib.nullcontext()


def kernels_of(function: str, device: torch.device) -> ModuleType:
    """The extension module for a device; fails in the name of `function` if there is none."""
    return _backend.kernels if device.type == "cpu" else _backend.cuda_kernels(function, "params", str(device))


def current(device: torch.device, kernels: ModuleType) -> Any:
    """A context in which kernels are enqueued where torch enqueues what it does on the device."""
    if device.type == "cpu":
        return _NOTHING
    return OnStream(torch.cuda.device(device), lambda: torch.cuda.current_stream(device).cuda_stream, kernels)


def new_flag(device: torch.device) -> Any:
    """A float32[1] in which kernels there say that a step was skipped, and that the host reads."""
    return np.zeros(1, np.float32) if device.type == "cpu" else torch.zeros(1, device=device)


def stays(group: dict[str, Any], param: torch.Tensor) -> bool:
    """Whether a parameter's step counter lies on its GPU, as in torch's classes: nothing waits for the GPU then."""
    return param.device.type == "cuda" and bool(group.get("capturable") or group.get("fused"))


class DeviceNumbers:
    """The numbers of a part's steps in a GPU's memory, so that a captured graph can be replayed.

    Args:
        counters: the step counters of the parameters, tensors on the GPU; none if the rule needs no number.
    """

    def __init__(self, device: torch.device, counters: list[torch.Tensor]) -> None:
        self._counters = counters
        self.lr = torch.zeros(1, dtype=torch.float64, device=device)
        self.step = torch.ones(1, dtype=torch.int64, device=device)
        self._found_inf = torch.zeros(1, dtype=torch.float32, device=device)

    def advance(self, lr: Any, step: int) -> None:
        """Counts a step.

        Args:
            lr: a number, or a tensor, which is read on the GPU.
            step: its number where there are no counters.
        """
        if self._counters:
            torch._foreach_add_(self._counters, 1)
            self.step.copy_(self._counters[0])
        else:
            self.step.fill_(step)
        if isinstance(lr, torch.Tensor):
            self.lr.copy_(lr.detach().reshape(1))
        else:
            self.lr.fill_(lr)

    def flag(self, found_inf: Any, skips: bool) -> torch.Tensor | None:
        """What says that the step is skipped, or None.

        Args:
            found_inf: GradScaler's, or None.
            skips: whether the rule looks for gradients that aren't finite.
        """
        if found_inf is not None:
            return self._found_inf.copy_(found_inf.reshape(1))
        return self._found_inf.zero_() if skips else None

    def retreat(self, found: torch.Tensor | None) -> None:
        """A step that was skipped doesn't count."""
        if found is not None and self._counters:
            torch._foreach_sub_(self._counters, [found.reshape(())] * len(self._counters))


def one_number(value: Any) -> Any:
    """A tensor of one element as one of shape (1,), or None."""
    return None if value is None else value.detach().reshape(1)
