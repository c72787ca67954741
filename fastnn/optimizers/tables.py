"""What an optimizer hands to the kernels: tables of parameters, and which parameters are meant by names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import _backend

Array = np.ndarray


class Part(NamedTuple):
    """What one kernel call of a step works on: objects of the kernels."""

    rule: Any
    table: Any


def new_table(parameters: Sequence[Any], states: list[list[Array]], decay: Array, lr_scale: Any) -> Any:
    """A ``TensorTable`` of parameters with their gradients, states and regularizers.

    Args:
        decay: float32[n], what weight decay is multiplied by.
        lr_scale: None or n numbers, what the learning rate is multiplied by, but not where it decays weights.
    """
    if lr_scale is not None:
        decay = (decay / lr_scale).astype(np.float32)
        lr_scale = np.asarray(lr_scale, np.float32)
    return _backend.kernels.TensorTable(
        [parameter.value for parameter in parameters],
        [parameter.grad for parameter in parameters],
        states,
        l1=np.array([getattr(parameter.regularizer, "l1", 0.0) for parameter in parameters], np.float32),
        l2=np.array([2 * getattr(parameter.regularizer, "l2", 0.0) for parameter in parameters], np.float32),
        decay=decay,
        lr_scale=lr_scale,
    )


def exact_names(parameters: Iterable[Any]) -> list[str]:
    """Regexes that match the names of these parameters."""
    return [f"^{re.escape(parameter.name)}$" for parameter in parameters]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the regexes matches somewhere in the name."""
    return any(re.search(pattern, name) for pattern in patterns)


def views_like(flat: Array, like: Array, views: Sequence[Array]) -> list[Array]:
    """Views of `flat` that lie in it as `views` lie in `like`."""
    base = _backend.address(like)
    starts = [(_backend.address(view) - base) // like.itemsize for view in views]
    return [flat[start : start + view.size].reshape(view.shape) for start, view in zip(starts, views)]
