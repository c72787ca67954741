"""A rule as an optax GradientTransformation: trees into lists of arrays, one kernel call, and back."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastnn import _check
from fastnn.jax import handlers, states


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
        flags: its arguments that are True or False.
        weight_decay: as learning_rate; decoupled.
        mask: a tree of bools or a function that makes one: which leaves decay. None: all.
    """

    name: str
    reference: optax.GradientTransformation
    handler: str
    slots: tuple[str, ...]
    learning_rate: Any
    numbers: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    weight_decay: Any = 0.0
    mask: Any = None

    @property
    def reads_params(self) -> bool:
        """Whether an update depends on the parameters."""
        return not (isinstance(self.weight_decay, float) and self.weight_decay == 0.0)


class FusedTransformation(optax.GradientTransformationExtraArgs):
    """An optax.GradientTransformationExtraArgs (a named tuple of `init` and `update`) with `fused_apply`.

    Made by the functions of `fastnn.jax`.
    """

    _rule: Rule

    def __new__(cls, init: Any, update: Any, rule: Rule) -> FusedTransformation:
        made = super().__new__(cls, init, update)
        made._rule = rule
        return made

    def __reduce__(self) -> tuple[Any, ...]:  # for copy
        return FusedTransformation, (self.init, self.update, self._rule)

    @functools.cached_property
    def _in_place(self) -> Any:
        apply = functools.partial(_step, self._rule, "fused_apply")
        return jax.jit(apply, donate_argnums=(0, 2))

    def fused_apply(
        self, params: Any, grads: Any, state: Any, *, grad_scale: Any = 1.0, clip_norm: Any = 0.0
    ) -> tuple[Any, Any]:
        """One step: returns (new params, new state), as `update` and `optax.apply_updates` do in two.

        In a function compiled by `jax.jit` that donates params and state, everything happens in place. Called on
        arrays, outside of such a function, it donates them itself: the arrays that were passed are deleted.

        Args:
            params, grads: trees of the same structure, leaves float32.
            state: from `init` or the step before; optax's own of the same optimizer too.
            grad_scale: multiplies the gradients first, e.g. 1 / loss_scale; a number or an array of shape ().
            clip_norm: largest norm of all gradients together, as optax.clip_by_global_norm; 0 is off. A number or an
                array of shape ().

        Raises:
            ValueError, TypeError: trees or arrays that don't fit, naming the leaf.
        """
        function = f"fastnn.jax.{self._rule.name}.fused_apply"
        options = {"grad_scale": number(function, "grad_scale", grad_scale)}
        options["clip_norm"] = number(function, "clip_norm", clip_norm, minimum=0)
        leaves = jax.tree.leaves((params, grads, state, options))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return _step(self._rule, "fused_apply", params, grads, state, options)
        return self._in_place(params, grads, state, options)


def transformation(rule: Rule) -> FusedTransformation:
    """The rule as a transformation."""
    handlers.register()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra  # meant for other members of a chain
        if not rule.reads_params:
            params = None
        elif params is None:
            remedy = "Call update(grads, state, params)."
            _check.fail(f"fastnn.jax.{rule.name}.update", "params", "given for weight decay", "None", remedy)
        return _step(rule, "update", params, updates, state, {"grad_scale": 1.0, "clip_norm": 0.0})

    return FusedTransformation(rule.reference.init, update, rule)


def _step(rule: Rule, method: str, params: Any, grads: Any, state: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """Returns (new params, new state), for the method "update" (updates, new state)."""
    _check_trees(rule, method, params, grads, state)
    leaves, structure = jax.tree.flatten(grads)
    if not leaves:
        return grads, states.advanced(state, {})
    numbers = {
        "learning_rate": _scheduled(rule, "learning_rate", state, "ScaleByScheduleState"),
        "weight_decay": _scheduled(rule, "weight_decay", state, "WeightDecaySchedule"),
        **rule.numbers,
        **options,
    }
    decay = _decays(rule, grads) if rule.reads_params else [0.0] * len(leaves)
    call = handlers.Call(rule.handler, numbers, rule.flags, _step_number(rule, state), decay)
    slots = [_arrays(states.find(state, name)) for name in rule.slots]
    own = None if params is None else _arrays(params)
    results, slots = handlers.run(call, own, _arrays(grads), slots, updates=method == "update")
    trees = {name: structure.unflatten(arrays) for name, arrays in zip(rule.slots, slots)}
    return structure.unflatten(results), states.advanced(state, trees)


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


def _decays(rule: Rule, tree: Any) -> list[float]:
    """1 for each leaf that weight decay concerns, 0 for the others."""
    mask = rule.mask(tree) if callable(rule.mask) else rule.mask
    if mask is None:
        return [1.0] * len(jax.tree.leaves(tree))
    try:
        spread = jax.tree.map(lambda flag, below: jax.tree.map(lambda _: flag, below), mask, tree)
    except (ValueError, TypeError) as error:
        wanted = "a tree like the parameters, or a prefix of it"
        _check.fail(f"fastnn.jax.{rule.name}", "mask", wanted, f"one that isn't: {error}".splitlines()[0])
    return [float(_check.boolean(f"fastnn.jax.{rule.name}", "mask", flag)) for flag in jax.tree.leaves(spread)]


# ---- checks


def number(function: str, argument: str, value: Any, **bounds: Any) -> Any:
    """A float within the bounds, or an array or tracer of shape () as it is: `inject_hyperparams` makes these."""
    if not isinstance(value, jax.Array):
        return _check.number(function, argument, value, **bounds)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        _check.fail(function, argument, "a number or a floating-point array of shape ()", _check.describe(value))
    return value if value.dtype in (np.float32, np.float64) else value.astype(np.float32)


def schedule(function: str, argument: str, value: Any, **bounds: Any) -> Any:
    """The same, or a function of the step's number."""
    return value if callable(value) else number(function, argument, value, **bounds)


def _check_trees(rule: Rule, method: str, params: Any, grads: Any, state: Any) -> None:
    """Every leaf float32 and of its gradient's shape, every tree of the same structure."""
    function = f"fastnn.jax.{rule.name}.{method}"
    paths, structure = jax.tree_util.tree_flatten_with_path(grads)
    shapes = [_checked_leaf(function, "grads", path, leaf) for path, leaf in paths]
    trees = {} if params is None and method == "update" else {"params": params}
    for name in rule.slots:
        trees[f"state's {name}"] = states.find(state, name)
        if trees[f"state's {name}"] is None:
            wanted = f"what the init of fastnn.jax.{rule.name} or optax.{rule.name} made"
            _check.fail(function, "state", wanted, f"a {type(state).__name__} without {name}")
    for argument, tree in trees.items():
        others, other_structure = jax.tree_util.tree_flatten_with_path(tree)
        if other_structure != structure:
            given = f"{other_structure} where grads is {structure}"
            _check.fail(function, argument, "a tree of the same structure as grads", given)
        for (path, leaf), shape in zip(others, shapes):
            if _checked_leaf(function, argument, path, leaf) != shape:
                at = argument + jax.tree_util.keystr(path)
                _check.fail(function, at, f"of its gradient's shape {shape}", f"{np.shape(leaf)}")


def _checked_leaf(function: str, argument: str, path: Any, leaf: Any) -> tuple[int, ...]:
    dtype = jnp.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if dtype != np.float32:
        remedy = "Wrap the optimizer in optax.masked or optax.multi_transform to leave a leaf out."
        _check.fail(function, argument + jax.tree_util.keystr(path), "float32", str(dtype), remedy, TypeError)
    return np.shape(leaf)
