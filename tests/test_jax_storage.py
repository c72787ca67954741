"""Leaves and states of 16 bits in fastnn.jax, against optax in float64 whose arrays are rounded after every step."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
from jax_runs import GRADS, START, as_jax, assert_close, enable_x64, joined, run  # noqa: E402

import fastnn.jax as fused  # noqa: E402

RULES = {
    "sgd": {"momentum": 0.9},
    "adam": {"b2": 0.99},
    "adamw": {"weight_decay": 0.1, "mu_dtype": "float32"},
    "amsgrad": {"b2": 0.99},
    "rmsprop": {"momentum": 0.5, "initial_scale": 1.0},
    "adagrad": {},
    "lion": {},
    "lamb": {"weight_decay": 0.1},
    "lars": {"trust_coefficient": 0.1},
}


def rounded(tree, like):
    return jax.tree.map(lambda leaf, other: leaf.astype(other.dtype).astype(leaf.dtype), tree, like)


def emulated(make, params, state, grads):
    """What optax makes of it in float64; params and state are of the types to round to."""
    with enable_x64(True):
        optimizer = make()
        wide = as_jax(jax.tree.map(lambda a: np.asarray(a, np.float64), params), jnp.float64)
        own = jax.tree.map(lambda a, b: jnp.asarray(a, jnp.result_type(b)), state, optimizer.init(wide))

        @jax.jit
        def step(params, state, grads):
            updates, new = optimizer.update(grads, state, params)
            return jax.tree.map(jnp.add, params, updates), new

        for fresh in grads:
            wide, own = step(wide, own, as_jax(jax.tree.map(lambda a: np.asarray(a, np.float64), fresh), jnp.float64))
            wide, own = rounded(wide, params), rounded(own, state)
        return jax.tree.map(np.asarray, (wide, own))


def assert_alike(actual, expected, alike=0.0, limit=0.01):
    """Close on the whole: a sum in float32 beside the middle of two neighbours may be rounded to the other one.

    Args:
        alike: how many of the elements must be equal.
        limit: of the differences' root mean square, relative to the elements'.
    """
    leaves = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    pairs = [(np.ravel(np.asarray(a, np.float64)), np.ravel(b)) for a, b in leaves if a.dtype != jnp.int32]
    a, b = (np.concatenate(arrays) for arrays in zip(*pairs))
    assert np.mean(a == b) >= alike
    assert np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)) <= limit


def types(tree):
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", RULES)
def test_bfloat16_leaves(name):
    options = {"learning_rate": 0.05, **RULES[name]}
    optimizer = getattr(fused, name)(**options)
    grads = [jnp.asarray(joined(tree), jnp.bfloat16) for tree in GRADS]  # one leaf: optax's trees take long to compile
    params = jnp.asarray(joined(START), jnp.bfloat16)
    state = optimizer.init(params)
    options.pop("mu_dtype", None)  # optax multiplies by b1 in that type, fastnn in float32
    expected, expected_state = emulated(lambda: getattr(optax, name)(**options), params, state, grads)
    params, new = run(optimizer, optimizer.fused_apply, jnp.bfloat16, grads, jnp.array(params))
    assert types(new) == types(state)
    of_norms = name in ("lamb", "lars")  # one element that is rounded otherwise changes all of a tensor's steps
    assert_alike(params, expected, *((0.5, 0.05) if of_norms else (0.98,)))
    assert_alike(new, expected_state, limit=0.05 if of_norms else 0.01)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_only_the_momentum_is_narrow(dtype):
    for name, options in (("adam", {"mu_dtype": dtype}), ("sgd", {"momentum": 0.9, "accumulator_dtype": dtype})):
        optimizer = getattr(fused, name)(0.05, **options)
        state = optimizer.init(as_jax(START))
        wide = {key: value for key, value in options.items() if value != dtype}
        expected, _ = emulated(lambda n=name, o=wide: getattr(optax, n)(0.05, **o), as_jax(START), state, GRADS[:50])
        params, new = run(optimizer, grads=GRADS[:50])
        assert types(new) == types(state)
        assert_alike(params, expected, limit=1e-4)


def test_leaves_of_several_types():
    """Each as in a tree of its own type; a norm to clip by is that of all."""
    of = {"a": jnp.float32, "b": jnp.bfloat16, "c": jnp.float16}
    rng = np.random.default_rng(5)
    params, grads = ({k: jnp.asarray(rng.standard_normal(300), t) for k, t in of.items()} for _ in range(2))
    optimizer = fused.adamw(0.1, weight_decay=0.1)
    alone = {}
    norm = float(np.sqrt(sum(np.sum(np.asarray(g, np.float64) ** 2) for g in grads.values())))
    for k in of:
        state = optimizer.init({k: params[k]})
        alone |= jax.jit(lambda p, g, s: optimizer.fused_apply(p, g, s, grad_scale=0.5 / norm))(
            {k: params[k]}, {k: grads[k]}, state
        )[0]
    step = jax.jit(lambda p, g, s: optimizer.fused_apply(p, g, s, clip_norm=0.5))
    together, _ = step(params, grads, optimizer.init(params))
    for k in of:
        assert together[k].dtype == of[k]
        np.testing.assert_allclose(np.asarray(together[k], np.float32), np.asarray(alone[k], np.float32), rtol=2e-3)


def test_narrow_gradients_of_wide_parameters():
    """They are rounded gradients, nothing else."""
    grads = [as_jax(tree, jnp.bfloat16) for tree in GRADS[:10]]
    optimizer = fused.adam(0.05)
    step = jax.jit(optimizer.fused_apply)

    def trained(dtype):
        params = as_jax(START)
        state = optimizer.init(params)
        for tree in grads:
            params, state = step(params, jax.tree.map(lambda a: a.astype(dtype), tree), state)
        return params

    assert_close(trained(jnp.bfloat16), trained(jnp.float32), "exact")
