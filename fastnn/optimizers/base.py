"""What all optimizers share: learning rate, weight decay, clipping, state, the table of tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastnn import _backend, _check, _devices, schedules
from fastnn.optimizers.tables import Part, exact_names, matches, new_table, views_like

Array = np.ndarray


class Optimizer:
    """Base of all optimizers: learning rate, weight decay, clipping, state; see the module for the order of things.

    Args:
        learning_rate: a number >= 0, a schedule, or a callable f(step) -> float.
        weight_decay: p -= lr * weight_decay * p before the update; None or 0: none. As in Keras it's decoupled from the
            gradient in every optimizer; torch's SGD, Adam and RMSprop add it to the gradient.
        clipnorm: largest norm of one tensor's gradient.
        clipvalue: largest absolute value in a gradient.
        global_clipnorm: largest norm of all gradients together. At most one of the three may be given, as in Keras.
        name: for messages and saved models.
        skip_nonfinite: a step in which a gradient is infinite or NaN changes nothing and doesn't count; `skipped_steps`
            says how many there were. Costs a look at all gradients before the step.
    """

    default_name: ClassVar[str] = "optimizer"
    rule: ClassVar[str] = ""  # the function that makes the kernels' rule

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        skip_nonfinite: bool = False,
    ) -> None:
        self.name = name or self.default_name
        self.learning_rate = learning_rate
        self.weight_decay = self._number("weight_decay", weight_decay, minimum=0)
        self.clipnorm = self._number("clipnorm", clipnorm, above=0)
        self.clipvalue = self._number("clipvalue", clipvalue, above=0)
        self.global_clipnorm = self._number("global_clipnorm", global_clipnorm, above=0)
        clips = [argument for argument in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, argument)]
        if len(clips) > 1:
            self._fail(" and ".join(clips), "given one at a time", "several", "Keep one of them.")
        self.skip_nonfinite = _check.boolean(self.default_name, "skip_nonfinite", skip_nonfinite)
        self._place_numbers()
        self._slots: dict[str, list[Array]] = {}
        self._parameters: list[Any] = []
        self._excluded: list[str] = []
        self._run: Any = None

    def _place_numbers(self) -> None:
        """What a step reads and counts, on the thread's device."""
        self._lr, self._step = _backend.zeros(1, np.float64), _backend.zeros(1, np.int64)
        self.stop_flag, self._skipped = _backend.zeros(1), _backend.zeros(1, np.int64)
        self._first = _backend.zeros(1, np.int64)  # the slot of a single learning rate

    # ---- what a class defines

    def slot_names(self) -> list[str]:
        """Names of the state arrays, in the rule's order."""
        return []

    def rule_options(self) -> dict[str, Any]:
        """The rule's arguments beside those that all optimizers share."""
        return {}

    def initial_value(self, slot: str) -> float:
        """What the elements of a state array are before the first step."""
        return 0.0

    def has_slot(self, slot: str, parameter: Any) -> bool:
        """Whether a parameter has this state."""
        return True

    def parts(self, places: Sequence[int]) -> list[Part]:
        """The rule and the table for the parameters at these places: one of each, or several for different ones."""
        return [Part(self.make_rule(self.rule, self.rule_options()), self.make_table(places))]

    # ---- learning rate and step count

    @property
    def learning_rate(self) -> Any:
        """The number or schedule; may be set at any time, the next step uses it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value) or isinstance(value, dict):
            self._learning_rate: Any = schedules.get(value)
        else:
            self._learning_rate = _check.number(self.default_name, "learning_rate", value, minimum=0)

    @property
    def iterations(self) -> int:
        """How many steps have been made."""
        return int(self._step[0])

    @property
    def skipped_steps(self) -> int:
        """How many steps changed nothing, as a gradient wasn't finite; only with `skip_nonfinite`."""
        return int(self._skipped[0])

    def current_learning_rate(self) -> float:
        """The learning rate that the next step uses."""
        rate = self._learning_rate
        return float(rate(self.iterations)) if callable(rate) else rate

    # ---- building and stepping

    def exclude_from_weight_decay(self, var_list: Iterable[Any] = (), var_names: Iterable[str] = ()) -> None:
        """Spares parameters from weight decay: those of `var_list` and those whose name matches a regex of `var_names`.

        To be called before the model is compiled or `build` is called.
        """
        if self._run is not None:
            self._fail("exclude_from_weight_decay", "called before build", "a call afterwards")
        self._excluded += [*exact_names(var_list), *var_names]

    def build(self, parameters: Sequence[Any], flat_param: Array, flat_grad: Array) -> None:
        """Makes the state and the table of tensors.

        Args:
            parameters: with `name`, `regularizer` (or None), and `value` and `grad`, float32 views of the flat arrays.
            flat_param, flat_grad: float32[size]; every slot is laid out like flat_param.
        """
        self._parameters = list(parameters)
        values = [parameter.value for parameter in self._parameters]
        self._slots = {}
        for name in self.slot_names():
            flat, value = _backend.zeros(flat_param.shape), self.initial_value(name)
            self._slots[name] = views_like(flat, flat_param, values)
            for view in self._slots[name] if value else ():
                view[...] = value
        self._place_numbers()
        self._run = self._bind_step(range(len(values)))

    def rebind(self, flat_grad: Array) -> None:
        """The parameters' gradients lie elsewhere now, in `flat_grad`; the state stays."""
        self._run = self._bind_step(range(len(self._parameters)))

    def self_updates(self, parameters: Sequence[Any]) -> tuple[Any, Callable[[], None] | None] | None:
        """For a step in which the kernels that compute the gradients of some parameters update them at once.

        Args:
            parameters: some of those that `build` was given.

        Returns:
            (updates, step): the n-th of `parameters` is updated by what gets (updates, n), after `updates.prepare()`;
            `step` updates all other parameters, None if there are none. None instead of both where an update needs
            every gradient before, as with clipping by norm.
        """
        parts = self.parts([])
        if len(parts) != 1 or not parts[0].rule.elementwise:
            return None
        places = {id(parameter): place for place, parameter in enumerate(self._parameters)}
        chosen = [places.pop(id(parameter)) for parameter in parameters]
        rule, table = self.parts(chosen)[0]
        updates = _backend.kernels.updates(rule, table, self._lr, self._step)
        return updates, self._bind_step(list(places.values())) if places else None

    def _bind_step(self, places: Sequence[int]) -> Callable[[], Any]:
        """The kernel calls of a step of the parameters at these places."""
        kernels, parts = _backend.kernels, self.parts(places)
        stops = self.skip_nonfinite or _devices.current() is not None  # a graph goes on where a loss isn't finite
        found_inf = self.stop_flag if stops else None
        needs_all = len(parts) > 1 and (self.global_clipnorm or self.skip_nonfinite)
        square = _backend.zeros(1, np.float64) if needs_all else None
        calls: list[Callable[[], Any]] = []
        if square is not None:  # of the gradients of all parts
            calls.append(functools.partial(kernels.clear_loss, square))
            calls += [functools.partial(kernels.add_squares, *part, square) for part in parts]
        calls += [functools.partial(kernels.update, *part, self._lr, self._step, found_inf, square) for part in parts]
        if self.skip_nonfinite:
            calls.append(functools.partial(kernels.end_update, found_inf, self._step, self._skipped))
        return calls[0] if len(calls) == 1 else functools.partial(_call_all, calls)

    def make_rule(self, rule: str, options: dict[str, Any]) -> Any:
        """The kernels' rule of this name with these options and the common ones."""
        return getattr(_backend.kernels, rule)(**{**self.common_options(), **options})

    def make_table(self, places: Sequence[int], slots: Iterable[str] | None = None, lr_scale: Any = None) -> Any:
        """A ``TensorTable`` of the parameters at these places.

        Args:
            slots: the states that the rule needs, all if None.
            lr_scale: what the learning rate is multiplied by for each parameter, but not its weight decay.
        """
        chosen = [self._parameters[place] for place in places]
        names = self.slot_names() if slots is None else slots
        states = [[self._slots[name][place] for place in places] for name in names]
        decay = np.array([not matches(parameter.name, self._excluded) for parameter in chosen], np.float32)
        return new_table(chosen, states, decay, lr_scale)

    def common_options(self) -> dict[str, Any]:
        """The rule's arguments for decay and clipping."""
        return {
            "weight_decay": self.weight_decay or 0.0,
            "decoupled": True,
            "clip_norm": self.clipnorm or self.global_clipnorm or 0.0,
            "clip_norm_per_tensor": self.clipnorm is not None,
            "clip_value": self.clipvalue or 0.0,
            "skip_nonfinite": self.skip_nonfinite,
        }

    def step(self) -> None:
        """One update of all parameters from their gradients, in place."""
        if self._run is None:
            self._fail("step", "called after build", "a call before")
        self.scheduled_step(_backend.to_device(self.upcoming_rates(1)), self._first)

    def scheduled_step(self, rates: Array, slot: Array) -> None:
        """One update whose learning rate is rates[slot]."""
        self.begin_step(rates, slot)
        self.common_step()

    def begin_step(self, rates: Array, slot: Array) -> None:
        """What a step begins with: its number and its learning rate, rates[slot]. A kernel call, for tapes to record.

        `rates`: float64[n], those of the steps to come; `slot`: int64[1].
        """
        _backend.kernels.begin_update(rates, slot, self._lr, self._step)

    def common_step(self) -> None:
        """The update of all parameters, after `begin_step`; one kernel call."""
        self._run()

    def take_back(self, count: int) -> None:
        """Uncounts the last steps, which changed nothing as `stop_flag` was set, and clears that."""
        if self.skip_nonfinite:  # they were uncounted, but as skipped ones
            self._skipped -= count
        else:
            self._step -= count
        self.stop_flag[...] = 0

    def upcoming_rates(self, count: int) -> Array:
        """The learning rates of the next `count` steps, float64."""
        rate = self._learning_rate
        if not callable(rate):
            return np.full(count, rate)
        return np.array([rate(step) for step in range(self.iterations, self.iterations + count)], np.float64)

    # ---- saving

    def state_arrays(self) -> dict[str, Array]:
        """The state by name: "iterations", int64[1], and "{slot}/{parameter}", views that a step changes."""
        state = {"iterations": self._step}
        for slot, arrays in self._slots.items():
            pairs = zip(self._parameters, arrays)
            state.update({f"{slot}/{p.name}": array for p, array in pairs if self.has_slot(slot, p)})
        return state

    def load_state_arrays(self, state: dict[str, Array]) -> None:
        """Copies a saved state into this optimizer, which must have been built for the same parameters.

        Raises:
            ValueError: an array is missing, superfluous or of another shape.
        """
        own = self.state_arrays()
        if own.keys() != state.keys():
            missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            given = f"{missing[0]!r} missing" if missing else f"{extra[0]!r} beside them"
            self._fail("state", f"the {len(own)} arrays of this optimizer", given, "It was saved by another one.")
        for name, array in own.items():
            if np.shape(state[name]) != array.shape:
                self._fail(f"state[{name!r}]", f"of shape {array.shape}", _check.describe(state[name]))
        for name, array in own.items():
            _backend.assign(array, state[name])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        rate = self._learning_rate
        config = {"learning_rate": rate.get_config() if isinstance(rate, schedules.Schedule) else rate}
        names = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "name", "skip_nonfinite")
        return {**config, **{name: getattr(self, name) for name in names}}

    # ---- checks

    def _fail(self, argument: str, wanted: str, given: str, remedy: str = "") -> None:
        _check.fail(self.default_name, argument, wanted, given, remedy)

    def _number(self, argument: str, value: Any, **bounds: Any) -> float | None:
        return None if value is None else _check.number(self.default_name, argument, value, **bounds)

    def _fraction(self, argument: str, value: Any) -> float:
        return _check.number(self.default_name, argument, value, minimum=0, below=1)


def _call_all(calls: Sequence[Callable[[], Any]]) -> None:
    for call in calls:
        call()
