"""The optimizers' classes: against Keras' formulas over 25 steps; schedules, saving, every argument."""

import inspect
import json

import numpy as np
import pytest
from keras_rules import keras_run
from optimizer_runs import GRADS, SHAPES, START, STEPS, Model, assert_close

from fastnn import optimizers, schedules
from fastnn.regularizers import L1L2

REGULARIZERS = [None, L1L2(l1=0.02), L1L2(l2=0.03), L1L2(l1=0.01, l2=0.02)]


# An argument of each class and a value that isn't its default; in a row of its own and in the walk below.
CHANGES = {
    optimizers.SGD: {"learning_rate": 0.03, "momentum": 0.9, "nesterov": True},
    optimizers.Adam: {
        "learning_rate": 0.03,
        "beta_1": 0.8,
        "beta_2": 0.95,
        "epsilon": 0.1,
        "amsgrad": True,
        "bias_correction": False,
    },
    optimizers.AdamW: {"learning_rate": 0.03, "weight_decay": 0.3, "amsgrad": True, "beta_1": 0.7},
    optimizers.RMSprop: {
        "learning_rate": 0.03,
        "rho": 0.8,
        "momentum": 0.7,
        "epsilon": 0.1,
        "centered": True,
        "eps_inside_sqrt": False,
    },
    optimizers.Adagrad: {
        "learning_rate": 0.03,
        "initial_accumulator_value": 0.5,
        "epsilon": 0.1,
        "eps_inside_sqrt": False,
    },
    optimizers.Lion: {"learning_rate": 0.03, "beta_1": 0.8, "beta_2": 0.95},
    optimizers.Lamb: {
        "learning_rate": 0.03,
        "beta_1": 0.8,
        "beta_2": 0.95,
        "epsilon": 0.1,
        "bias_correction": False,
        "decoupled_weight_decay": False,
    },
    optimizers.LARS: {
        "learning_rate": 0.03,
        "momentum": 0.7,
        "nesterov": True,
        "trust_coefficient": 0.5,
        "epsilon": 0.1,
        "decoupled_weight_decay": True,
    },
    optimizers.Muon: {
        "learning_rate": 0.03,
        "adam_beta_1": 0.8,
        "adam_beta_2": 0.95,
        "adam_weight_decay": 0.2,
        "epsilon": 0.1,
        "weight_decay": 0.1,
        "exclude_layers": ["p6"],
        "exclude_embeddings": False,
        "muon_a": 3.2,
        "muon_b": -5.0,
        "muon_c": 1.8,
        "adam_lr_ratio": 0.5,
        "momentum": 0.7,
        "ns_steps": 3,
        "nesterov": False,
        "rms_rate": None,
    },
}
COMMON = {"weight_decay": 0.2, "clipnorm": 1.5, "clipvalue": 0.5, "global_clipnorm": 2.0, "skip_nonfinite": True}
NAMES = [f"{'embedding' if i == 9 else 'p'}{i}" for i in range(len(SHAPES))]  # one that Muon leaves to AdamW
NEEDS = {
    "nesterov": {"momentum": 0.9},
    "decoupled_weight_decay": {"weight_decay": 0.2},
}  # what an argument needs beside it
SCHEDULE = schedules.warmup(5) >> schedules.exponential(0.1, 0.9)
ROWS = [
    *[(cls, {**NEEDS.get(name, {}), name: value}) for cls in CHANGES for name, value in CHANGES[cls].items()],
    *[(cls, {name: value}) for cls in CHANGES for name, value in COMMON.items()],
    *[(cls, {**CHANGES[cls], "weight_decay": 0.1, "learning_rate": SCHEDULE}) for cls in CHANGES],
    *[(cls, {}) for cls in CHANGES],
]


@pytest.mark.parametrize("cls, options", ROWS, ids=lambda item: getattr(item, "default_name", ""))
def test_the_classes_are_keras(cls, options):
    optimizer, model = cls(**options), Model(regularizers=REGULARIZERS)
    params = model.train(optimizer)
    expected, slots = keras_run(optimizer, REGULARIZERS)
    assert_close(params, expected, "parameters", "trajectory" if cls is optimizers.Muon else "optimizer")
    state = optimizer.state_arrays()
    assert optimizer.iterations == STEPS
    for name, arrays in slots.items():
        there = [i for i in range(len(SHAPES)) if f"{name}/p{i}" in state]
        assert_close([state[f"{name}/p{i}"] for i in there], [arrays[i] for i in there], name)
    assert sum(name != "iterations" for name in state) == sum(
        optimizer.has_slot(name, parameter) for name in slots for parameter in model.parameters
    )
    between = [model.flat[-3:], *optimizer._slots.values()]
    assert (between[0] == 0).all()  # nothing was written in the gaps


@pytest.mark.parametrize("cls", CHANGES)
def test_every_argument_changes_the_result(cls):
    own = set(inspect.signature(cls.__init__).parameters) - {"self", "common", "adam", "name"}
    common = set(inspect.signature(optimizers.Optimizer.__init__).parameters) - {"self", "name"}
    assert own <= set(CHANGES[cls]) and common == {"learning_rate", *COMMON}
    for name, value in {**CHANGES[cls], **COMMON}.items():
        needed, grads = NEEDS.get(name, {}), GRADS
        if name == "skip_nonfinite":
            grads = [*GRADS[:3], [np.full_like(g, np.inf) for g in GRADS[3]]]
        arguments = ({}, {name: value})
        runs = [Model(names=NAMES).train(cls(**needed, **more), grads) for more in arguments]
        assert not all(np.array_equal(usual, changed, equal_nan=True) for usual, changed in zip(*runs)), name
    assert cls(name="own").name == "own" and cls().name == cls.default_name
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        cls(rate=1)


def test_defaults_are_keras():
    wanted = {
        "sgd": {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": None},
        "adam": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False},
        "adamw": {"learning_rate": 0.001, "weight_decay": 0.004, "epsilon": 1e-7},
        "rmsprop": {"learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False},
        "adagrad": {"learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7},
        "lion": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": None},
        "lamb": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": None},
        "muon": {"learning_rate": 0.001, "momentum": 0.95, "ns_steps": 5, "rms_rate": 0.2, "weight_decay": 0.004},
    }
    for name, values in wanted.items():
        config = optimizers.get(name).get_config()
        assert {key: config[key] for key in values} == values


def test_a_constant_gradient_with_centered_rmsprop():
    """The variance is 0 but for rounding, which must not make the root of a negative number."""
    model = Model(shapes=[(33,)], start=[np.zeros(33, np.float32)])
    (param,) = model.train(optimizers.RMSprop(centered=True, rho=0.5, epsilon=1e-3), [[np.full(33, 0.3)]] * 200)
    assert np.isfinite(param).all() and (param < 0).all()


# ---- learning rate, exclusion from decay, state


def test_the_learning_rate_may_be_set_between_steps():
    optimizer, model = optimizers.SGD(0.5), Model(shapes=[(1,)], start=[np.ones(1)])
    ones = [[np.ones(1, np.float32)]]
    assert model.train(optimizer, ones)[0] == 0.5
    optimizer.learning_rate = 0.25
    assert model.train(optimizer, ones, build=False)[0] == 0.25
    optimizer.learning_rate = lambda step: 0.125 * (step == 2)
    assert optimizer.current_learning_rate() == 0.125
    assert model.train(optimizer, ones * 3, build=False)[0] == 0.125


def test_parameters_excluded_from_decay():
    optimizer, model = optimizers.AdamW(0.1, weight_decay=0.5), Model()
    optimizer.exclude_from_weight_decay(var_list=[model.parameters[2]], var_names=["p[67]$"])
    with_decay, without = (Model().train(optimizers.AdamW(0.1, weight_decay=w)) for w in (0.5, 0.0))
    for i, param in enumerate(model.train(optimizer)):
        assert np.array_equal(param, (without if i in (2, 6, 7) else with_decay)[i]), i
    with pytest.raises(ValueError, match="adamw: exclude_from_weight_decay must be called before build"):
        optimizer.exclude_from_weight_decay(var_names=["p1"])


@pytest.mark.parametrize("cls", CHANGES)
def test_a_run_goes_on_to_the_bit(cls):
    options = {**CHANGES[cls], "learning_rate": SCHEDULE}
    whole = Model().train(cls(**options))
    first, model = cls(**options), Model()
    model.train(first, GRADS[:11])
    state = {name: array.copy() for name, array in first.state_arrays().items()}
    config = json.loads(json.dumps(optimizers.serialize(first)))
    second, again = optimizers.deserialize(config), Model(start=[p.value for p in model.parameters])
    second.build(again.parameters, again.flat, again.grad)
    second.load_state_arrays(state)
    resumed = again.train(second, GRADS[11:], build=False)
    assert all(np.array_equal(a, b) for a, b in zip(whole, resumed))
    assert second.get_config() == first.get_config()


@pytest.mark.parametrize("cls", [optimizers.Lamb, optimizers.LARS])
def test_parameters_excluded_from_layer_adaptation(cls):
    """They take the step that an optimizer takes where all have the ratio 1, as with parameters of norm 0."""
    optimizer, model = cls(0.1), Model()
    optimizer.exclude_from_layer_adaptation(var_list=[model.parameters[8]], var_names=["p[67]$"])
    usual, ones = Model().train(cls(0.1), GRADS[:1]), [np.zeros(shape, np.float32) for shape in SHAPES]
    moves = Model(start=ones).train(cls(0.1), GRADS[:1])
    for i, param in enumerate(model.train(optimizer, GRADS[:1])):
        expected = START[i] + moves[i] if i in (6, 7, 8) else usual[i]
        np.testing.assert_allclose(param, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="exclude_from_layer_adaptation must be called before build"):
        optimizer.exclude_from_layer_adaptation(var_names=["p1"])


@pytest.mark.parametrize("options", [{}, {"clipnorm": 3.0}, {"global_clipnorm": 3.0}, {"clipvalue": 0.5}], ids=str)
@pytest.mark.parametrize("cls", CHANGES)
def test_steps_that_are_skipped_do_not_count(cls, options):
    """Wherever the gradient is that isn't finite."""
    usual = Model().train(cls(0.1, **options), GRADS[:4])
    grads = list(GRADS[:4])
    for at, tensor in ((0, 9), (2, 0), (5, 6)):
        grads.insert(at, [g + np.float32(np.inf if i == tensor else 0) for i, g in enumerate(GRADS[10])])
    optimizer = cls(0.1, skip_nonfinite=True, **options)
    skipping = Model().train(optimizer, grads)
    assert (optimizer.iterations, optimizer.skipped_steps) == (4, 3)
    for own, other in zip(skipping, usual):
        np.testing.assert_array_equal(own, other)


def test_a_state_of_another_optimizer():
    adam, sgd, other = optimizers.Adam(), optimizers.SGD(momentum=0.9), optimizers.Adam()
    for optimizer, shapes in ((adam, [(3,)]), (sgd, [(3,)]), (other, [(4,)])):
        model = Model(shapes, [np.zeros(shape) for shape in shapes])
        optimizer.build(model.parameters, model.flat, model.grad)
    with pytest.raises(
        ValueError, match="adam: state must be the 3 arrays of this optimizer, got 'exp_avg/p0' missing"
    ):
        adam.load_state_arrays(sgd.state_arrays())
    with pytest.raises(
        ValueError, match=r"adam: state\['exp_avg/p0'\] must be of shape \(3,\), got float32 array of shape"
    ):
        adam.load_state_arrays(other.state_arrays())


def test_names():
    for name in ("adam", "Adam", "ADAM", optimizers.Adam):
        assert type(optimizers.get(name)) is optimizers.Adam
    own = optimizers.SGD()
    assert optimizers.get(own) is own


# ---- bad input

BAD = [
    (
        lambda: optimizers.get("adm"),
        "optimizers.get: optimizer must be one of 'sgd', 'adam', .*'lars', 'muon', got 'adm'",
    ),
    (lambda: optimizers.get(3), "optimizers.get: optimizer must be one of 'sgd', .*got 3"),
    (lambda: optimizers.Adam(-0.1), "adam: learning_rate must be a finite number of at least 0, got -0.1"),
    (lambda: optimizers.Adam("fast"), "adam: learning_rate must be a finite number of at least 0, got 'fast'"),
    (lambda: optimizers.Adam(beta_1=1.0), "adam: beta_1 must be a finite number of at least 0, below 1, got 1.0"),
    (lambda: optimizers.Adam(beta_2=-0.1), "adam: beta_2 must be .*got -0.1"),
    (lambda: optimizers.AdamW(epsilon=-1), "adamw: epsilon must be a finite number of at least 0, got -1.0"),
    (lambda: optimizers.Adam(amsgrad=1), "adam: amsgrad must be True or False, got 1"),
    (lambda: optimizers.SGD(momentum=1.5), "sgd: momentum must be .*got 1.5"),
    (
        lambda: optimizers.SGD(nesterov=True),
        "sgd: momentum must be above 0 with nesterov=True, got 0.0. Pass momentum=0.9",
    ),
    (lambda: optimizers.RMSprop(rho=2), "rmsprop: rho must be .*got 2.0"),
    (lambda: optimizers.Adagrad(initial_accumulator_value=-1), "adagrad: initial_accumulator_value must be .*got -1.0"),
    (lambda: optimizers.Lion(beta_2=1), "lion: beta_2 must be .*got 1.0"),
    (lambda: optimizers.Lamb(decoupled_weight_decay=1), "lamb: decoupled_weight_decay must be True or False, got 1"),
    (lambda: optimizers.LARS(trust_coefficient=0), "lars: trust_coefficient must be a finite number above 0, got 0.0"),
    (lambda: optimizers.LARS(momentum=0, nesterov=True), "lars: momentum must be above 0 with nesterov=True, got 0"),
    (lambda: optimizers.Muon(exclude_layers="head"), "muon: exclude_layers must be a list of strings, got 'head'"),
    (lambda: optimizers.Muon(ns_steps=2.5), "muon: ns_steps must be a whole number .*got 2.5"),
    (lambda: optimizers.Muon(ns_steps=100), "muon: ns_steps must be .*got 100"),
    (lambda: optimizers.Adam(skip_nonfinite=1), "adam: skip_nonfinite must be True or False, got 1"),
    (lambda: optimizers.SGD(clipnorm=0), "sgd: clipnorm must be a finite number above 0, got 0.0"),
    (lambda: optimizers.SGD(weight_decay=-1), "sgd: weight_decay must be a finite number of at least 0, got -1.0"),
    (
        lambda: optimizers.SGD(clipnorm=1, clipvalue=1),
        "sgd: clipnorm and clipvalue must be given one at a time, got several. Keep one of them.",
    ),
    (lambda: optimizers.SGD().step(), "sgd: step must be called after build, got a call before"),
]


@pytest.mark.parametrize("make, message", BAD)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
