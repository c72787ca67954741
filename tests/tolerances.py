"""How far a float32 kernel may be from its float64 reference."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """|actual - expected| <= relative * |expected| + of_scale * (largest finite |expected| of the array)."""

    relative: float
    of_scale: float


TOLERANCES = {
    "exact": Tolerance(0, 0),  # copies, comparisons, counts
    "elementwise": Tolerance(1e-6, 2e-7),  # a few roundings: 1 ulp is at most 1.2e-7
    "derivative": Tolerance(3e-6, 2e-7),  # of an activation: differences such as 1 - s lose some bits
    "sum": Tolerance(2e-6, 2e-6),  # many terms, which may cancel: relative to the largest result
    "cpu and cuda": Tolerance(4e-6, 4e-6),  # each within the line above of the reference
    "winograd": Tolerance(2e-6, 4e-6),  # sums of transformed products at a hundred channels and more
    "optimizer": Tolerance(2e-6, 5e-7),  # several steps
    "rounded operands": Tolerance(0, 3e-2),  # of products, to 8 bits
    "muon": Tolerance(2e-6, 2e-6),  # the iteration multiplies roundings of small singular values
    "optax": Tolerance(4e-6, 1e-6),  # sixty steps
    "optax in float32": Tolerance(2e-4, 2e-5),  # its 1 - b^t loses bits
    "trajectory": Tolerance(4e-6, 1e-6),  # dozens of steps, or a reference that is float32 as well
    "training": Tolerance(1e-3, 1e-4),  # gradients depend on the parameters: differences grow
    "clipped": Tolerance(4e-6, 2e-6),  # torch adds 1e-6 to the norm
}


def difference(actual, expected, tolerance: str) -> str:
    """Empty if the arrays agree, else a sentence on the worst element; NaN agrees only with NaN, inf only with inf."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        return f"shape {actual.shape} instead of {expected.shape}"
    if actual.size == 0:
        return ""
    limit = TOLERANCES[tolerance]
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        error = np.abs(actual - expected)
        allowed = limit.relative * np.abs(expected) + limit.of_scale * scale
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        bad = ~same & ~(finite & (error <= allowed))
    if not bad.any():
        return ""
    worst = np.unravel_index(np.where(bad, np.nan_to_num(error - allowed, nan=np.inf), -np.inf).argmax(), bad.shape)
    where = tuple(int(i) for i in worst)
    return (
        f"{bad.sum()} of {bad.size} elements differ, worst at {where}: {actual[worst]:.9g} instead of "
        f"{expected[worst]:.9g} (largest element {scale:.3g})"
    )
