"""Initial weights. Keras' names, arguments and formulas; drawn from ``random.generator()`` unless a seed is given.

Fans, as in Keras: a kernel's last two axes are (in, out), the axes before them are the receptive field:
``fan_in = field * shape[-2]``, ``fan_out = field * shape[-1]``.
"""

import inspect
import math
from typing import Any

import numpy as np

from fastnn import random
from fastnn._check import fail

Shape = tuple[int, ...]


def compute_fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape."""
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


class Initializer:
    """Base: ``initializer(shape)`` returns a new float32 array. An initializer with a seed returns the same values at
    each call."""

    seed: int | None = None

    def __call__(self, shape: Shape) -> np.ndarray:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        arguments = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return {name: getattr(self, name) for name in arguments}

    def _generator(self) -> np.random.Generator:
        if self.seed is None:
            return random.generator()
        return np.random.Generator(np.random.Philox(key=self.seed))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Zeros(Initializer):
    """All 0."""

    def __init__(self):
        pass

    def __call__(self, shape: Shape) -> np.ndarray:
        return np.zeros(shape, np.float32)


class Ones(Initializer):
    """All 1."""

    def __init__(self):
        pass

    def __call__(self, shape: Shape) -> np.ndarray:
        return np.ones(shape, np.float32)


class Constant(Initializer):
    """All ``value``, a number or an array that broadcasts to the shape."""

    def __init__(self, value: Any = 0.0):
        self.value = value.tolist() if isinstance(value, np.ndarray) else value

    def __call__(self, shape: Shape) -> np.ndarray:
        try:
            return np.broadcast_to(np.asarray(self.value, np.float32), shape).copy()
        except (ValueError, TypeError):
            return fail("Constant", "value", f"a number or an array that broadcasts to {shape}", repr(self.value))


class Identity(Initializer):
    """``gain`` times the identity matrix; 2-D weights only."""

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Shape) -> np.ndarray:
        if len(shape) != 2:
            fail("Identity", "shape", "that of a 2-D weight", shape)
        return np.eye(*shape, dtype=np.float32) * np.float32(self.gain)


class RandomNormal(Initializer):
    """Normal, N(mean, stddev^2)."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Shape) -> np.ndarray:
        return self._generator().normal(self.mean, self.stddev, shape).astype(np.float32)


class RandomUniform(Initializer):
    """Uniform in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Shape) -> np.ndarray:
        return self._generator().uniform(self.minval, self.maxval, shape).astype(np.float32)


class TruncatedNormal(Initializer):
    """Normal, redrawn where it lies more than two ``stddev`` from the mean."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Shape) -> np.ndarray:
        return (self.mean + self.stddev * _truncated(self._generator(), shape)).astype(np.float32)


def _truncated(generator: np.random.Generator, shape: Shape) -> np.ndarray:
    values = np.asarray(generator.standard_normal(shape))
    outside = np.abs(values) > 2.0
    while outside.any():
        values[outside] = generator.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2.0
    return values


class VarianceScaling(Initializer):
    """Variance ``scale / fan``, fan being fan_in, fan_out or their mean.

    Args:
        scale: > 0.
        mode: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (the standard deviation is corrected for the cut), "untruncated_normal" or
            "uniform" (in +-sqrt(3 * scale / fan)).
        seed: None draws from ``random.generator()``.
    """

    _MODES = ("fan_in", "fan_out", "fan_avg")
    _DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal", seed=None):
        if not scale > 0:
            fail("VarianceScaling", "scale", "> 0", scale)
        if mode not in self._MODES:
            fail("VarianceScaling", "mode", "one of " + ", ".join(self._MODES), repr(mode))
        if distribution not in self._DISTRIBUTIONS:
            fail("VarianceScaling", "distribution", "one of " + ", ".join(self._DISTRIBUTIONS), repr(distribution))
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def __call__(self, shape: Shape) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        generator = self._generator()
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return generator.uniform(-limit, limit, shape).astype(np.float32)
        if self.distribution == "untruncated_normal":
            return (math.sqrt(variance) * generator.standard_normal(shape)).astype(np.float32)
        # 0.8796... is the standard deviation of a standard normal cut at +-2
        return (math.sqrt(variance) / 0.87962566103423978 * _truncated(generator, shape)).astype(np.float32)


class GlorotUniform(VarianceScaling):
    """Uniform in +-sqrt(6 / (fan_in + fan_out)). Reference: Glorot and Bengio 2010."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out). Reference: Glorot and Bengio 2010."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform in +-sqrt(6 / fan_in). Reference: He et al. 2015."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal of variance 2 / fan_in. Reference: He et al. 2015."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform in +-sqrt(3 / fan_in). Reference: LeCun et al. 1998."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Truncated normal of variance 1 / fan_in. Reference: LeCun et al. 1998."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


class Orthogonal(Initializer):
    """``gain`` times a random matrix with orthonormal rows or columns (the weight seen as [prod(shape[:-1]),
    shape[-1]]).

    Reference: Saxe et al. 2014.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Shape) -> np.ndarray:
        if len(shape) < 2:
            fail("Orthogonal", "shape", "that of a weight with at least 2 axes", shape)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(self._generator().standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))  # makes the distribution uniform over the orthogonal matrices
        return (self.gain * (q.T if rows < columns else q)).reshape(shape).astype(np.float32)


_CLASSES = {
    cls.__name__: cls
    for cls in (
        Zeros, Ones, Constant, Identity, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, GlorotUniform,
        GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Orthogonal,
    )
}  # fmt: skip
_NAMES = {
    "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_"): cls for name, cls in _CLASSES.items()
}
_NAMES |= {"normal": RandomNormal, "uniform": RandomUniform}  # as Keras writes them too


def get(spec: Any, function: str = "initializers.get", argument: str = "initializer") -> Any:
    """The initializer meant by ``spec``.

    Args:
        spec: a name ("glorot_uniform", "he_normal", "zeros", ...), a class or object of this module, any callable
            ``shape -> array``, or a config made by ``serialize``.
        function, argument: who asks for what, for the message.
    """
    if isinstance(spec, str):
        cls = _NAMES.get(spec.lower()) or _CLASSES.get(spec)
        if cls is not None:
            return cls()
    elif isinstance(spec, dict) and spec.get("class_name") in _CLASSES:
        return _CLASSES[spec["class_name"]](**spec.get("config", {}))
    elif isinstance(spec, type) and issubclass(spec, Initializer):
        return spec()
    elif callable(spec):
        return spec
    return fail(function, argument, "one of " + ", ".join(sorted(_NAMES)) + " or a callable", repr(spec))


def serialize(initializer: Any) -> dict[str, Any]:
    """What ``get`` makes the same initializer from. A callable of the user's can't be written to a file: an error."""
    name = type(initializer).__name__
    if _CLASSES.get(name) is not type(initializer):
        fail("save", "initializer", "one of fastnn.initializers, to be written to a file", repr(initializer))
    return {"class_name": name, "config": initializer.get_config()}
