"""What all optimizers share: learning rate, weight decay, clipping, state, the table of tensors."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastnn import _backend, _check, schedules

Array = np.ndarray

_FIRST = np.zeros(1, np.int64)  # the slot of a single learning rate


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
        self._lr, self._step = np.zeros(1), np.zeros(1, np.int64)
        self._slots: dict[str, list[Array]] = {}
        self._parameters: list[Any] = []
        self._excluded: list[str] = []
        self._run: Any = None

    # ---- what a class defines

    def slot_names(self) -> list[str]:
        """Names of the state arrays, in the rule's order."""
        return []

    def rule_options(self) -> dict[str, Any]:
        """The rule's arguments beside those that all optimizers share."""
        return {}

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
        self._excluded += [f"^{re.escape(parameter.name)}$" for parameter in var_list]
        self._excluded += list(var_names)

    def build(self, parameters: Sequence[Any], flat_param: Array, flat_grad: Array) -> None:
        """Makes the state and the table of tensors.

        Args:
            parameters: with `name`, `regularizer` (or None), and `value` and `grad`, float32 views of the flat arrays.
            flat_param, flat_grad: float32[size]; every slot is laid out like flat_param.
        """
        self._parameters = list(parameters)
        values = [parameter.value for parameter in self._parameters]
        self._slots = {name: _views(_backend.zeros(flat_param.shape), flat_param, values) for name in self.slot_names()}
        self._step[0] = 0
        self._run = self._bind(_backend.kernels.update, range(len(values)))

    def self_updates(self, parameters: Sequence[Any]) -> tuple[Any, Callable[[], None] | None] | None:
        """For a step in which the kernels that compute the gradients of some parameters update them at once.

        Args:
            parameters: some of those that `build` was given.

        Returns:
            (updates, step): the n-th of `parameters` is updated by what gets (updates, n), after `updates.prepare()`;
            `step` updates all other parameters, None if there are none. None instead of both where an update needs
            every gradient before, as with clipping by norm.
        """
        if not self._make_rule().elementwise:
            return None
        places = {id(parameter): place for place, parameter in enumerate(self._parameters)}
        chosen = [places.pop(id(parameter)) for parameter in parameters]
        updates = self._bind(_backend.kernels.updates, chosen)()
        return updates, self._bind(_backend.kernels.update, list(places.values())) if places else None

    def _bind(self, kernel: Callable[..., Any], places: Sequence[int]) -> Callable[[], Any]:
        """`kernel`, update or updates, with the rule and a table of the parameters at these places."""
        chosen = [self._parameters[place] for place in places]
        table = _backend.kernels.TensorTable(
            [parameter.value for parameter in chosen],
            [parameter.grad for parameter in chosen],
            [[arrays[place] for place in places] for arrays in self._slots.values()],
            l1=np.array([getattr(parameter.regularizer, "l1", 0.0) for parameter in chosen], np.float32),
            l2=np.array([2 * getattr(parameter.regularizer, "l2", 0.0) for parameter in chosen], np.float32),
            decay=np.array([self._decays(parameter.name) for parameter in chosen], np.float32),
        )
        return functools.partial(kernel, self._make_rule(), table, self._lr, self._step)

    def _make_rule(self) -> Any:
        return getattr(_backend.kernels, self.rule)(**self.common_options(), **self.rule_options())

    def common_options(self) -> dict[str, Any]:
        """The rule's arguments for decay and clipping."""
        return {
            "weight_decay": self.weight_decay or 0.0,
            "decoupled": True,
            "clip_norm": self.clipnorm or self.global_clipnorm or 0.0,
            "clip_norm_per_tensor": self.clipnorm is not None,
            "clip_value": self.clipvalue or 0.0,
        }

    def step(self) -> None:
        """One update of all parameters from their gradients, in place."""
        if self._run is None:
            self._fail("step", "called after build", "a call before")
        self.scheduled_step(self.upcoming_rates(1), _FIRST)

    def scheduled_step(self, rates: Array, slot: Array) -> None:
        """One update whose learning rate is rates[slot]."""
        self.begin_step(rates, slot)
        self.common_step()

    def begin_step(self, rates: Array, slot: Array) -> None:
        """What a step begins with: its number and its learning rate, rates[slot]. A kernel call, for tapes to record.

        Args:
            rates: float64[n], the learning rates of the steps to come.
            slot: int64[1].
        """
        _backend.kernels.begin_update(rates, slot, self._lr, self._step)

    def common_step(self) -> None:
        """The update of all parameters, after `begin_step`; one kernel call."""
        self._run()

    def upcoming_rates(self, count: int) -> Array:
        """The learning rates of the next `count` steps, float64."""
        rate = self._learning_rate
        if not callable(rate):
            return np.full(count, rate)
        return np.array([rate(step) for step in range(self.iterations, self.iterations + count)], np.float64)

    def _decays(self, name: str) -> float:
        return 0.0 if any(re.search(pattern, name) for pattern in self._excluded) else 1.0

    # ---- saving

    def state_arrays(self) -> dict[str, Array]:
        """The state by name: "iterations", int64[1], and "{slot}/{parameter}", views that a step changes."""
        state = {"iterations": self._step}
        for slot, arrays in self._slots.items():
            state.update({f"{slot}/{p.name}": array for p, array in zip(self._parameters, arrays)})
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
            array[...] = state[name]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them."""
        rate = self._learning_rate
        config = {"learning_rate": rate.get_config() if isinstance(rate, schedules.Schedule) else rate}
        names = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "name")
        return {**config, **{name: getattr(self, name) for name in names}}

    # ---- checks

    def _fail(self, argument: str, wanted: str, given: str, remedy: str = "") -> None:
        _check.fail(self.default_name, argument, wanted, given, remedy)

    def _number(self, argument: str, value: Any, **bounds: Any) -> float | None:
        return None if value is None else _check.number(self.default_name, argument, value, **bounds)

    def _fraction(self, argument: str, value: Any) -> float:
        return _check.number(self.default_name, argument, value, minimum=0, below=1)


def _views(flat: Array, like: Array, views: Sequence[Array]) -> list[Array]:
    """Views of `flat` that lie in it as `views` lie in `like`."""
    base = like.__array_interface__["data"][0]
    starts = [(view.__array_interface__["data"][0] - base) // like.itemsize for view in views]
    return [flat[start : start + view.size].reshape(view.shape) for start, view in zip(starts, views)]
