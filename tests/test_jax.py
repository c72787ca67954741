"""fastnn.jax against optax: trajectories of 60 steps with every argument away from its default, and their states."""

import inspect

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
from jax_runs import GRADS, START, as_jax, assert_close, one_step, run, run_in_float64  # noqa: E402

import fastnn.jax as fused  # noqa: E402
from fastnn.jax import states  # noqa: E402

RATE = {"learning_rate": 0.03}
NAMES = ["sgd", "adam", "adamw", "amsgrad", "rmsprop", "adagrad", "lion", "lamb", "lars", "muon"]


def decaying():
    return {"learning_rate": optax.warmup_exponential_decay_schedule(0.01, 0.05, 10, 5, 0.9)}


def only_matrices(params):
    return jax.tree.map(lambda leaf: leaf.ndim == 2, params)


MASK = {"bias": True, "empty": False, "layers": [False, True, False, True, True]}
WEIGHTS = {"bias": False, "empty": False, "layers": [True, False, True, True, True]}
ADAM = {"b1": 0.8, "b2": 0.95, "eps": 1e-3}
RMS = {**RATE, "decay": 0.8, "eps": 1e-3}
# From 0 the corrected variance of one step is 0, or what rounding makes of it.
SPREAD = {"initial_scale": 10.0}

RULES = [
    ("sgd", {"learning_rate": 0.05}),
    ("sgd", {**decaying(), "momentum": 0.8}),
    ("sgd", {**RATE, "momentum": 0.8, "nesterov": True}),
    ("adam", {**RATE, **ADAM}),
    ("adam", {**RATE, "eps_root": 0.3}),
    ("adam", {**decaying(), **ADAM, "nesterov": True}),
    ("adamw", {**RATE, **ADAM, "weight_decay": 0.2}),
    ("adamw", {**decaying(), "weight_decay": 0.2, "mask": MASK}),
    ("adamw", {**RATE, "eps_root": 1e-3, "weight_decay": 0.1, "mask": only_matrices, "nesterov": True}),
    ("nadam", {**RATE, **ADAM}),
    ("nadamw", {**RATE, "weight_decay": 0.1}),
    ("amsgrad", {**RATE, **ADAM, "eps_root": 1e-2}),
    ("rmsprop", RMS),
    ("rmsprop", {**RMS, "initial_scale": 0.5, "eps_in_sqrt": False}),
    ("rmsprop", {**RMS, **decaying(), "momentum": 0.7}),
    ("rmsprop", {**RMS, "momentum": 0.7, "nesterov": True, "bias_correction": True}),
    ("rmsprop", {**RMS, "centered": True}),
    ("rmsprop", {**RMS, "centered": True, "bias_correction": True, "eps_in_sqrt": False, **SPREAD}),
    ("rmsprop", {**RMS, **decaying(), "centered": True, "momentum": 0.7}),
    ("rmsprop", {**RMS, **SPREAD, "centered": True, "momentum": 0.7, "nesterov": True, "bias_correction": True}),
    ("adagrad", RATE),
    ("adagrad", {**decaying(), "initial_accumulator_value": 0.0, "eps": 1e-2}),
    ("adagrad", {**RATE, "initial_accumulator_value": 0.0, "eps": 0.0}),
    ("lion", RATE),
    ("lion", {**decaying(), "b1": 0.8, "b2": 0.9, "weight_decay": 0.2, "mask": MASK}),
    ("lamb", RATE),
    ("lamb", {**decaying(), **ADAM, "eps_root": 1e-2, "weight_decay": 0.2, "mask": only_matrices}),
    ("lars", {"learning_rate": 3.0}),
    ("lars", {**decaying(), "weight_decay": 0.2, "weight_decay_mask": MASK, "trust_coefficient": 0.5, "eps": 1.0}),
    ("lars", {**RATE, "trust_coefficient": 0.1, "trust_ratio_mask": only_matrices, "momentum": 0.7, "nesterov": True}),
    ("muon", RATE),
    ("muon", {**decaying(), "weight_decay": 0.2, "weight_decay_mask": WEIGHTS, "nesterov": False, "beta": 0.8}),
    ("muon", {**RATE, "ns_coeffs": (2.0, -1.5, 0.5), "ns_steps": 3, "eps": 0.1, "consistent_rms": 0.2}),
    ("muon", {**RATE, "adam_b1": 0.8, "adam_b2": 0.9, "adam_eps_root": 0.1, "adam_weight_decay": 0.2}),
    ("muon", {**RATE, "adam_learning_rate": optax.linear_schedule(0.1, 0.0, 50)}),
]
if "bias_correction_mu" in inspect.signature(optax.amsgrad).parameters:
    RULES += [("amsgrad", {**RATE, **ADAM, f"bias_correction_{which}": False}) for which in ("mu", "nu")]
IDS = [f"{name}-{'-'.join(key for key in options if key != 'learning_rate')}" for name, options in RULES]


def optaxs(name):
    return getattr(optax, name, None) or getattr(optax.contrib, name)


def check_state(state, expected):
    """Counts and structure equal, every slot close."""
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    for part, wanted in zip(states.parts(state), states.parts(expected), strict=True):
        for field in part._fields:
            assert_close(getattr(part, field), getattr(wanted, field))


@pytest.mark.parametrize("name, options", RULES, ids=IDS)
def test_the_trajectory_is_optaxs(name, options):
    """Against optax in float64: its own float32 is up to 1e-5 away, from 1 - b2^t in float32."""
    optimizer = getattr(fused, name)(**options)
    elementwise = name not in ("lamb", "lars", "muon") and "mask" not in options
    expected, expected_state = run_in_float64(lambda: optaxs(name)(**options), elementwise)
    by_update, state = run(optimizer)
    assert_close(by_update, expected)
    check_state(state, expected_state)
    in_place, state = run(optimizer, optimizer.fused_apply)
    assert_close(in_place, expected)
    check_state(state, expected_state)


@pytest.mark.parametrize("name", NAMES)
def test_names_order_and_defaults_are_optaxs(name):
    own, theirs = (inspect.signature(make).parameters for make in (getattr(fused, name), optaxs(name)))
    shared = [key for key in own if key in theirs]
    assert shared == list(theirs), "optax has arguments that fastnn lacks"
    assert not set(own) - set(theirs) - {"bias_correction_mu", "bias_correction_nu"}  # of a newer optax
    for key in shared:
        assert own[key].default == theirs[key].default and own[key].kind == theirs[key].kind, key


NON_DEFAULT = {
    "b1": 0.5, "b2": 0.5, "eps": 0.1, "eps_root": 0.1, "weight_decay": 0.5, "mask": False, "nesterov": True,
    "decay": 0.5, "initial_scale": 2.0, "eps_in_sqrt": False, "centered": True, "momentum": 0.5,
    "bias_correction": True, "bias_correction_mu": False, "bias_correction_nu": False, "learning_rate": 0.5,
    "mu_dtype": "bfloat16", "accumulator_dtype": "bfloat16", "initial_accumulator_value": 0.5, "adam_b1": 0.5,
    "weight_decay_mask": False, "trust_coefficient": 0.5, "trust_ratio_mask": False, "ns_steps": 2, "beta": 0.5,
    "ns_coeffs": (2.0, -1.5, 0.5), "adam_b2": 0.5, "adam_eps_root": 0.1, "adam_weight_decay": 0.5,
    "adam_learning_rate": 0.5, "consistent_rms": 0.2,
}  # fmt: skip
NEEDED = {"mask": "weight_decay", "weight_decay_mask": "weight_decay"}  # what an argument is about
REFUSED = {"adaptive": True, "preconditioning": "aol", "muon_weight_dimension_numbers": {"w": None}}


@pytest.mark.parametrize(
    "name, argument", [(n, a) for n in NAMES for a in inspect.signature(getattr(fused, n)).parameters]
)
def test_every_argument_changes_the_result_or_raises(name, argument):
    """mu_dtype changes what the state is stored in; Lion's sign of it needs more steps to show that."""
    base, make = dict(RATE), getattr(fused, name)
    if argument == "mu_dtype":
        stored = jax.tree.leaves(make(**base, mu_dtype="bfloat16").init(as_jax(START)))
        assert any(leaf.dtype == jnp.bfloat16 for leaf in stored)
        return
    if argument in REFUSED:
        with pytest.raises(ValueError, match=f"fastnn.jax.{name}: {argument} must be .* optax.contrib.muon has more."):
            make(**base, **{argument: REFUSED[argument]})
        return
    if name in ("sgd", "rmsprop") and argument in ("nesterov", "accumulator_dtype"):
        base["momentum"] = 0.9
    if argument in NEEDED:
        base[NEEDED[argument]] = 0.3
    other = NON_DEFAULT[argument]
    if inspect.signature(make).parameters[argument].default == other:
        other = not other
    optimizers = [make(**base), make(**{**base, argument: other})]
    usual, changed = [run(optimizer, optimizer.fused_apply, grads=GRADS[:3])[0] for optimizer in optimizers]
    pairs = zip(jax.tree.leaves(usual), jax.tree.leaves(changed))
    assert any(not np.array_equal(a, b) for a, b in pairs)


SCHEDULED_DECAY = hasattr(optax.add_decayed_weights(lambda step: 0.1).init(0.0), "count")


@pytest.mark.skipif(not SCHEDULED_DECAY, reason="only a newer optax has it")
def test_weight_decay_may_follow_a_schedule():
    options = {**decaying(), "weight_decay": optax.linear_schedule(0.5, 0.0, 30), "mask": MASK}
    expected, expected_state = run_in_float64(lambda: optax.adamw(**options))
    params, state = run(fused.adamw(**options))
    assert_close(params, expected)
    check_state(state, expected_state)


@pytest.mark.parametrize("name, options", [RULES[7], RULES[-3]], ids=["adamw", "muon"])
def test_a_state_goes_to_optax_and_back_in_the_middle_of_a_training(name, options):
    own, theirs = getattr(fused, name)(**options), optaxs(name)(**options)
    mixed, state = run(theirs, grads=GRADS[:20])
    mixed, state = run(own, grads=GRADS[20:40], params=mixed, state=state)
    mixed, state = run(theirs, grads=GRADS[40:], params=mixed, state=state)
    expected, expected_state = run_in_float64(lambda: optaxs(name)(**options))
    assert_close(mixed, expected, "optax in float32")
    assert jax.tree.structure(state) == jax.tree.structure(expected_state)


def test_the_same_bits_each_time_and_for_any_number_of_threads():
    """Leaves that are split among threads, and enough of them for several calls."""
    from fastnn import get_num_threads, set_num_threads

    rng = np.random.default_rng(3)
    shapes = [(300_001,), (500, 401), (7,), *[(50_000,)] * 5]
    start, *grads = ([rng.standard_normal(shape, np.float32) for shape in shapes] for _ in range(4))
    before, results = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 1):
            set_num_threads(threads)
            params, _ = run(fused.adamw(**RATE, weight_decay=0.1), grads=grads, params=as_jax(start))
            results.append([np.asarray(leaf).tobytes() for leaf in params])
    finally:
        set_num_threads(before)
    assert all(result == results[0] for result in results)
    expected, _ = run(optax.adamw(**RATE, weight_decay=0.1), grads=grads, params=as_jax(start))
    assert_close(params, expected, "optax in float32")


def test_scaling_and_clipping_in_the_same_pass():
    clipping = (optax.scale(0.5), optax.clip_by_global_norm(20.0), optax.clip(0.3))
    expected, _ = run_in_float64(lambda: optax.chain(*clipping, optax.adamw(**RATE, weight_decay=0.1)))
    optimizer = fused.adamw(**RATE, weight_decay=0.1)
    options = {"grad_scale": 0.5, "clip_norm": 20.0, "clip_value": 0.3}
    step = jax.jit(lambda *trees: optimizer.fused_apply(*trees, **options))
    assert_close(run(optimizer, step)[0], expected)
    traced = jax.jit(lambda given, *trees: optimizer.fused_apply(*trees, **given))
    assert_close(run(optimizer, lambda *trees: traced(options, *trees))[0], expected)
    assert_close(run(optimizer, lambda *trees: optimizer.fused_apply(*trees, **options))[0], expected)


def test_clipping_where_two_rules_share_the_leaves():
    expected, _ = run_in_float64(lambda: optax.chain(optax.clip_by_global_norm(20.0), optax.contrib.muon(**RATE)))
    optimizer = fused.muon(**RATE)
    assert_close(run(optimizer, lambda *trees: optimizer.fused_apply(*trees, clip_norm=20.0))[0], expected)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_with_gradients_that_are_not_finite_is_skipped(name, bad):
    """Params and state, its counts too, stay; scaled gradients count."""
    optimizer = getattr(fused, name)(**decaying())
    step = jax.jit(lambda *trees: optimizer.fused_apply(*trees, skip_nonfinite=True))
    params, state = run(optimizer, step, grads=GRADS[:3])
    spoilt = jax.tree.map(np.array, GRADS[3])
    spoilt["layers"][4]["w"][20, 7] = bad
    after = step(params, as_jax(spoilt), state)
    jax.tree.map(np.testing.assert_array_equal, after, (params, state))
    expected, expected_state = run(optimizer, optimizer.fused_apply, grads=GRADS[:5])
    params, state = run(optimizer, step, grads=GRADS[3:5], params=after[0], state=after[1])
    assert_close(params, expected, "exact")
    assert_close(state, expected_state, "exact")
    largest = jax.tree.map(lambda grad: jnp.full_like(grad, 3e38), params)
    scaled = optimizer.fused_apply(params, largest, state, grad_scale=10.0, skip_nonfinite=True)
    assert_close(scaled, (expected, expected_state), "exact")


def test_a_tree_may_be_one_array_or_empty():
    optimizer = fused.adam(0.1)
    param, grad = jnp.ones(5), jnp.ones(5)
    updates, state = optimizer.update(grad, optimizer.init(param))
    np.testing.assert_allclose(updates, -0.1, rtol=1e-6)
    assert optimizer.fused_apply({}, {}, optimizer.init({}))[0] == {}
    _, state = optimizer.update((), optimizer.init(()))
    assert state[0].count == 1


def test_steps_without_end():
    """A count that has reached the largest int32 stays there, as in optax."""
    optimizer = fused.adam(0.1)
    params = as_jax(START)
    state = optimizer.init(params)
    state = (state[0]._replace(count=jnp.int32(2**31 - 1)), *state[1:])
    params, state = one_step(optimizer)(params, as_jax(GRADS[0]), state)
    assert state[0].count == 2**31 - 1 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
