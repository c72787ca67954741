"""The optimizer steps of fastnn.functional: values, what is skipped, rules that are bound once."""

import numpy as np
import pytest
from functional_runs import MATRICES, SHAPES, numbers, takes_step, zeros
from references import optimizers
from tolerances import difference

from fastnn import functional as F  # noqa: N812

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


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nesterov": False, "momentum": 0.8, "weight_decay": 0.3, "lr_scale": [1.0, 2.0, 3.0, 0.5]},
        {"ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 7, "eps": 1e-3, "adjust_lr_fn": "match_rms_adamw"},
    ],
)
def test_muon(options, transposed):
    lay = (lambda a: np.asfortranarray(a)) if transposed else (lambda a: a)
    params, states = [lay(p) for p in numbers(0, MATRICES)], [[lay(s) for s in zeros(1, MATRICES)[0]]]
    grads = [numbers(seed, MATRICES) for seed in range(1, 11)]
    wide = lambda arrays: [np.asarray(array, np.float64) for array in arrays]  # noqa: E731
    original = "adjust_lr_fn" not in options
    scale = np.array([max(1, m / n) ** 0.5 if original else 0.2 * max(m, n) ** 0.5 for m, n in MATRICES])
    own = {name: options[name] for name in ("nesterov", "momentum", "ns_steps", "eps") if name in options}
    own |= dict(zip("abc", options.get("ns_coefficients", (3.4445, -4.775, 2.0315))))
    expected = optimizers.muon_rule(
        wide(params), [wide(current) for current in grads], [wide(states[0])], np.array([0.01]), np.array([1]),
        np.array([m for m, _ in MATRICES]), decoupled=True, weight_decay=options.get("weight_decay", 0.1),
        lr_scale=scale * np.array(options.get("lr_scale", [1.0] * 4)), decay=1 / scale, **own,
    )  # fmt: skip
    for current in grads:
        F.muon_(params, [lay(g) for g in current], *states, lr=0.01, **options)
    for found, wanted in zip([*params, *states[0]], [*expected["params"], *expected["states"][0]]):
        assert not difference(found, wanted, "training")


def test_muon_is_torchs():
    torch = pytest.importorskip("torch")
    params, states, grads = numbers(0, MATRICES), zeros(1, MATRICES), numbers(1, MATRICES)
    tensors = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params]
    optimizer = torch.optim.Muon(tensors)
    for tensor, g in zip(tensors, grads):
        tensor.grad = torch.from_numpy(g)
    for _ in range(5):
        optimizer.step()
        F.muon_(params, grads, *states)
    for found, tensor in zip(params, tensors):  # whose iteration is in bfloat16
        np.testing.assert_allclose(found, tensor.detach(), atol=2e-4)


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
