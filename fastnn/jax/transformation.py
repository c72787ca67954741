"""A rule as an optax GradientTransformation: trees into lists of arrays, calls of a kernel, and back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastnn import _check
from fastnn.jax import handlers, states
from fastnn.jax.checks import check_trees, number, spread_mask


@dataclass(frozen=True, eq=False)
class Rule:
    """What tells one optimizer from another.

    Attributes:
        name: as in optax.
        reference: optax's own transformation, which makes the state.
        handler: the kernel, a name of `kernels.xla_handlers`.
        slots: the fields of the state that hold trees like the parameters, in the kernel's order.
        learning_rate: a number, an array of shape () or a schedule.
        numbers: the kernel's other hyperparameters, by their names there: numbers or arrays of shape ().
        flags: its further arguments, bool or int.
        weight_decay: as learning_rate.
        mask: a tree of bools or a function that makes one: which leaves decay. None: all.
        decoupled: whether weight decay goes past the rule.
        elementwise: whether each element is treated by itself. Such a rule needs the parameters for decay only.
        trust_mask: as mask: the leaves for which a rule that has a ratio for each takes it.
        matrix: (shape) -> (rows, factor of the learning rate), for rules about matrices.
        from_state: (state) -> further numbers.
    """

    name: str
    reference: optax.GradientTransformation
    handler: str
    slots: tuple[str, ...]
    learning_rate: Any
    numbers: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    weight_decay: Any = 0.0
    mask: Any = None
    decoupled: bool = True
    elementwise: bool = True
    trust_mask: Any = None
    matrix: Callable[[tuple[int, ...]], tuple[int, float]] | None = None
    from_state: Callable[[Any], dict[str, Any]] | None = None

    @property
    def reads_params(self) -> bool:
        """Whether an update depends on the parameters."""
        return not self.elementwise or not (isinstance(self.weight_decay, float) and self.weight_decay == 0.0)


@dataclass(frozen=True)
class Options:
    """What one step does to the gradients before the rule sees them: numbers or arrays of shape ()."""

    grad_scale: Any = 1.0
    clip_norm: Any = 0.0
    clip_value: Any = 0.0
    skip_nonfinite: bool = False

    def without_norm(self, grads: Any) -> Options:
        """The same with the norm's factor in grad_scale, for a step by several calls."""
        if not isinstance(self.clip_norm, jax.Array) and self.clip_norm == 0.0:
            return self
        squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(grads)]
        norm = jnp.sqrt(functools.reduce(jnp.add, squares)) * jnp.abs(self.grad_scale)
        above = (self.clip_norm > 0) & (norm > self.clip_norm)
        scale = self.grad_scale * jnp.where(above, self.clip_norm / norm, 1.0)
        return Options(scale.astype(jnp.float32), 0.0, self.clip_value, self.skip_nonfinite)


# (method, params or None, grads, state, options) -> (new params or updates, new state)
Step = Callable[[str, Any, Any, Any, Options], tuple[Any, Any]]


class FusedTransformation(optax.GradientTransformationExtraArgs):
    """An optax.GradientTransformationExtraArgs (a named tuple of `init` and `update`) with `fused_apply`.

    Made by the functions of `fastnn.jax`.
    """

    _name: str
    _step: Step

    def __new__(cls, init: Any, update: Any, name: str, step: Step) -> FusedTransformation:
        made = super().__new__(cls, init, update)
        made._name, made._step = name, step
        return made

    def __reduce__(self) -> tuple[Any, ...]:  # for copy
        return FusedTransformation, (self.init, self.update, self._name, self._step)

    @functools.cached_property
    def _in_place(self) -> Any:
        def apply(params: Any, grads: Any, state: Any, numbers: dict[str, Any], skip_nonfinite: bool) -> Any:
            return self._step("fused_apply", params, grads, state, Options(**numbers, skip_nonfinite=skip_nonfinite))

        return jax.jit(apply, donate_argnums=(0, 2), static_argnums=4)

    def fused_apply(
        self,
        params: Any,
        grads: Any,
        state: Any,
        *,
        grad_scale: Any = 1.0,
        clip_norm: Any = 0.0,
        clip_value: Any = 0.0,
        skip_nonfinite: bool = False,
    ) -> tuple[Any, Any]:
        """One step: returns (new params, new state), as `update` and `optax.apply_updates` do in two.

        In a function compiled by `jax.jit` that donates params and state, everything happens in place. Called on
        arrays, outside of such a function, it donates them itself: the arrays that were passed are deleted.

        Args:
            params, grads: trees of the same structure; leaves float32, bfloat16 or float16.
            state: from `init` or the step before; optax's own of the same optimizer too.
            grad_scale: multiplies the gradients first, e.g. 1 / loss_scale; a number or an array of shape (), as the
                next two.
            clip_norm: largest norm of all gradients together, as optax.clip_by_global_norm; 0 is off.
            clip_value: largest size of a gradient's element, as optax.clip, after the norm; 0 is off.
            skip_nonfinite: whether params and state, counts too, stay as they are where a gradient isn't finite.

        Raises:
            ValueError, TypeError: trees or arrays that don't fit, naming the leaf.
        """
        function = f"fastnn.jax.{self._name}.fused_apply"
        numbers = {"grad_scale": number(function, "grad_scale", grad_scale)}
        for argument, value in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            numbers[argument] = number(function, argument, value, minimum=0)
        # 0 is known when the step is compiled, other numbers may change from call to call.
        numbers = {name: value for name, value in numbers.items() if isinstance(value, jax.Array) or value != 0.0}
        skip = _check.boolean(function, "skip_nonfinite", skip_nonfinite)
        leaves = jax.tree.leaves((params, grads, state, numbers))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._step("fused_apply", params, grads, state, Options(**numbers, skip_nonfinite=skip))
        return self._in_place(params, grads, state, numbers, skip)


def transformation(rule: Rule) -> FusedTransformation:
    """The rule as a transformation."""
    return make(rule.name, rule.reference.init, functools.partial(step, rule))


def make(name: str, init: Any, step: Step) -> FusedTransformation:
    """A transformation of that name whose steps are `step`."""
    handlers.register()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra  # meant for other members of a chain
        return step("update", params, updates, state, Options())

    return FusedTransformation(init, update, name, step)


def step(rule: Rule, method: str, params: Any, grads: Any, state: Any, options: Options) -> tuple[Any, Any]:
    """Returns (new params, new state), for the method "update" (updates, new state)."""
    function, updates = f"fastnn.jax.{rule.name}.{method}", method == "update"
    if updates and not rule.reads_params:
        params = None
    elif updates and params is None:
        wanted = "given for weight decay" if rule.elementwise else "given"
        _check.fail(function, "params", wanted, "None", "Call update(grads, state, params).")
    slots = {name: states.find(state, name) for name in rule.slots}
    check_trees(function, rule.name, params, grads, state, slots, updates)
    leaves, structure = jax.tree.flatten(grads)
    if not leaves:
        return grads, states.advanced(state, {})
    lists = [_arrays(tree) for tree in ([] if params is None else [params], grads, *slots.values())]
    own, gradients, *of_slots = lists
    if len({tuple(leaf.dtype for leaf in each) for each in zip(*(part for part in lists if part))}) > 1:
        options = options.without_norm(grads)
        if options.skip_nonfinite:
            remedy = "Wrap the optimizer in optax.apply_if_finite."
            _check.fail(function, "skip_nonfinite", "False where leaves are of several types", "True", remedy)
    call = _call(rule, grads, state, options)
    results, new, skipped = handlers.run(call, own or None, gradients, of_slots, updates=updates)
    trees = {name: structure.unflatten(arrays) for name, arrays in zip(rule.slots, new)}
    return structure.unflatten(results), states.advanced(state, trees, skipped)


def _call(rule: Rule, grads: Any, state: Any, options: Options) -> handlers.Call:
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(grads)]
    matrices = [(0, 1.0) if rule.matrix is None else rule.matrix(shape) for shape in shapes]
    decays = spread_mask(rule.name, "mask", rule.mask, grads) if rule.reads_params else [False] * len(shapes)
    return handlers.Call(
        rule.handler,
        {
            "learning_rate": _scheduled(rule, "learning_rate", state, "ScaleByScheduleState"),
            "weight_decay": _scheduled(rule, "weight_decay", state, "WeightDecaySchedule"),
            "grad_scale": options.grad_scale,
            "clip_norm": options.clip_norm,
            "clip_value": options.clip_value,
            **rule.numbers,
            **({} if rule.from_state is None else rule.from_state(state)),
        },
        {**rule.flags, "decoupled": rule.decoupled},
        _step_number(rule, state),
        decay=[decays / factor for decays, (_, factor) in zip(decays, matrices)],
        lr_scale=[factor for _, factor in matrices],
        adapts=spread_mask(rule.name, "trust_ratio_mask", rule.trust_mask, grads),
        rows=[rows for rows, _ in matrices],
        elementwise=rule.elementwise,
        skip_nonfinite=options.skip_nonfinite,
    )


def _arrays(tree: Any) -> list[jax.Array]:
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _scheduled(rule: Rule, name: str, state: Any, kind: str) -> Any:
    """A hyperparameter's value in this step; a schedule's count lies in the part of the state that is called `kind`."""
    value = getattr(rule, name)
    if not callable(value):
        return value
    return number(f"fastnn.jax.{rule.name}", f"{name}'s value", value(states.find(state, "count", kind)))


def _step_number(rule: Rule, state: Any) -> jax.Array:
    """The number of this step, from 1; always 1 where the rule counts none."""
    for part in states.parts(state):
        if "count" in part._fields and any(name in part._fields for name in rule.slots):
            return states.incremented(part.count)
    return jnp.ones((), jnp.int32)
