"""fastnn.torch's classes: torch's own trajectories over 60 steps, torch's arguments, what each argument does."""

import inspect

import pytest
import torch
from torch_runs import (
    FULL,
    GRADS,
    ROWS,
    START,
    advance,
    assert_close,
    assert_equal,
    assert_same_run,
    is_torchs,
    named,
    ours,
    parameters,
    theirs,
)

import fastnn.torch as ft
from fastnn.torch import base

CLASSES = [name for name in ft.__all__ if name not in ("Optimizer", "DataParallel")]


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_trajectories_are_torchs(row):
    """Torch in float64 says what's right; our states are float32 with torch's names."""
    name, options = row
    params, wanted = parameters(), parameters(torch.float64)
    optimizer, reference = ours(name)(params, **options), theirs(name)(wanted, **options)
    advance(optimizer, params)
    advance(reference, wanted)
    assert_same_run(optimizer, params, reference, wanted, "trajectory")


def test_every_class_has_rows():
    assert {name for name, _ in ROWS} == {name for name, _ in FULL} == set(CLASSES) - {"AdamW8bit"}


@pytest.mark.parametrize("name", [name for name in CLASSES if is_torchs(name)])
def test_arguments_are_torchs(name):
    """Names, order, kinds and defaults; ours come after."""
    own = [p.replace(annotation=p.empty) for p in inspect.signature(ours(name)).parameters.values()]
    wanted = [p.replace(annotation=p.empty) for p in inspect.signature(theirs(name)).parameters.values()]
    assert own[: len(wanted)] == wanted
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in own[len(wanted) :])
    param = torch.nn.Parameter(torch.zeros(1))
    group, other = ours(name)([param]).param_groups[0], theirs(name)([param]).param_groups[0]
    assert {key: group[key] for key in other} == other


# ---- every argument changes the result or raises

# An argument's value that isn't its default, what it needs beside it; or what it raises.
CHANGES = {
    "lr": 0.02,
    "betas": (0.7, 0.95),
    "eps": 50.0,
    "weight_decay": 0.3,
    "amsgrad": True,
    "maximize": True,
    "momentum": 0.7,
    "dampening": 0.4,
    "nesterov": True,
    "alpha": 0.8,
    "lr_decay": 0.1,
    "ns_coefficients": (3.0, -3.0, 1.0),
    "ns_steps": 3,
    "adjust_lr_fn": "match_rms_adamw",
    "use_muon": False,
    "adamw_betas": (0.7, 0.95),
    "adamw_eps": 0.1,
    "adamw_lr_ratio": 0.3,
    "trust_coefficient": 0.01,
    "exclude_vectors": True,
    "initial_accumulator_value": 0.4,
    "centered": True,
    "bias_correction": False,
    "eps_inside_sqrt": True,
    "decoupled_weight_decay": True,  # False with Lion
    "l1": 0.1,
    "clip_norm": 5.0,
    "clip_value": 0.5,
    "state_dtype": torch.bfloat16,
    "min_8bit_size": 12,
    "master": "float32",
    "stochastic_rounding": True,
    "seed": 7,
}
NEEDS = {
    "dampening": {"momentum": 0.7},
    "nesterov": {"momentum": 0.7},
    "decoupled_weight_decay": {"weight_decay": 0.3, "momentum": 0.7},  # without momentum SGD's is the same
    "eps_inside_sqrt": {"eps": 0.1},
    "state_dtype": {"momentum": 0.7},  # without SGD has no state
    "min_8bit_size": {"momentum": 0.7, "state_dtype": torch.uint8},
    "master": {"dtype": torch.bfloat16, "trust_coefficient": 0.1},
    "stochastic_rounding": {"dtype": torch.bfloat16},
    "seed": {"dtype": torch.bfloat16, "stochastic_rounding": True},
}
RAISES = [
    ("differentiable", True, "differentiable must be False, got True"),
    ("capturable", True, "capturable must be False, got True"),
    ("fused", False, "fused must be None or True, got False"),
    ("foreach", False, "foreach must be None or True, got False"),
]
COMMON = sorted(base.COMMON.keys() - {"skip_nonfinite"})  # that one needs a gradient of infinity


def changed(name, dtype=torch.float32, **options):
    params = parameters(dtype, START[1:])
    optimizer = ours(name)(params, **{"lr": 0.01, **options})
    advance(optimizer, params, [grads[1:] for grads in GRADS[:6]])
    return [[param, *optimizer.state[param].values()] for param in params]


MATRICES = ("momentum", "nesterov", "eps", "ns_coefficients", "ns_steps", "adjust_lr_fn", "use_muon")  # Muon's own


def affected(name, argument):
    """The parameters that must differ, of those after the first: small ones have few bits to do it with."""
    if argument == "exclude_vectors" or argument.startswith("adamw_"):
        return [i for i, value in enumerate(START[1:]) if value.ndim == 1 and value.numel() > 1]
    if name == "Muon" and argument in (
        "momentum",
        "nesterov",
        "eps",
        "ns_coefficients",
        "ns_steps",
        "adjust_lr_fn",
        "use_muon",
    ):
        return [i for i, value in enumerate(START[1:]) if value.ndim == 2]
    return range(3, len(START) - 1)


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_does_something(name):
    arguments = [p for p in inspect.signature(ours(name)).parameters if p not in ("params", "common")] + COMMON
    refused = {argument for argument, *_ in RAISES}
    assert set(arguments) <= set(CHANGES) | refused
    for argument in set(arguments) - refused:
        needed = {"weight_decay": 0.0, **NEEDS.get(argument, {})}
        needed = {key: value for key, value in needed.items() if key in [*arguments, "dtype"]}
        default = ours(name)(parameters()).defaults[argument]
        value = not default if isinstance(default, bool) else CHANGES[argument]
        usual, other = changed(name, **needed), changed(name, **{**needed, argument: value})
        for i in affected(name, argument):
            one, two = usual[i], other[i]
            assert any(a.dtype != b.dtype or not torch.equal(a, b) for a, b in zip(one, two)), argument


@pytest.mark.parametrize(
    "name, argument, value, message",
    [(name, *row) for name in CLASSES for row in RAISES if row[0] in inspect.signature(ours(name)).parameters],
)
def test_arguments_that_raise(name, argument, value, message):
    with pytest.raises(ValueError, match=f"^{name}: {message}"):
        ours(name)(parameters(), **{argument: value})


def test_requests_that_are_met():
    """Here all tensors are updated in one fused pass: who asks for either gets it."""
    for options in ({"fused": True}, {"foreach": True}, {"fused": True, "foreach": False}):
        for usual, other in zip(changed("AdamW"), changed("AdamW", **options)):
            assert_equal(usual, other)
    with pytest.raises(ValueError, match="^AdamW: fused must be None or False with foreach=True, got True"):
        ft.AdamW(parameters(), fused=True, foreach=True)


BAD = [
    ("SGD", {"lr": -0.1}, "SGD: lr must be a finite number of at least 0, got -0.1"),
    ("SGD", {"lr": torch.ones(2)}, r"SGD: lr must be a number or a tensor of one element, got one of shape \(2,\)"),
    ("SGD", {"momentum": -1}, "SGD: momentum must be a finite number of at least 0, got -1.0"),
    ("SGD", {"nesterov": True}, "SGD: momentum must be above 0, and dampening 0, with nesterov=True, got momentum=0"),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "SGD: momentum must be above 0, and dampening 0"),
    ("SGD", {"weight_decay": -1}, "SGD: weight_decay must be .*got -1.0"),
    ("SGD", {"l1": -1}, "SGD: l1 must be .*got -1.0"),
    ("Adam", {"betas": (0.9, 1.0)}, r"Adam: betas\[1\] must be a finite number of at least 0, below 1, got 1.0"),
    ("Adam", {"betas": (-0.1, 0.9)}, r"Adam: betas\[0\] must be .*got -0.1"),
    ("Adam", {"betas": 0.9}, "Adam: betas must be 2 numbers, got 0.9"),
    ("Adam", {"eps": -1e-8}, "Adam: eps must be .*got -1e-08"),
    ("Adam", {"amsgrad": 1}, "Adam: amsgrad must be True or False, got 1"),
    ("AdamW", {"clip_norm": -1}, "AdamW: clip_norm must be .*got -1.0"),
    ("AdamW", {"clip_value": float("nan")}, "AdamW: clip_value must be .*got nan"),
    ("RMSprop", {"alpha": 1.0}, "RMSprop: alpha must be .*got 1.0"),
    (
        "AdamW",
        {"state_dtype": torch.float64},
        "AdamW: state_dtype must be one of None, torch.float32, .*got torch.float64",
    ),
    ("Adagrad", {"lr_decay": -1}, "Adagrad: lr_decay must be .*got -1.0"),
    ("Adagrad", {"initial_accumulator_value": -1}, "Adagrad: initial_accumulator_value must be .*got -1.0"),
    ("LARS", {"nesterov": True, "momentum": 0}, "LARS: momentum must be above 0 with nesterov=True, got momentum=0"),
    ("Lion", {"betas": (0.9, 2)}, r"Lion: betas\[1\] must be .*got 2.0"),
    ("RMSprop", {"centered": None}, "RMSprop: centered must be True or False, got None"),
]


@pytest.mark.parametrize("name, options, message", BAD)
def test_bad_arguments(name, options, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        ours(name)(parameters(), **options)
    optimizer = ours(name)(parameters())
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        optimizer.add_param_group({"params": parameters(), **options})
    assert len(optimizer.param_groups) == 1


def test_unknown_arguments():
    for name, extra in (("SGD", "betas"), ("AdamW", "decoupled_weight_decay"), ("Adam", "rate")):
        with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument '{extra}'"):
            ours(name)(parameters(), **{extra: True})


# ---- what torch doesn't have


def reference_run(name, options, prepare, extra):
    """Torch's class with gradients that `prepare` makes of (params, grads), and ours with an argument instead."""
    params, wanted = parameters(), parameters(torch.float64)
    optimizer, reference = ours(name)(params, **options, **extra), theirs(name)(wanted, **options)
    advance(optimizer, params)
    advance(reference, wanted, before=lambda t: prepare(wanted))
    return params, wanted


@pytest.mark.parametrize("row", FULL, ids=named)
def test_clipping_and_l1(row):
    name, options = row
    clip = {
        "clip_norm": lambda params: torch.nn.utils.clip_grad_norm_(params, 40.0),
        "clip_value": lambda params: torch.nn.utils.clip_grad_value_(params, 0.5),
        "l1": lambda params: [param.grad.add_(0.1 * param.detach().sign()) for param in params],
    }
    for argument, prepare in clip.items():
        extra = {argument: {"clip_norm": 40.0, "clip_value": 0.5, "l1": 0.1}[argument]}
        assert_close(*reference_run(name, options, prepare, extra), argument, "clipped")


def test_clipping_by_norm_is_over_all_groups():
    params, wanted = parameters(), parameters(torch.float64)
    half = len(params) // 2
    groups = [[{"params": p[:half], "lr": 0.1}, {"params": p[half:]}] for p in (params, wanted)]
    optimizer, reference = ft.SGD(groups[0], lr=0.02, clip_norm=40.0), torch.optim.SGD(groups[1], lr=0.02)
    advance(optimizer, params)
    advance(reference, wanted, before=lambda t: torch.nn.utils.clip_grad_norm_(wanted, 40.0))
    assert_close(params, wanted, "parameters", "clipped")


def test_the_textbook_form_of_adam():
    params, (m, v), wanted = parameters(), (0.0, 0.0), START[9].double()
    advance(ft.Adam(params, lr=0.03, bias_correction=False), params)
    for grads in GRADS:
        m, v = 0.9 * m + 0.1 * grads[9].double(), 0.999 * v + 0.001 * grads[9].double() ** 2
        wanted = wanted - 0.03 * m / (v.sqrt() + 1e-8)
    assert_close([params[9]], [wanted], "parameters")


def test_rmsprop_with_epsilon_inside_the_root():
    params, v, wanted = parameters(), 0.0, START[9].double()
    advance(ft.RMSprop(params, lr=0.03, eps=0.1, eps_inside_sqrt=True), params)
    for grads in GRADS:
        v = 0.99 * v + 0.01 * grads[9].double() ** 2
        wanted = wanted - 0.03 * grads[9].double() / (v + 0.1).sqrt()
    assert_close([params[9]], [wanted], "parameters")


@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
def test_decoupled_weight_decay(name):
    params, wanted = parameters(), parameters(torch.float64)
    advance(ours(name)(params, lr=0.02, momentum=0.7, weight_decay=0.1, decoupled_weight_decay=True), params)
    reference = theirs(name)(wanted, lr=0.02, momentum=0.7)

    def decay(t):
        with torch.no_grad():
            torch._foreach_mul_(wanted, 1 - 0.02 * 0.1)

    advance(reference, wanted, before=decay)
    assert_close(params, wanted, "parameters", "trajectory")
