"""fastnn.jax inside optax's and JAX's transformations, where its buffers lie, and what leaves optax no choice."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
from jax_runs import GRADS, START, as_jax, assert_close, run, run_in_float64  # noqa: E402

import fastnn.jax as fused  # noqa: E402

LABELS = {"bias": "slow", "empty": "slow", "layers": [{"w": w} for w in ["slow", "fast", "none", "fast", "slow"]]}


def wrappings(module):
    """Optimizers that contain one of the module's."""
    inner = {"slow": module.sgd(0.01, momentum=0.9), "fast": module.adamw(0.05, weight_decay=0.1)}
    return {
        "chain": optax.chain(optax.clip_by_global_norm(30.0), module.adamw(0.05, weight_decay=0.1), optax.scale(0.5)),
        "masked": optax.masked(module.adam(0.05), lambda tree: jax.tree.map(lambda leaf: leaf.ndim == 1, tree)),
        "multi_transform": optax.multi_transform({**inner, "none": optax.set_to_zero()}, LABELS),
        "accumulated": optax.MultiSteps(module.rmsprop(0.05), every_k_schedule=3),
        "only finite": optax.apply_if_finite(module.adam(0.05), 5),
        "named": optax.named_chain(("clip", optax.clip(0.5)), ("step", module.sgd(0.05, momentum=0.9))),
        "looked ahead": optax.flatten(module.adam(0.05)),
    }


@pytest.mark.parametrize("name", wrappings(optax))
def test_inside_optaxs_own_transformations(name):
    expected, _ = run_in_float64(lambda: wrappings(optax)[name], name not in ("masked", "multi_transform"))
    params, state = run(wrappings(fused)[name])
    assert_close(params, expected)
    assert jax.tree.structure(state) == jax.tree.structure(wrappings(optax)[name].init(as_jax(START)))


@pytest.mark.parametrize("compiled", [True, False])
def test_injected_hyperparameters(compiled):
    """All of them are arrays then, and may be changed in the state; those here are exact in float32."""
    options = {"learning_rate": optax.linear_schedule(0.0625, 0.03125, 8), "b1": 0.75, "b2": 0.9375, "eps": 2.0**-10}
    options |= {
        "eps_root": 2.0**-8,
        "weight_decay": 0.125,
        "mask": lambda tree: jax.tree.map(lambda a: a.ndim < 2, tree),
    }

    def trained(module):
        optimizer = optax.inject_hyperparams(module.adamw, static_args="mask")(**options)
        step = jax.jit(optimizer.update) if compiled else optimizer.update
        params = as_jax(START, jnp.result_type(float))
        state = optimizer.init(params)
        for number, grads in enumerate(GRADS if compiled else GRADS[:12]):
            if number == 5:
                state.hyperparams["b1"] = jnp.array(0.5, params["bias"].dtype)
            updates, state = step(as_jax(grads, params["bias"].dtype), state, params)
            params = optax.apply_updates(params, updates)
        return params

    from jax_runs import enable_x64

    with enable_x64(True):
        expected = jax.tree.map(np.asarray, trained(optax))
    assert_close(trained(fused), expected)


def test_a_loop_inside_a_compiled_function():
    optimizer = fused.adamw(0.05, weight_decay=0.1)
    grads = jax.tree.map(lambda *leaves: jnp.stack(leaves), *GRADS)

    @jax.jit
    def train(params, state):
        return jax.lax.scan(
            lambda carry, g: (optimizer.fused_apply(carry[0], g, carry[1]), None), (params, state), grads
        )

    params = as_jax(START)
    (looped, _), _ = train(params, optimizer.init(params))
    expected, _ = run(optimizer, jax.jit(optimizer.fused_apply))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(looped), jax.tree.leaves(expected)))


def test_many_models_by_vmap():
    """Each with its own learning rate."""
    rates, steps = jnp.array([0.01, 0.02, 0.03]), GRADS[:3]

    def train(rate, params):
        optimizer = fused.adamw(rate, weight_decay=0.1)
        state = optimizer.init(params)
        for grads in steps:
            updates, state = optimizer.update(as_jax(grads), state, params)
            params = optax.apply_updates(params, updates)
        return params

    params = as_jax(START)
    many = jax.jit(jax.vmap(train, in_axes=(0, None)))(rates, params)
    for index, rate in enumerate(rates):
        one = jax.jit(train)(rate, params)
        assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], many), one, "exact")


# ---- where the results lie


def addresses(tree):
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree) if leaf.size]


def test_fused_apply_works_in_place():
    optimizer = fused.adamw(0.05)
    params = as_jax(START)
    state = optimizer.init(params)
    before, old = addresses((params, state[0].mu, state[0].nu)), params
    params, state = optimizer.fused_apply(params, as_jax(GRADS[0]), state)
    assert addresses((params, state[0].mu, state[0].nu)) == before
    assert jax.tree.leaves(old)[0].is_deleted()


@pytest.mark.parametrize("method", ["update", "fused_apply"])
def test_a_compiled_step_that_donates_copies_nothing(method):
    optimizer = fused.adamw(0.05)

    def step(params, state):
        grads = jax.tree.map(jnp.cos, params)
        if method == "fused_apply":
            return optimizer.fused_apply(params, grads, state)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = as_jax(START)
    text = jax.jit(step, donate_argnums=(0, 1)).lower(params, optimizer.init(params)).compile().as_text()
    own_passes = text[text.index("\nENTRY ") :]  # what else is called copy ends another kernel
    copies = [line for line in own_passes.splitlines() if " copy(" in line and "f32[0]" not in line]
    assert "custom-call" in text and not copies


def test_what_is_not_donated_stays_as_it_was():
    optimizer = fused.adamw(0.05)
    params, grads = as_jax(START), as_jax(GRADS[0])
    state = optimizer.init(params)
    before = jax.tree.map(np.array, (params, grads, state))
    jitted = jax.jit(lambda p, g, s: (optimizer.update(g, s, p), g))
    for updated in (jitted(params, grads, state), optimizer.update(grads, state, params)):
        jax.block_until_ready(updated)
        jax.tree.map(np.testing.assert_array_equal, (params, grads, state), before)
    (updates, _), returned = jitted(params, grads, state)
    jax.tree.map(np.testing.assert_array_equal, returned, before[1])
    assert not np.array_equal(updates["layers"][-1]["w"], before[1]["layers"][-1]["w"])


# ---- further ways to call it


def test_several_python_threads_at_once():
    optimizer = fused.adam(0.05)
    step = jax.jit(optimizer.fused_apply)
    expected = run(optimizer, step)[0]
    with ThreadPoolExecutor(4) as pool:
        for params, _ in pool.map(lambda _: run(optimizer, step), range(8)):
            assert_close(params, expected, "exact")


def test_a_copy_of_an_optimizer_works():
    optimizer = copy.deepcopy(fused.adam(0.05))
    assert_close(run(optimizer, optimizer.fused_apply)[0], run(fused.adam(0.05))[0])
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)


def test_gradients_through_a_step_are_refused():
    optimizer = fused.sgd(0.1)

    def meta(rate):
        return fused.sgd(rate).update(jnp.ones(3), optimizer.init(jnp.ones(3)))[0].sum()

    with pytest.raises(ValueError, match="FFI call to `fastnn.sgd` cannot be differentiated"):
        jax.grad(meta)(0.1)


SHARDED = """
import jax, numpy as np, optax
import jax.numpy as jnp
import fastnn.jax as fused
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

assert jax.device_count() == 2
sharded = NamedSharding(Mesh(np.array(jax.devices()), ("d",)), P("d"))
results = []
for module in (fused, optax):
    optimizer = module.adamw(0.1, weight_decay=0.1)
    params = {"w": jax.device_put(jnp.arange(20000.0).reshape(2, -1), sharded), "b": jnp.ones(7)}
    state = optimizer.init(params)
    step = jax.jit(lambda p, s: optimizer.update(jax.tree.map(jnp.cos, p), s, p), donate_argnums=1)
    for _ in range(5):
        updates, state = step(params, state)
        params = optax.apply_updates(params, updates)
    results.append(jax.tree.map(np.asarray, params))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *results)

replicas = jax.pmap(lambda p, g: fused.adam(0.1).update(g, fused.adam(0.1).init(p), p)[0])
np.testing.assert_allclose(replicas(jnp.zeros((2, 50000)), jnp.ones((2, 50000))), -0.1, rtol=1e-5)
"""


def test_several_devices(run_python):
    ran = run_python("-c", SHARDED, env={"XLA_FLAGS": "--xla_force_host_platform_device_count=2"})
    assert ran.returncode == 0, ran.stderr
