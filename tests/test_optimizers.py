"""The optimizers' classes: against Keras' formulas over 25 steps; schedules, saving, every argument."""

import inspect
import json

import numpy as np
import pytest
from optimizer_runs import GRADS, SHAPES, START, STEPS, Model, assert_close

from fastnn import optimizers, schedules
from fastnn.regularizers import L1L2

REGULARIZERS = [None, L1L2(l1=0.02), L1L2(l2=0.03), L1L2(l1=0.01, l2=0.02)]


def keras_run(optimizer, regularizers=(None,)):
    """Keras 3's optimizers in float64 NumPy, transcribed: (parameters, {slot: arrays})."""
    o, params = optimizer, [start.astype(np.float64) for start in START]
    slots = {name: [np.zeros_like(p) for p in params] for name in optimizer.slot_names()}
    for t, fresh in enumerate(GRADS, 1):
        grads = []
        for i, (p, g) in enumerate(zip(params, fresh)):
            r = regularizers[i % len(regularizers)]
            grads.append(g + (r.l1 * np.sign(p) + 2 * r.l2 * p if r else 0))
        grads = keras_clip(o, grads)
        lr = o.learning_rate(t - 1) if callable(o.learning_rate) else o.learning_rate
        for i, (p, g) in enumerate(zip(params, grads)):
            p = p - lr * (o.weight_decay or 0) * p
            params[i] = KERAS_RULES[type(o)](o, p, g, {name: slots[name][i] for name in slots}, lr, t)
    return params, slots


def keras_clip(o, grads):
    if o.clipnorm:
        return [g * o.clipnorm / max(np.sqrt((g**2).sum()), o.clipnorm) for g in grads]
    if o.global_clipnorm:
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        return [g * o.global_clipnorm / max(norm, o.global_clipnorm) for g in grads]
    return [np.clip(g, -o.clipvalue, o.clipvalue) for g in grads] if o.clipvalue else grads


def keras_sgd(o, p, g, slots, lr, t):
    if not o.momentum:
        return p - lr * g
    m = slots["momentum_buffer"]
    m[...] = o.momentum * m + lr * g  # Keras' has the other sign
    return p - (o.momentum * m + lr * g if o.nesterov else m)


def keras_adam(o, p, g, slots, lr, t):
    m, v = slots["exp_avg"], slots["exp_avg_sq"]
    m += (g - m) * (1 - o.beta_1)
    v += (g**2 - v) * (1 - o.beta_2)
    if o.amsgrad:
        slots["max_exp_avg_sq"][...] = np.maximum(slots["max_exp_avg_sq"], v)
        v = slots["max_exp_avg_sq"]
    alpha = lr * (np.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t) if o.bias_correction else 1)
    return p - m * alpha / (np.sqrt(v) + o.epsilon)


def keras_rmsprop(o, p, g, slots, lr, t):
    v = slots["square_avg"]
    v[...] = o.rho * v + (1 - o.rho) * g**2
    d = v
    if o.centered:
        a = slots["grad_avg"]
        a[...] = o.rho * a + (1 - o.rho) * g
        d = v - a**2
    u = lr * g / (np.sqrt(d + o.epsilon) if o.eps_inside_sqrt else np.sqrt(d) + o.epsilon)
    if o.momentum:
        slots["momentum_buffer"][...] = u = o.momentum * slots["momentum_buffer"] + u
    return p - u


KERAS_RULES = {
    optimizers.SGD: keras_sgd,
    optimizers.Adam: keras_adam,
    optimizers.AdamW: keras_adam,
    optimizers.RMSprop: keras_rmsprop,
}

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
}
COMMON = {"weight_decay": 0.2, "clipnorm": 1.5, "clipvalue": 0.5, "global_clipnorm": 2.0}
NEEDS = {"nesterov": {"momentum": 0.9}}  # what an argument needs beside it
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
    assert_close(params, expected, "parameters")
    state = optimizer.state_arrays()
    assert optimizer.iterations == STEPS
    for name, arrays in slots.items():
        assert_close([state[f"{name}/p{i}"] for i in range(len(SHAPES))], arrays, name)
    between = [model.flat[-3:], *optimizer._slots.values()]
    assert (between[0] == 0).all()  # nothing was written in the gaps


@pytest.mark.parametrize("cls", CHANGES)
def test_every_argument_changes_the_result(cls):
    own = set(inspect.signature(cls.__init__).parameters) - {"self", "common", "adam", "name"}
    common = set(inspect.signature(optimizers.Optimizer.__init__).parameters) - {"self", "name"}
    assert own <= set(CHANGES[cls]) and common == {"learning_rate", *COMMON}
    for name, value in {**CHANGES[cls], **COMMON}.items():
        needed = NEEDS.get(name, {})
        usual, changed = (Model().train(cls(**needed, **more))[-1] for more in ({}, {name: value}))
        assert not np.array_equal(usual, changed), name
    assert cls(name="own").name == "own" and cls().name == cls.default_name
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        cls(rate=1)


def test_defaults_are_keras():
    wanted = {
        "sgd": {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": None},
        "adam": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False},
        "adamw": {"learning_rate": 0.001, "weight_decay": 0.004, "epsilon": 1e-7},
        "rmsprop": {"learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False},
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
        "optimizers.get: optimizer must be one of 'sgd', 'adam', 'adamw', 'rmsprop', got 'adm'",
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
