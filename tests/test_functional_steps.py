"""The optimizer steps of fastnn.functional: values, every option, what is skipped, messages."""

import inspect

import numpy as np
import pytest
from references import optimizers
from tolerances import difference

from fastnn import functional as F  # noqa: N812
from fastnn.functional import stepping

SHAPES = [(3, 5), (17,), (1,), (0, 2)]
STEPS = 50
# Function, states, options of ours, the rule's reference and its options.
ADAM = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4}
RMSPROP = {"lr": 0.02, "momentum": 0.5, "centered": True, "alpha": 0.9, "eps": 1e-3}
PAIR = {"beta1": 0.8, "beta2": 0.95}
RUNS = [
    (F.sgd_, 0, {"lr": 0.1, "weight_decay": 0.1}, "sgd_rule", {}),
    (F.sgd_, 1, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "l1": 0.01}, "sgd_rule", {}),
    (F.sgd_, 1, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "maximize": True}, "sgd_rule", {}),
    (F.adam_, 2, {"lr": 1e-3}, "adam_rule", {}),
    (F.adam_, 2, {**ADAM, "weight_decay": 0.1, "clip_norm": 1.0}, "adam_rule", {**PAIR, "eps": 1e-4}),
    (F.adam_, 2, {**ADAM, "bias_correction": False}, "adam_rule", {**PAIR, "eps": 1e-4}),
    (F.adam_, 3, {**ADAM, "amsgrad": True}, "adam_rule", {**PAIR, "eps": 1e-4}),
    (F.adamw_, 2, {"lr": 1e-3}, "adam_rule", {"weight_decay": 1e-2, "decoupled": True}),
    (F.adamw_, 2, {"lr": 0.01, "weight_decay": 0.3, "clip_value": 0.5}, "adam_rule", {"decoupled": True}),
    (F.rmsprop_, 1, {"lr": 0.01}, "rmsprop_rule", {}),
    (F.rmsprop_, 3, RMSPROP, "rmsprop_rule", {}),
    (F.rmsprop_, 1, {"lr": 0.01, "eps_inside_sqrt": True, "grad_scale": 0.25}, "rmsprop_rule", {}),
    (F.adagrad_, 1, {"lr": 0.1}, "adagrad_rule", {}),
    (F.adagrad_, 1, {"lr": 0.1, "lr_decay": 0.1, "eps": 1e-3, "eps_inside_sqrt": True}, "adagrad_rule", {}),
    (F.lion_, 1, {"lr": 0.01}, "lion_rule", {"decoupled": True}),
    (F.lion_, 1, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.3}, "lion_rule", {**PAIR, "decoupled": True}),
    (F.lamb_, 2, {"lr": 0.01}, "lamb_rule", {}),
    (F.lamb_, 2, {**ADAM, "weight_decay": 0.1, "adapts": [True, False, True, True]}, "lamb_rule",
        {**PAIR, "eps": 1e-4}),
    (F.lars_, 1, {"lr": 1.0, "weight_decay": 0.1}, "lars_rule", {"lr_in_momentum": True}),
    (F.lars_, 1, {"lr": 1.0, "nesterov": True, "momentum": 0.5, "trust_coefficient": 0.1, "eps": 0.1}, "lars_rule",
        {"lr_in_momentum": True}),
    (F.lars_, 0, {"lr": 1.0, "momentum": 0.0}, "lars_rule", {}),
]  # fmt: skip


def numbers(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def zeros(slots, shapes=SHAPES):
    return [[np.zeros(shape, np.float32) for shape in shapes] for _ in range(slots)]


def takes_step(function):
    return "step" in inspect.signature(function).parameters


def advance(function, params, grads, states, options, first=1):
    for t, current in enumerate(grads, first):
        function(params, current, *states, **({"step": t} if takes_step(function) else {}), **options)


@pytest.mark.parametrize("function, slots, options, rule, own", RUNS)
def test_values_are_those_of_the_formula(function, slots, options, rule, own):
    params, states = numbers(0), zeros(slots)
    grads = [numbers(seed) for seed in range(1, STEPS + 1)]
    wide = lambda arrays: [np.asarray(array, np.float64) for array in arrays]  # noqa: E731
    given = {name: value for name, value in options.items() if name not in ("lr", "betas", "l1")}
    if "l1" in options:
        given["l1"] = np.full(len(SHAPES), options["l1"])
    expected = getattr(optimizers, rule)(
        wide(params), [wide(current) for current in grads], [wide(slot) for slot in states], np.array([options["lr"]]),
        np.array([1]), **{**own, **given},
    )  # fmt: skip
    advance(function, params, grads, states, options)
    for found, wanted in zip([params, *states], [expected["params"], *expected["states"]]):
        for array, value in zip(found, wanted):
            assert not difference(array, value, "trajectory")


def torch_run(make, params, grads):
    import torch

    tensors = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params]
    optimizer = make(torch.optim, tensors)
    for current in grads:
        for tensor, gradient in zip(tensors, current):
            tensor.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    return [t.detach().numpy() for t in tensors]


TORCH = [
    (F.sgd_, 0, {"lr": 1e-3}, lambda o, p: o.SGD(p)),
    (F.adam_, 2, {}, lambda o, p: o.Adam(p)),
    (F.adamw_, 2, {}, lambda o, p: o.AdamW(p)),
    (F.adam_, 3, {"amsgrad": True}, lambda o, p: o.Adam(p, amsgrad=True)),
    (F.rmsprop_, 1, {}, lambda o, p: o.RMSprop(p)),
    (F.adagrad_, 1, {}, lambda o, p: o.Adagrad(p)),
]


@pytest.mark.parametrize("function, slots, options, make", TORCH, ids=lambda value: getattr(value, "__name__", ""))
def test_defaults_are_torchs(function, slots, options, make):
    shapes = SHAPES[:3]
    params, states, grads = numbers(0, shapes), zeros(slots, shapes), [numbers(seed, shapes) for seed in range(1, 51)]
    expected = torch_run(make, params, grads)
    advance(function, params, grads, states, options)
    for found, wanted in zip(params, expected):
        assert not difference(found, wanted, "trajectory")


# For every function: a call in which every option counts, and for every option another value.
BASES = {
    F.sgd_: (1, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1, "step": 2}),
    F.adam_: (2, {"lr": 0.1, "weight_decay": 0.1, "step": 2}),
    F.adamw_: (2, {"lr": 0.1, "weight_decay": 0.1, "step": 2}),
    F.rmsprop_: (3, {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9, "centered": True}),
    F.adagrad_: (1, {"lr": 0.1, "weight_decay": 0.1, "step": 2, "lr_decay": 0.1, "eps": 0.1}),
    F.lion_: (1, {"lr": 0.1, "weight_decay": 0.1}),
    F.lamb_: (2, {"lr": 0.1, "weight_decay": 0.1, "step": 2}),
    F.lars_: (1, {"lr": 0.1, "weight_decay": 0.1}),
}
OTHER = {
    "lr": 0.2,
    "step": 1,
    "momentum": 0.5,
    "dampening": 0.4,
    "betas": (0.5, 0.6),
    "eps": 0.3,
    "alpha": 0.5,
    "weight_decay": 0.7,
    "bias_correction": False,
    "eps_inside_sqrt": True,
    "lr_decay": 0.5,
    "trust_coefficient": 0.1,
    "lr_in_momentum": False,
    "adapts": [False, True, True, True],
    "decoupled": None,  # the other one
    "maximize": True,
    "clip_norm": 0.1,
    "clip_value": 0.1,
    "clip_norm_per_tensor": True,
    "skip_nonfinite": True,
    "grad_scale": 0.5,
    "found_inf": np.ones(1, np.float32),
    "l1": 0.2,
    "lr_scale": [2.0, 1.0, 3.0, 1.0],
}
# Options that ask for other lists of states, which a call without them refuses; tested where those are.
ELSEWHERE = {"amsgrad", "centered", "nesterov", "master", "scales", "seed"}


def result(function, slots, options, bad=False):
    params, states = numbers(0), [[np.abs(array) for array in numbers(7 + k)] for k in range(slots)]
    grads = numbers(1)
    if bad:
        grads[1][0] = np.inf
    function(params, grads, *states, **options)
    return np.concatenate([array.ravel() for array in (*params, *sum(states, []))])


def every_option():
    for function, (slots, base) in BASES.items():
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY]
        for name in [*names, *stepping.Shared.__annotations__]:
            if name not in ELSEWHERE:
                yield pytest.param(function, slots, base, name, id=f"{function.__name__}-{name}")


@pytest.mark.parametrize("function, slots, base, name", list(every_option()))
def test_every_option_counts(function, slots, base, name):
    value = OTHER[name] if name != "decoupled" else function not in (F.adamw_, F.lion_)
    with np.errstate(all="ignore"):
        bad, clipped = name == "skip_nonfinite", {"clip_norm": 0.1} if name == "clip_norm_per_tensor" else {}
        other = result(function, slots, {**base, **clipped, name: value}, bad)
        before = result(function, slots, {**base, **clipped}, bad)
    assert (other != before).any()


def test_clipping_and_scaling():
    p, g = [np.zeros(2, np.float32)], [np.array([30.0, -40.0], np.float32)]
    F.sgd_(p, g, lr=1.0, grad_scale=0.1, clip_norm=1.0)
    np.testing.assert_allclose(p[0], [-0.6, 0.8], rtol=1e-6)
    F.sgd_(p, g, lr=1.0, clip_value=2.0)
    np.testing.assert_allclose(p[0], [-2.6, 2.8], rtol=1e-6)


def test_each_tensor_by_itself():
    params, grads = [np.ones(2, np.float32) for _ in range(2)], [np.zeros(2, np.float32) for _ in range(2)]
    F.sgd_(params, grads, lr=0.1, weight_decay=[0.5, 0.0], lr_scale=[1.0, 2.0], l1=[0.0, 0.25])
    np.testing.assert_allclose(params, [[0.95, 0.95], [0.95, 0.95]], rtol=1e-6)
    F.sgd_(params, grads, lr=0.1, weight_decay=[0.5, 0.0])
    np.testing.assert_allclose(params, [[0.9025, 0.9025], [0.95, 0.95]], rtol=1e-6)
    F.adamw_(params, grads, *zeros(2, [(2,), (2,)]), step=1, lr=0.1, weight_decay=[0.0, 1.0])
    np.testing.assert_allclose(params, [[0.9025, 0.9025], [0.855, 0.855]], rtol=1e-6)


def test_steps_are_skipped():
    params, states = numbers(0), zeros(1)
    before = [p.copy() for p in params]
    bad = numbers(1)
    bad[1][3] = np.nan
    found = np.zeros(1, np.float32)
    options = {"lr": 0.1, "momentum": 0.9, "skip_nonfinite": True}
    assert F.sgd_(params, bad, *states, **options) is False
    assert F.sgd_(params, bad, *states, found_inf=found, **options) is False and found[0] != 0
    assert F.sgd_(params, numbers(1), *states, lr=0.1, momentum=0.9, found_inf=found) is False
    for array, old in zip(params, before):
        np.testing.assert_array_equal(array, old)
    assert not any(array.any() for array in states[0])
    assert F.sgd_(params, numbers(1), *states, **options) is True and (params[0] != before[0]).all()
    found[0] = 0
    assert F.sgd_(params, numbers(1), *states, lr=0.1, momentum=0.9, found_inf=found) is True


def test_found_inf_of_torch():
    torch = pytest.importorskip("torch")
    found = torch.zeros(())
    bad = [np.full(3, np.inf, np.float32)]
    assert F.sgd_(numbers(0, [(3,)]), bad, lr=0.1, skip_nonfinite=True, found_inf=found) is False
    assert found.item() != 0


A = np.ones((4, 3), np.float32)


def sgd(**options):
    return lambda: F.sgd_([A.copy()], [A.copy()], **{"lr": 0.1, **options})


def adam(**options):
    return lambda: F.adamw_(*([A.copy()] for _ in range(4)), **{"step": 1, **options})


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: F.sgd_(A, A, lr=0.1), TypeError, "sgd_: params must be a list of arrays, got float32 array"),
        (lambda: F.sgd_([A], [], lr=0.1), ValueError, "sgd_: grads must be a list as long as params, 1, got 0 entries"),
        (sgd(momentum=0.9), ValueError, "sgd_: momentum_buffer must be a list of arrays where momentum isn't 0"),
        (lambda: F.sgd_([A], [A], [A], lr=0.1), ValueError, "sgd_: momentum_buffer must be None unless momentum"),
        (sgd(nesterov=True), ValueError, "sgd_: momentum must be above 0, and dampening 0, with nesterov=True, got"),
        (sgd(dampening=0.5), ValueError, "sgd_: dampening must be 0 without momentum, got 0.5"),
        (sgd(lr=-0.1), ValueError, "sgd_: lr must be a finite number of at least 0"),
        (sgd(lr=np.nan), ValueError, "sgd_: lr must be a finite number of at least 0"),
        (sgd(lr="a"), TypeError, "sgd_: lr must be a finite number of at least 0.*, got 'a'"),
        (sgd(step=0), ValueError, "sgd_: step must be a whole number of at least 1, got 0"),
        (sgd(weight_decay=-1.0), ValueError, "sgd_: weight_decay must be a finite number of at least 0"),
        (sgd(weight_decay=[1.0, 2.0]), ValueError, "sgd_: weight_decay must be a list with a number for each tensor"),
        (sgd(weight_decay=[-1.0]), ValueError, r"sgd_: weight_decay\[0\] must be a finite number of at least 0"),
        (sgd(l1=-1.0), ValueError, "sgd_: l1 must be a finite number of at least 0"),
        (sgd(l1=[1.0] * 3), ValueError, "sgd_: l1 must be a list with a number for each tensor, 1, got 3 entries"),
        (sgd(lr_scale=2.0), TypeError, "sgd_: lr_scale must be a list with a number for each tensor, got 2.0"),
        (sgd(clip_norm=-1.0), ValueError, "sgd_: clip_norm must be a finite number of at least 0"),
        (sgd(clip_value="x"), TypeError, "sgd_: clip_value must be a number, got 'x'"),
        (sgd(maximize=2), TypeError, "sgd_: maximize must be True or False, got 2"),
        (sgd(grad_scale=None), TypeError, "sgd_: grad_scale must be a finite number, got None"),
        (sgd(found_inf=1.0), ValueError, "sgd_: found_inf must be a writable float32 array of one element"),
        (sgd(rate=1.0), TypeError, r"sgd_\(\) got an unexpected keyword argument 'rate'"),
        (sgd(scales={"exp_avg": [A]}), ValueError, "sgd_: scales must be of no state, got 'exp_avg'"),
        (sgd(seed=-1), ValueError, "sgd_: seed must be a whole number from 0"),
        (sgd(seed=1), ValueError, "sgd_: seed must be None where params are float32"),
        (sgd(master=[A]), ValueError, "sgd_: master must be None where params are float32"),
        (adam(step=0), ValueError, "adamw_: step must be a whole number of at least 1, got 0"),
        (adam(step=1.5), TypeError, "adamw_: step must be a whole number of at least 1, got 1.5"),
        (adam(betas=(1.0, 0.9)), ValueError, r"adamw_: betas\[0\] must be a finite number of at least 0.*below 1"),
        (adam(betas=(0.9, 1.0)), ValueError, r"adamw_: betas\[1\] must be a finite number of at least 0.*below 1"),
        (adam(betas=0.9), ValueError, "adamw_: betas must be two numbers, got 0.9"),
        (adam(betas=(np.zeros(2), 0.9)), TypeError, r"adamw_: betas\[0\] must be a number, got float64 array"),
        (adam(eps=-1e-8), ValueError, "adamw_: eps must be a finite number of at least 0"),
        (adam(amsgrad=True), ValueError, "adamw_: max_exp_avg_sq must be a list of arrays where amsgrad=True"),
        (adam(decoupled="no"), TypeError, "adamw_: decoupled must be True or False"),
        (adam(scales={"exp": [A]}), ValueError, "adamw_: scales must be of exp_avg, exp_avg_sq, got 'exp'"),
        (lambda: F.rmsprop_([A], [A], [A], alpha=1.0), ValueError, "rmsprop_: alpha must be a finite number"),
        (lambda: F.rmsprop_([A], [A], [A], centered=True), ValueError, "rmsprop_: grad_avg must be a list of arrays"),
        (lambda: F.adagrad_([A], [A], [A], step=1, lr_decay=-1.0), ValueError, "adagrad_: lr_decay must be a finite"),
        (lambda: F.lion_([A], [A], [A], betas=(0.9, 2.0)), ValueError, r"lion_: betas\[1\] must be a finite number"),
        (lambda: F.lamb_(*([A.copy()] for _ in range(4)), step=1, adapts=[True] * 2), ValueError, "lamb_: adapts"),
        (lambda: F.lars_([A], [A], lr=0.1, momentum=0.0, nesterov=True), ValueError, "lars_: momentum must be above 0"),
        (lambda: F.lars_([A], [A], lr=0.1), ValueError, "lars_: momentum_buffer must be a list of arrays"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_rules_are_bound_once_and_never_of_what_may_change():
    torch = pytest.importorskip("torch")
    eps = torch.tensor(0.5)
    params, grads = numbers(0), numbers(1)
    with pytest.raises(TypeError, match="adamw_: eps must be a number, got"):
        F.adamw_(params, grads, *zeros(2), step=1, eps=eps)
    from fastnn.functional import updates

    updates._adam.cache_clear()
    for step in range(1, 4):
        F.adamw_(params, grads, *zeros(2), step=step, lr=step / 10)
    assert updates._adam.cache_info().misses == 1
