"""What fastnn.jax says to bad input, and that nothing else imports JAX."""

import re

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

import fastnn.jax as fused  # noqa: E402

PARAMS = {"w": jnp.ones((3, 2)), "b": [jnp.ones(2)]}

ARGUMENTS = [
    (fused.sgd, {"learning_rate": "fast"}, "fastnn.jax.sgd: learning_rate must be a finite number, got 'fast'"),
    (fused.sgd, {"learning_rate": jnp.ones(3)}, "fastnn.jax.sgd: learning_rate must be a number or a floating-point "
     "array of shape (), got float32 array of shape (3,)"),
    (fused.adam, {"learning_rate": jnp.int32(1)}, "fastnn.jax.adam: learning_rate must be a number or a floating"),
    (fused.adam, {"learning_rate": float("nan")}, "fastnn.jax.adam: learning_rate must be a finite number, got nan"),
    (fused.adam, {"b1": 1.0}, "fastnn.jax.adam: b1 must be a finite number of at least 0, below 1, got 1.0"),
    (fused.adamw, {"b2": -0.1}, "fastnn.jax.adamw: b2 must be a finite number of at least 0, below 1, got -0.1"),
    (fused.adamw, {"eps": -1}, "fastnn.jax.adamw: eps must be a finite number of at least 0, got -1.0"),
    (fused.adamw, {"eps_root": None}, "fastnn.jax.adamw: eps_root must be a finite number of at least 0, got None"),
    (fused.adamw, {"weight_decay": -1}, "fastnn.jax.adamw: weight_decay must be a finite number of at least 0, got"),
    (fused.adamw, {"nesterov": 1}, "fastnn.jax.adamw: nesterov must be True or False, got 1"),
    (fused.adamw, {"mu_dtype": jnp.int8}, "fastnn.jax.adamw: mu_dtype must be None, float32, bfloat16 or float16, got"),
    (fused.amsgrad, {"bias_correction_nu": None}, "fastnn.jax.amsgrad: bias_correction_nu must be True or False"),
    (fused.sgd, {"nesterov": True}, "fastnn.jax.sgd: momentum must be a number with nesterov=True, got None"),
    (fused.sgd, {"accumulator_dtype": "float64"}, "fastnn.jax.sgd: accumulator_dtype must be None, float32, bfloat16"),
    (fused.adagrad, {"initial_accumulator_value": -1}, "fastnn.jax.adagrad: initial_accumulator_value must be a fin"),
    (fused.lion, {"b1": 1}, "fastnn.jax.lion: b1 must be a finite number of at least 0, below 1, got 1.0"),
    (fused.lion, {"mu_dtype": "float64"}, "fastnn.jax.lion: mu_dtype must be None, float32, bfloat16 or float16, got"),
    (fused.lamb, {"eps_root": -1}, "fastnn.jax.lamb: eps_root must be a finite number of at least 0, got -1.0"),
    (fused.lars, {"trust_coefficient": -1}, "fastnn.jax.lars: trust_coefficient must be a finite number of at least 0"),
    (fused.lars, {"nesterov": 0}, "fastnn.jax.lars: nesterov must be True or False, got 0"),
    (fused.muon, {"ns_coeffs": "dion"}, "fastnn.jax.muon: ns_coeffs must be three numbers, the same in all steps, got"),
    (fused.muon, {"ns_coeffs": ((1, 2, 3),) * 5}, "fastnn.jax.muon: ns_coeffs must be three numbers, the same in all "
     "steps, got an array of shape (5, 3)"),
    (fused.muon, {"ns_steps": 1.5}, "fastnn.jax.muon: ns_steps must be a whole number from 0 to 99, got 1.5"),
    (fused.muon, {"adaptive": True}, "fastnn.jax.muon: adaptive must be False, got True. optax.contrib.muon has more."),
    (fused.muon, {"consistent_rms": 0}, "fastnn.jax.muon: consistent_rms must be a finite number above 0, got 0.0"),
    (fused.muon, {"adam_b1": 1}, "fastnn.jax.adamw: b1 must be a finite number of at least 0, below 1, got 1.0"),
    (fused.rmsprop, {"decay": 2}, "fastnn.jax.rmsprop: decay must be a finite number of at least 0, below 1, got 2.0"),
    (fused.rmsprop, {"initial_scale": -1}, "fastnn.jax.rmsprop: initial_scale must be a finite number of at least 0"),
    (fused.rmsprop, {"momentum": "0.9"}, "fastnn.jax.rmsprop: momentum must be a finite number, got '0.9'"),
    (fused.rmsprop, {"nesterov": True}, "fastnn.jax.rmsprop: momentum must be a number with nesterov=True, got None"),
    (fused.rmsprop, {"eps_in_sqrt": "no"}, "fastnn.jax.rmsprop: eps_in_sqrt must be True or False, got 'no'"),
]  # fmt: skip


@pytest.mark.parametrize("make, options, message", ARGUMENTS, ids=lambda value: getattr(value, "__name__", None))
def test_arguments(make, options, message):
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}"):
        make(**{"learning_rate": 0.1, **options})


def changed(leaf):
    return {**PARAMS, "w": leaf}


TREES = [
    ({"grads": changed(jnp.ones((3, 2), jnp.int32))}, TypeError, "grads['w'] must be float32, bfloat16 or float16, got "
     "int32. Wrap the optimizer in optax.masked or optax.multi_transform to leave a leaf out."),
    ({"params": changed(jnp.ones((3, 2), jnp.int8))}, TypeError, "params['w'] must be float32, bfloat16 or float16"),
    ({"params": changed(jnp.ones((2, 3)))}, ValueError, "params['w'] must be of its gradient's shape (3, 2), got"),
    ({"params": {"w": PARAMS["w"]}}, ValueError, "params must be a tree of the same structure as grads, got"),
    ({"grads": changed(None)}, ValueError, "params must be a tree of the same structure as grads, got"),
    ({"state": fused.sgd(0.1).init(PARAMS)}, ValueError, "state must be what the init of fastnn.jax.adamw or "
     "optax.adamw made, got a tuple without mu"),
    ({"state": None}, ValueError, "state must be what the init of fastnn.jax.adamw or optax.adamw made, got a"),
    ({"state": fused.adamw(0.1).init(changed(jnp.ones(4)))}, ValueError, "state's mu['w'] must be of its gradient's"),
    ({"state": optax.adamw(0.1, mu_dtype=jnp.int32).init(PARAMS)}, TypeError, "state's mu['b'][0] must be float32, bf"),
]  # fmt: skip


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("trees, error, message", TREES)
def test_trees(trees, error, message, compiled):
    optimizer = fused.adamw(0.1)
    given = {"params": PARAMS, "grads": PARAMS, "state": optimizer.init(PARAMS), **trees}
    update = jax.jit(optimizer.update) if compiled else optimizer.update
    with pytest.raises(error, match=f"^{re.escape('fastnn.jax.adamw.update: ' + message)}"):
        update(given["grads"], given["state"], given["params"])
    apply = jax.jit(optimizer.fused_apply) if compiled else optimizer.fused_apply
    with pytest.raises(error, match=f"^{re.escape('fastnn.jax.adamw.fused_apply: ' + message)}"):
        apply(given["params"], given["grads"], given["state"])


def test_decay_needs_the_parameters():
    optimizer = fused.adamw(0.1)
    message = (
        "fastnn.jax.adamw.update: params must be given for weight decay, got None. Call update(grads, state, params)."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
    without = fused.adamw(0.1, weight_decay=0)
    without.update(PARAMS, without.init(PARAMS))
    with pytest.raises(ValueError, match="fused_apply: params must be a tree of the same structure as grads"):
        without.fused_apply(None, PARAMS, without.init(PARAMS))


def test_an_update_is_of_its_parameters_type():
    optimizer = fused.adamw(0.1)
    message = (
        "fastnn.jax.adamw.update: params['w'] must be of its gradient's type bfloat16, got float32. Cast the "
        "gradient, or call fused_apply."
    )
    grads = changed(jnp.ones((3, 2), jnp.bfloat16))
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        optimizer.update(grads, optimizer.init(PARAMS), PARAMS)


def test_what_needs_all_gradients_at_once():
    params, muon = changed(jnp.ones((3, 2), jnp.bfloat16)), fused.muon(0.1)
    for optimizer, message in [
        (fused.sgd(0.1), "fastnn.jax.sgd.fused_apply: skip_nonfinite must be False where leaves are of several types"),
        (muon, "fastnn.jax.muon.fused_apply: skip_nonfinite must be False, as there are two rules, got True. Wrap the"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            optimizer.fused_apply(params, params, optimizer.init(params), skip_nonfinite=True)


def test_muons_trees():
    muon = fused.muon(0.1)
    state = muon.init(PARAMS)
    for trees, message in [
        (
            (PARAMS, None, PARAMS),
            "state must be what the init of fastnn.jax.muon or optax.contrib.muon made, got a Non",
        ),
        ((PARAMS, state, None), "params must be given, got None. Call update(grads, state, params)."),
        ((changed(jnp.ones((3, 3))), state, PARAMS), "params['w'] must be of its gradient's shape (3, 3), got (3, 2)"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape('fastnn.jax.muon.update: ' + message)}"):
            muon.update(*trees)
    with pytest.raises(ValueError, match="fastnn.jax.muon.fused_apply: params must be a tree of the same structure"):
        muon.fused_apply({"w": PARAMS["w"]}, PARAMS, state)


def test_masks():
    for mask, message in [
        (
            {"w": True},
            "fastnn.jax.adamw: mask must be a tree like the parameters, or a prefix of it, got one that isn't",
        ),
        ({"w": True, "b": 0.5}, "fastnn.jax.adamw: mask must be True or False, got 0.5"),
    ]:
        optimizer = fused.adamw(0.1, mask=mask)
        state = fused.adamw(0.1).init(PARAMS)  # optax's own masked has other words for it
        with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}"):
            optimizer.update(PARAMS, state, PARAMS)


def test_schedules_and_options_of_a_step():
    optimizer = fused.sgd(lambda step: "none")
    with pytest.raises(TypeError, match="fastnn.jax.sgd: learning_rate's value must be a finite number, got 'none'"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
    optimizer = fused.sgd(0.1)
    state = optimizer.init(PARAMS)
    with pytest.raises(ValueError, match="fastnn.jax.sgd.fused_apply: clip_norm must be a finite number of at least 0"):
        optimizer.fused_apply(PARAMS, PARAMS, state, clip_norm=-1)
    with pytest.raises(ValueError, match="fastnn.jax.sgd.fused_apply: grad_scale must be a number or a floating-point"):
        optimizer.fused_apply(PARAMS, PARAMS, state, grad_scale=jnp.ones(2))


def test_float64_is_refused():
    from jax_runs import enable_x64

    with enable_x64(True):
        params = jnp.ones(3)
        optimizer = fused.sgd(0.1)
        with pytest.raises(TypeError, match="fastnn.jax.sgd.update: grads must be float32, .*, got float64"):
            optimizer.update(params, optimizer.init(params))


def test_jax_is_imported_only_when_asked_for(run_python):
    ran = run_python("-c", "import sys, fastnn; from fastnn import *; assert 'jax' not in sys.modules; fastnn.jax.adam")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("missing", ["jax", "optax"])
def test_a_missing_package_is_named(missing, run_python):
    ran = run_python("-c", f"import sys; sys.modules[{missing!r}] = None; import fastnn.jax")
    assert ran.returncode == 1
    assert f"ImportError: fastnn.jax: the module {missing} must be installed, got" in ran.stderr
    assert "Run `pip install 'fastnn-kernels[jax]'`." in ran.stderr


def test_the_kernel_sees_what_does_not_fit():
    """Below Python's checks: a call that doesn't fit ends in XLA's error, with the reason."""
    fused.sgd(0.1)
    good = {"tensors": np.int32(1), "updates": np.int32(1), "has_params": np.int32(0), "decay": np.ones(1, np.float32)}
    good |= dict.fromkeys(["learning_rate", "weight_decay", "grad_scale", "clip_norm", "clip_value"], np.float64(1))
    good |= dict.fromkeys(["adapts", "lr_scale"], np.ones(1, np.float32)) | {"rows": np.zeros(1, np.int64)}
    good |= {"decoupled": np.int32(1), "skip_nonfinite": np.int32(0)}
    step, grad = jnp.int32(1), jnp.ones(3)

    def call(*operands, result=(3,), **attributes):
        target = jax.ffi.ffi_call("fastnn.sgd", [jax.ShapeDtypeStruct(result, np.float32)], vmap_method="sequential")
        return jax.jit(lambda *arrays: target(*arrays, **{**good, **attributes}))(*operands)

    np.testing.assert_allclose(call(step, grad)[0], -1 / 3**0.5, rtol=1e-6)
    wrong = [
        (lambda: call(step, grad, tensors=np.int32(2)), "there is a result for each tensor and slot"),
        (lambda: call(step, grad, updates=np.int32(0)), "there are parameters to change"),
        (lambda: call(step, grad, has_params=np.int32(1)), "arguments are float32, bfloat16 or float16"),
        (lambda: call(step, grad, result=(4,)), "an array has as many elements as its tensor"),
        (lambda: call(step, grad.astype(jnp.int32)), "arguments are float32, bfloat16 or float16"),
        (lambda: call(jnp.int32(0), grad), "count is at least 0"),
        (lambda: call(jnp.float32(1), grad), "a counter is an int32 or int64"),
        (lambda: call(step, grad, decay=np.ones(2, np.float32)), "one for each tensor"),
        (
            lambda: call(step, grad.astype(jnp.float16), grad, has_params=np.int32(1)),
            "an update is of its parameter's type",
        ),
        (lambda: call(step, grad, rows=np.full(1, 2)), "a matrix has whole rows"),
        (lambda: call(step, grad, skip_nonfinite=np.int32(1)), "the last result says whether the step was skipped"),
        (lambda: call(step, grad, decay=np.ones(1)), "an array of numbers is of another type"),
        (lambda: call(step, grad, decay=np.float64(1)), "attribute decay is of another type"),
        (lambda: call(step, grad, learning_rate=np.int32(7)), "there are fewer arguments"),
        (lambda: call(step, grad, learning_rate=np.int32(0)), "a traced number is a float"),
        (lambda: call(step, grad, tensors=np.float64(1)), "a whole number is an int32 or int64"),
    ]
    for attempt, message in wrong:
        with pytest.raises(Exception, match=f"fastnn: .*{message}"):
            jax.block_until_ready(attempt())
