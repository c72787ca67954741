"""What the tests of stored formats share: tables over arrays of any format, and AdamW in float64."""

import ml_dtypes
import numpy as np

SIZES = [1, 0, 255, 256, 257, 1009, 4096]
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in ("float32", "bfloat16", "float16")}


def arrays(dtype, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(size)).astype(np.float32).astype(DTYPES[dtype]) for size in SIZES]


def addresses(group):
    return np.array([array.__array_interface__["data"][0] for array in group], np.int64)


def table_of(kernels, params, grads, states, scales=(), masters=None, formats=None, seed=None):
    """A TensorTable over lists of arrays, which it doesn't keep alive.

    Args:
        scales: for each list of states a list of arrays, or None.
        formats: names of the states' formats, for those of 8 bits; else their dtypes.
    """
    name = lambda group: group[0].dtype.name  # noqa: E731
    dtypes = {"params": name(params), "grads": name(grads), "states": formats or [name(group) for group in states]}
    if masters is not None:
        dtypes["masters"] = name(masters)
    return kernels.TensorTable.of_addresses(
        addresses(params),
        addresses(grads),
        [addresses(group) for group in states],
        np.array([array.size for array in params], np.int64),
        dtypes=dtypes,
        scales=[None if group is None else addresses(group) for group in scales],
        masters=None if masters is None else addresses(masters),
        seed=seed,
    )


def adamw(p, g, m, v, t, lr, weight_decay=0.1):
    """The next p, m and v, in float64."""
    p, g, m, v = (np.asarray(array, np.float64) for array in (p, g, m, v))
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p * (1 - lr * weight_decay) - lr / (1 - 0.9**t) * m / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def take(grads, t):
    """New gradients, in the same arrays."""
    for array, new in zip(grads, arrays("float32", 10 + t)):
        array[...] = new.astype(array.dtype)


def assert_rounded(actual, exact, what):
    """To the nearest number of its type, but for what float32's own rounding does near a tie."""
    half = np.spacing(np.abs(exact.astype(actual.dtype))).astype(np.float64) / 2
    slack = 3e-7 * (np.abs(exact) + (0 if what == "v" else 1))
    assert (np.abs(actual.astype(np.float64) - exact) <= half + slack).all(), what


def whole(upper, rest):
    """The float32 of which a bfloat16 and a uint16 are the upper half, rounded, and the lower one."""
    bits = (upper.view(np.uint16).astype(np.uint32) << 16) + rest.view(np.int16).astype(np.uint32)
    return bits.view(np.float32)
