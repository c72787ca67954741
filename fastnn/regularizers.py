"""Weight penalties: loss += l1 * sum|w| + l2 * sum w^2 (Keras' factors).

The penalty is part of the reported loss; its gradient, l1 * sign(w) + 2 * l2 * w, is added inside the optimizer's
kernel.
"""

from typing import Any

import numpy as np

from fastnn._backend import kernels, zeros
from fastnn._check import fail


class L1L2:
    """Penalty ``l1 * sum|w| + l2 * sum w^2``.

    Args:
        l1, l2: non-negative, finite factors.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        for argument, value in (("l1", l1), ("l2", l2)):
            if not isinstance(value, (int, float, np.floating, np.integer)) or not 0.0 <= value < float("inf"):
                fail(type(self).__name__, argument, "a finite number >= 0", repr(value))
        self.l1 = float(l1)
        self.l2 = float(l2)

    def __call__(self, x: np.ndarray) -> float:
        """The penalty of ``x``, a float32 array of any shape, in float64."""
        total = zeros(1, np.float64)
        kernels.regularization_penalty(x, self.l1, self.l2, total)
        return float(total[0])

    def get_config(self) -> dict[str, float]:
        return {"l1": self.l1, "l2": self.l2}

    def __repr__(self) -> str:
        return f"L1L2(l1={self.l1}, l2={self.l2})"


class L1(L1L2):
    """Penalty ``l1 * sum|w|``."""

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=l1)


class L2(L1L2):
    """Penalty ``l2 * sum w^2``."""

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=l2)


def _both() -> L1L2:
    return L1L2(0.01, 0.01)


_KNOWN: dict[str, Any] = {"l1": L1, "l2": L2, "l1_l2": _both, "l1l2": _both}


def get(spec: Any, function: str = "regularizers.get", argument: str = "regularizer") -> L1L2 | None:
    """The regularizer meant by ``spec``: None, "l1" or "l2" (factor 0.01), "l1_l2", an object, or a config made by
    ``serialize``."""
    if spec is None or isinstance(spec, L1L2):
        return spec
    if isinstance(spec, str) and spec.lower() in _KNOWN:
        return _KNOWN[spec.lower()]()
    if isinstance(spec, dict) and set(spec) <= {"l1", "l2"}:
        return L1L2(**spec)
    return fail(function, argument, "None, 'l1', 'l2', 'l1_l2' or a regularizers.L1L2", repr(spec))


def serialize(regularizer: L1L2 | None) -> dict[str, float] | None:
    """What ``get`` makes the same regularizer from."""
    return None if regularizer is None else regularizer.get_config()
