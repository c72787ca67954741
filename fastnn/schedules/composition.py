"""What a schedule is, how schedules are joined, saved and made from what a user passed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from fastnn import _check


class Schedule:
    """Base of all schedules: a frozen record of its arguments, called with a step."""

    name: ClassVar[str] = "schedule"
    known: ClassVar[dict[str, type[Schedule]]] = {}

    def __init_subclass__(cls) -> None:
        Schedule.known[cls.name] = cls

    @property
    def length(self) -> int | None:
        """Steps after which a following segment takes over; None: endless, nothing can follow."""
        return getattr(self, "steps", None)

    def __call__(self, step: int) -> float:
        raise NotImplementedError

    def __rshift__(self, other: Any) -> Schedule:
        return Chain(_segments(self) + _segments(get(other)))

    def __rrshift__(self, other: Any) -> Schedule:
        return get(other) >> self

    def until(self, steps: int) -> Schedule:
        """This schedule, for `steps` steps."""
        return Until(self, steps)

    def get_config(self) -> dict[str, Any]:
        """A dict that JSON can hold; `schedules.from_config` makes an equal schedule of it."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {"name": self.name, **{key: _plain(value) for key, value in values.items()}}

    def _positive(self, *arguments: str) -> None:
        for argument in arguments:
            _check.number(self.name, argument, getattr(self, argument), above=0)

    def _at_least_zero(self, *arguments: str) -> None:
        for argument in arguments:
            _check.number(self.name, argument, getattr(self, argument), minimum=0)

    def _whole(self, *arguments: str) -> None:
        for argument in arguments:
            _check.integer(self.name, argument, getattr(self, argument), minimum=1)


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.get_config()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def _segments(schedule: Schedule) -> tuple[Schedule, ...]:
    return schedule.segments if isinstance(schedule, Chain) else (schedule,)


@dataclasses.dataclass(frozen=True)
class Warmup(Schedule):
    """Rises on a straight line from `start` to the first value of the schedule that follows.

    lr(step) = start + (next(0) - start) * step / steps

    Meaningless alone: write `warmup(500) >> 0.001` to stay at 0.001 afterwards. With the default start of 0 the very
    first step changes nothing but the optimizer's averages, as in Keras and optax; torch's LinearLR starts at a third.

    Reference: Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.2.
    """

    name: ClassVar[str] = "warmup"
    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        self._whole("steps")
        self._at_least_zero("start")

    def toward(self, target: float, step: int) -> float:
        """The learning rate at `step` of a warm-up that ends at `target`."""
        return self.start + (target - self.start) * min(step / self.steps, 1.0)

    def __call__(self, step: int) -> float:
        remedy = f"Write warmup({self.steps}) >> 0.001 or warmup({self.steps}) >> cosine(...)."
        _check.fail("warmup", "a warm-up", "followed by a schedule", "one alone", remedy)


@dataclasses.dataclass(frozen=True)
class Custom(Schedule):
    """lr(step) = function(step)."""

    name: ClassVar[str] = "custom"
    function: Callable[[int], float]

    def __call__(self, step: int) -> float:
        return float(self.function(step))

    def get_config(self) -> dict[str, Any]:
        remedy = "Compose it from warmup, cosine, step, ... or save only the weights."
        given = _check.describe(self.function)
        _check.fail("schedules.get_config", "schedule", "one of fastnn.schedules to be saved", given, remedy)


@dataclasses.dataclass(frozen=True)
class Until(Schedule):
    """The first `steps` steps of another schedule; made by `schedule.until(steps)`."""

    name: ClassVar[str] = "until"
    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        self._whole("steps")
        object.__setattr__(self, "schedule", get(self.schedule))

    def __call__(self, step: int) -> float:
        return self.schedule(min(step, self.steps - 1))


@dataclasses.dataclass(frozen=True)
class Chain(Schedule):
    """Segments one after the other, each counting from 0; made by `a >> b`."""

    name: ClassVar[str] = "chain"
    segments: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        segments = tuple(get(segment) for segment in self.segments)
        object.__setattr__(self, "segments", segments)
        for segment in segments[:-1]:
            if segment.length is None:
                remedy = f"Write {segment.name}(...).until(steps) >> ..."
                _check.fail("schedules", "a schedule before >>", "of known length", f"endless {segment.name}", remedy)

    @property
    def length(self) -> int | None:
        lengths = [segment.length for segment in self.segments]
        return None if lengths[-1] is None else sum(length or 0 for length in lengths)

    def __call__(self, step: int) -> float:
        position = 0
        while position < len(self.segments) - 1 and step >= (self.segments[position].length or 0):
            step -= self.segments[position].length or 0
            position += 1
        return self._value(position, step)

    def _value(self, position: int, step: int) -> float:
        segment = self.segments[position]
        if isinstance(segment, Warmup) and position + 1 < len(self.segments):
            return segment.toward(self._value(position + 1, 0), step)
        return segment(step)


def get(spec: Any) -> Schedule:
    """A schedule from a schedule, a number (constant), a saved config or a callable `f(step) -> float`."""
    if isinstance(spec, Schedule):
        return spec
    if isinstance(spec, dict):
        return from_config(spec)
    if callable(spec):
        return Custom(spec)
    return Schedule.known["constant"](_check.number("schedules.get", "learning_rate", spec, minimum=0))  # type: ignore


def from_config(config: dict[str, Any]) -> Schedule:
    """The schedule that `get_config` described."""
    name, arguments = config.get("name"), {key: value for key, value in config.items() if key != "name"}
    return Schedule.known[_check.choice("schedules.from_config", "name", name, Schedule.known)](**arguments)
