"""What fastnn.jax is given: numbers, schedules, masks, and trees that fit together."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastnn import _check

TYPES = ("float32", "bfloat16", "float16")
_WANTED = "float32, bfloat16 or float16"


def number(function: str, argument: str, value: Any, **bounds: Any) -> Any:
    """A float within the bounds, or an array or tracer of shape () as it is: `inject_hyperparams` makes these."""
    if not isinstance(value, jax.Array):
        return _check.number(function, argument, value, **bounds)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        _check.fail(function, argument, "a number or a floating-point array of shape ()", _check.describe(value))
    return value if value.dtype in (np.float32, np.float64) else value.astype(np.float32)


def fraction(function: str, argument: str, value: Any) -> Any:
    """The same, from 0 to below 1."""
    return number(function, argument, value, minimum=0, below=1)


def schedule(function: str, argument: str, value: Any, **bounds: Any) -> Any:
    """The same, or a function of the step's number."""
    return value if callable(value) else number(function, argument, value, **bounds)


def check_stored_type(function: str, argument: str, dtype: Any) -> None:
    """A type that states may have; None: that of their parameters."""
    if dtype is not None and jnp.dtype(dtype).name not in TYPES:
        _check.fail(function, argument, f"None, {_WANTED}", _check.describe(dtype))


def spread_mask(name: str, argument: str, mask: Any, tree: Any) -> list[bool]:
    """What a mask, a tree of bools like `tree` or a prefix of it or a function of it, says of each leaf; None: True."""
    mask = mask(tree) if callable(mask) else mask
    if mask is None:
        return [True] * len(jax.tree.leaves(tree))
    function = f"fastnn.jax.{name}"
    try:
        spread = jax.tree.map(lambda flag, below: jax.tree.map(lambda _: flag, below), mask, tree)
    except (ValueError, TypeError) as error:
        wanted = "a tree like the parameters, or a prefix of it"
        _check.fail(function, argument, wanted, f"one that isn't: {error}".splitlines()[0])
    return [_check.boolean(function, argument, flag) for flag in jax.tree.leaves(spread)]


def check_trees(
    function: str, name: str, params: Any, grads: Any, state: Any, slots: dict[str, Any], updates: bool
) -> None:
    """Every leaf of a known type and its gradient's shape, every tree of the same structure.

    Args:
        slots: what lies in the state's fields.
        updates: whether updates are made, to which a param of another type than its gradient's couldn't be added.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(grads)
    leaves = [_checked_leaf(function, "grads", path, leaf) for path, leaf in paths]
    trees = {} if params is None and updates else {"params": params}
    for field, tree in slots.items():
        trees[f"state's {field}"] = tree
        if tree is None:
            wanted = f"what the init of fastnn.jax.{name} or optax.{name} made"
            _check.fail(function, "state", wanted, f"a {type(state).__name__} without {field}")
    for argument, tree in trees.items():
        others, other_structure = jax.tree_util.tree_flatten_with_path(tree)
        if other_structure != structure:
            given = f"{other_structure} where grads is {structure}"
            _check.fail(function, argument, "a tree of the same structure as grads", given)
        for (path, leaf), (shape, dtype) in zip(others, leaves):
            at = argument + jax.tree_util.keystr(path)
            other_shape, other = _checked_leaf(function, argument, path, leaf)
            if other_shape != shape:
                _check.fail(function, at, f"of its gradient's shape {shape}", f"{other_shape}")
            if argument == "params" and updates and other != dtype:
                remedy = "Cast the gradient, or call fused_apply."
                _check.fail(function, at, f"of its gradient's type {dtype}", str(other), remedy, TypeError)


def _checked_leaf(function: str, argument: str, path: Any, leaf: Any) -> tuple[tuple[int, ...], Any]:
    dtype = jnp.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if dtype.name not in TYPES:
        remedy = "Wrap the optimizer in optax.masked or optax.multi_transform to leave a leaf out."
        _check.fail(function, argument + jax.tree_util.keystr(path), _WANTED, str(dtype), remedy, TypeError)
    return np.shape(leaf), dtype
