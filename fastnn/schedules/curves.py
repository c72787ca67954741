"""The shapes a learning rate follows: one class a formula."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from fastnn import _check
from fastnn.schedules.composition import Schedule


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """lr(step) = learning_rate."""

    name: ClassVar[str] = "constant"
    learning_rate: float

    def __post_init__(self) -> None:
        self._at_least_zero("learning_rate")

    def __call__(self, step: int) -> float:
        return float(self.learning_rate)


@dataclasses.dataclass(frozen=True)
class Exponential(Schedule):
    """lr(step) = learning_rate * decay_rate ** (step / decay_steps), the exponent rounded down if `staircase`.

    Keras' ExponentialDecay; torch's ExponentialLR is `decay_steps=1`, its StepLR `staircase=True`.
    """

    name: ClassVar[str] = "exponential"
    learning_rate: float
    decay_rate: float
    decay_steps: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        self._at_least_zero("learning_rate")
        self._positive("decay_rate")
        self._whole("decay_steps")

    def __call__(self, step: int) -> float:
        exponent = step / self.decay_steps
        return self.learning_rate * self.decay_rate ** (math.floor(exponent) if self.staircase else exponent)


@dataclasses.dataclass(frozen=True)
class Linear(Schedule):
    """lr(step) = start + (end - start) * min(step / steps, 1)."""

    name: ClassVar[str] = "linear"
    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        self._at_least_zero("start", "end")
        self._whole("steps")

    def __call__(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


@dataclasses.dataclass(frozen=True)
class Cosine(Schedule):
    """lr(step) = end + (learning_rate - end) * (1 + cos(pi * min(step / steps, 1))) / 2.

    With `restarts` it jumps back to the top after `steps` steps instead of staying at `end`; every cycle is `growth`
    times as long as the one before and starts `decay` times as high, and nothing can follow it. Keras' CosineDecay and
    CosineDecayRestarts state `end` as a fraction of the learning rate (alpha); here it is a learning rate.

    Reference: Loshchilov & Hutter 2017, SGDR, equation 5.
    """

    name: ClassVar[str] = "cosine"
    learning_rate: float
    steps: int
    end: float = 0.0
    restarts: bool = False
    growth: float = 1.0
    decay: float = 1.0

    def __post_init__(self) -> None:
        self._at_least_zero("learning_rate", "end")
        self._whole("steps")
        self._positive("decay")
        _check.number("cosine", "growth", self.growth, minimum=1)
        if not self.restarts and (self.growth != 1 or self.decay != 1):
            given = f"{self.growth!r} and {self.decay!r}"
            _check.fail("cosine", "growth and decay", "1 without restarts", given, "Pass restarts=True.")

    @property
    def length(self) -> int | None:
        return None if self.restarts else self.steps

    def __call__(self, step: int) -> float:
        fraction, top = min(step / self.steps, 1.0), self.learning_rate
        if self.restarts:
            cycle, fraction = self._cycle(step)
            top *= self.decay**cycle
        return self.end + (top - self.end) * 0.5 * (1.0 + math.cos(math.pi * fraction))

    def _cycle(self, step: int) -> tuple[int, float]:
        if self.growth == 1:
            return step // self.steps, step % self.steps / self.steps
        cycle, begin, length = 0, 0.0, float(self.steps)
        while step >= begin + length:
            cycle, begin, length = cycle + 1, begin + length, length * self.growth
        return cycle, (step - begin) / length


@dataclasses.dataclass(frozen=True)
class Step(Schedule):
    """values[i], where i is the number of `boundaries` that are <= step: the first boundaries[0] steps use values[0].

    As torch's MultiStepLR; Keras' PiecewiseConstantDecay changes one step later.
    """

    name: ClassVar[str] = "step"
    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        boundaries = tuple(_check.integer("step", "boundaries", boundary, 1) for boundary in self.boundaries)
        values = tuple(_check.number("step", "values", value, minimum=0) for value in self.values)
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "values", values)
        if list(self.boundaries) != sorted(set(self.boundaries)):
            _check.fail("step", "boundaries", "ascending", list(self.boundaries))
        if len(self.values) != len(self.boundaries) + 1:
            wanted = f"one more than the {len(self.boundaries)} boundaries"
            _check.fail("step", "values", wanted, f"{len(self.values)} values")

    def __call__(self, step: int) -> float:
        return self.values[sum(step >= boundary for boundary in self.boundaries)]


@dataclasses.dataclass(frozen=True)
class Polynomial(Schedule):
    """lr(step) = end + (learning_rate - end) * (1 - min(step / steps, 1)) ** power. Keras' PolynomialDecay."""

    name: ClassVar[str] = "polynomial"
    learning_rate: float
    steps: int
    end: float = 0.0001
    power: float = 1.0

    def __post_init__(self) -> None:
        self._at_least_zero("learning_rate", "end")
        self._whole("steps")
        self._positive("power")

    def __call__(self, step: int) -> float:
        return self.end + (self.learning_rate - self.end) * (1.0 - min(step / self.steps, 1.0)) ** self.power


@dataclasses.dataclass(frozen=True)
class InverseSqrt(Schedule):
    """lr(step) = learning_rate * sqrt(timescale / (timescale + step)).

    `warmup(w) >> inverse_sqrt(lr, timescale=w)` is the Transformer's schedule with its peak at lr.

    Reference: Vaswani et al. 2017, Attention Is All You Need, equation 3.
    """

    name: ClassVar[str] = "inverse_sqrt"
    learning_rate: float
    timescale: int = 1

    def __post_init__(self) -> None:
        self._at_least_zero("learning_rate")
        self._whole("timescale")

    def __call__(self, step: int) -> float:
        return self.learning_rate * math.sqrt(self.timescale / (self.timescale + step))
