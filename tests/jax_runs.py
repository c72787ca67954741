"""What the tests of fastnn.jax share: a tree of awkward tensors, gradients for 60 steps, optax in float64 beside."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from tolerances import difference

# XLA reads this when it first runs anything: most of a test's time it compiles.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

STEPS = 60
SHAPES = [(), (0,), (1,), (17,), (3, 11), (1009,), (40, 33)]
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


def tree_of(arrays):
    """Nested dicts, lists and tuples of arrays, in the order in which JAX flattens them."""
    first, second, *rest = arrays
    return {"bias": first, "empty": (second, None), "layers": [{"w": array} for array in rest]}


def arrays_from(seed, factor=1.0):
    rng = np.random.default_rng(seed)
    return [(factor * rng.standard_normal(shape)).astype(np.float32) for shape in SHAPES]


START = tree_of(arrays_from(7))
GRADS = [tree_of(arrays_from(100 + step, 3.0)) for step in range(STEPS)]


def as_jax(tree, dtype=None):
    return jax.tree.map(lambda array: jnp.array(array, dtype), tree)


def one_step(optimizer):
    """Compiled: (params, grads, state) -> (params, state), by way of `update`."""

    def step(params, grads, state):
        updates, state = optimizer.update(grads, state, params)
        return jax.tree.map(lambda p, u: p + u, params, updates), state

    return jax.jit(step)


def run(optimizer, step=None, dtype=None, grads=GRADS, params=None, state=None):
    """The parameters and the state after all steps."""
    params = as_jax(START, dtype) if params is None else params
    state = optimizer.init(params) if state is None else state
    step = step or one_step(optimizer)
    for fresh in grads:
        params, state = step(params, as_jax(fresh, dtype), state)
    return params, state


def run_in_float64(make, elementwise=False):
    """What optax makes of it; `make` must be called where float64 is on, for its constants.

    Args:
        elementwise: whether no element depends on another one: all leaves may be one array then, which XLA compiles in
            a fifth of the time.
    """
    with enable_x64(True):
        if not elementwise:
            return jax.tree.map(np.asarray, run(make(), dtype=jnp.float64))
        grads = [joined(tree) for tree in GRADS]
        found = run(make(), dtype=jnp.float64, grads=grads, params=as_jax(joined(START), jnp.float64))
        return jax.tree.map(lambda leaf: taken_apart(np.asarray(leaf)), found)


def joined(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def taken_apart(array):
    """The tree that was joined; other arrays as they are."""
    leaves, structure = jax.tree.flatten(START)
    if array.size != sum(leaf.size for leaf in leaves):
        return array
    parts = np.split(array, np.cumsum([leaf.size for leaf in leaves])[:-1])
    return structure.unflatten([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves)])


def assert_close(actual, expected, tolerance="optax"):
    """Leaf by leaf the same structure; all of one kind's leaves together are as exact as their largest elements."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (actual, expected)]
    found = difference(*flat, tolerance)
    assert not found, found
