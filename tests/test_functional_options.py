"""Every option of the optimizer steps of fastnn.functional changes the result, and what is wrong is named."""

import inspect

import numpy as np
import pytest
from functional_runs import MATRICES, SHAPES, numbers

from fastnn import functional as F  # noqa: N812
from fastnn.functional import stepping

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
    F.muon_: (1, {"lr": 0.1, "weight_decay": 0.1}),
}
OTHER = {
    "lr": 0.2,
    "step": 1,
    "momentum": 0.5,
    "dampening": 0.4,
    "betas": (0.5, 0.6),
    "eps": 3.0,
    "alpha": 0.5,
    "weight_decay": 0.7,
    "bias_correction": False,
    "eps_inside_sqrt": True,
    "lr_decay": 0.5,
    "trust_coefficient": 0.1,
    "lr_in_momentum": False,
    "ns_coefficients": (2.0, -1.5, 0.5),
    "ns_steps": 3,
    "adjust_lr_fn": "match_rms_adamw",
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
    shapes = SHAPES if function is not F.muon_ else MATRICES
    params, states = numbers(0, shapes), [[np.abs(array) for array in numbers(7 + k, shapes)] for k in range(slots)]
    grads = numbers(1, shapes)
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
    value = OTHER[name] if name != "decoupled" else function not in (F.adamw_, F.lion_, F.muon_)
    with np.errstate(all="ignore"):
        bad, clipped = name == "skip_nonfinite", {"clip_norm": 0.1} if name == "clip_norm_per_tensor" else {}
        other = result(function, slots, {**base, **clipped, name: value}, bad)
        before = result(function, slots, {**base, **clipped}, bad)
    assert (other != before).any()


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
        (lambda: F.muon_([A], [A], [A], ns_steps=100), ValueError, "muon_: ns_steps must be a whole"),
        (lambda: F.muon_([A], [A], [A], ns_coefficients=(1, 2)), ValueError, "muon_: ns_coefficients must be three"),
        (lambda: F.muon_([A], [A], [A], adjust_lr_fn="x"), ValueError, "muon_: adjust_lr_fn must be one of None, 'ori"),
        (lambda: F.muon_([A[0]], [A[1]], [A[2]]), ValueError, r"muon_: params\[0\] must be a matrix, got .* Use"),
        (lambda: F.lars_([A], [A], lr=0.1), ValueError, "lars_: momentum_buffer must be a list of arrays"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()
