"""The optimizers' kernels: against torch's own over 25 steps with their state; tables of awkward tensors."""

import numpy as np
import pytest
import torch
from optimizer_runs import GRADS, START, assert_close

from fastnn import _backend

# ---- against torch

# (torch's class, its arguments, kernel, its arguments, torch's state names in the kernel's order)
TORCH = [
    (torch.optim.SGD, {"lr": 0.05}, "sgd_rule", {}),
    (torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.1, "maximize": True}, "sgd_rule", {}),
    (torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}, "sgd_rule", {}),
    (torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "nesterov": True}, "sgd_rule", {}),
    (torch.optim.Adam, {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}, "adam_rule", {}),
    (torch.optim.Adam, {"lr": 0.03, "betas": (0.8, 0.95), "amsgrad": True, "maximize": True}, "adam_rule", {}),
    (torch.optim.AdamW, {"lr": 0.03, "eps": 1e-4, "weight_decay": 0.2}, "adam_rule", {"decoupled": True}),
    (
        torch.optim.AdamW,
        {"lr": 0.03, "betas": (0.7, 0.9), "weight_decay": 0.2, "amsgrad": True},
        "adam_rule",
        {"decoupled": True},
    ),
    (torch.optim.RMSprop, {"lr": 0.02, "alpha": 0.9, "eps": 1e-3}, "rmsprop_rule", {}),
    (torch.optim.RMSprop, {"lr": 0.02, "momentum": 0.7, "weight_decay": 0.1, "maximize": True}, "rmsprop_rule", {}),
    (torch.optim.RMSprop, {"lr": 0.02, "alpha": 0.8, "centered": True}, "rmsprop_rule", {}),
    (torch.optim.RMSprop, {"lr": 0.02, "alpha": 0.8, "centered": True, "momentum": 0.7}, "rmsprop_rule", {}),
    (torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.05, "eps": 1e-3, "weight_decay": 0.1}, "adagrad_rule", {}),
    (torch.optim.Adagrad, {"lr": 0.1, "maximize": True}, "adagrad_rule", {}),
]
SLOTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "grad_avg", "momentum_buffer")


def torch_run(make, options, clip=None):
    """The parameters and the state that torch ends with, in float64."""
    params = [torch.tensor(start, dtype=torch.float64, requires_grad=True) for start in START]
    optimizer = make(params, **options)
    for grads in GRADS:
        for param, grad in zip(params, grads):
            param.grad = torch.tensor(grad, dtype=torch.float64)
        if clip:
            clip(params)
        optimizer.step()
    names = [name for name in SLOTS if optimizer.state[params[-1]].get(name) is not None]
    return [p.detach() for p in params], {name: [optimizer.state[p][name] for p in params] for name in names}


def kernel_run(kernels, kernel, slot_count, lr, **options):
    """The parameters and the state that a kernel ends with."""
    params, grads = [start.copy() for start in START], [start.copy() for start in START]
    states = [[np.zeros_like(start) for start in START] for _ in range(slot_count)]
    table, rate, step = kernels.TensorTable(params, grads, states), np.array([lr]), np.zeros(1, np.int64)
    rule = getattr(kernels, kernel)(**options)
    for fresh in GRADS:
        for grad, new in zip(grads, fresh):
            grad[...] = new
        step[0] += 1
        kernels.update(rule, table, rate, step)
    return params, states


@pytest.mark.parametrize("make, options, kernel, extra", TORCH)
def test_the_kernels_are_torchs(make, options, kernel, extra, kernels):
    expected, state = torch_run(make, options)
    own = {**options, **extra}
    lr, (own["beta1"], own["beta2"]) = own.pop("lr"), own.pop("betas", (0.9, 0.999))
    if kernel != "adam_rule":
        del own["beta1"], own["beta2"]
    params, states = kernel_run(kernels, kernel, len(state), lr, **own)
    assert_close(params, expected, "parameters")
    for slot, name in zip(states, state, strict=True):
        assert_close(slot, state[name], name)


@pytest.mark.parametrize("limit", [0.5, 40.0, 1e6])
def test_clipping_is_torchs(limit, kernels):
    options = {"lr": 0.05, "momentum": 0.8}
    by_norm, _ = torch_run(torch.optim.SGD, options, lambda p: torch.nn.utils.clip_grad_norm_(p, limit))
    params, _ = kernel_run(kernels, "sgd_rule", 1, 0.05, momentum=0.8, clip_norm=limit)
    assert_close(params, by_norm, "parameters")
    by_value, _ = torch_run(torch.optim.SGD, options, lambda p: torch.nn.utils.clip_grad_value_(p, limit))
    params, _ = kernel_run(kernels, "sgd_rule", 1, 0.05, momentum=0.8, clip_value=limit)
    assert_close(params, by_value, "parameters")


# ---- tables of tensors


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_a_table_equals_its_tensors_one_by_one(threads, kernels):
    """Elements are shared out among the threads wherever the tensors end."""
    sizes = [0, 1, 15, 16, 17, 7919, 0, 2, 20_011, 31, 3, 0]
    rng = np.random.default_rng(3)
    arrays = [[rng.random(size, np.float32) for size in sizes] for _ in range(4)]
    results = []
    kernels.set_num_threads(threads)
    for apart in (False, True):
        params, grads, *states = [[array.copy() for array in group] for group in arrays]
        lr, step = np.array([0.1]), np.array([3], np.int64)
        rows = [slice(i, i + 1) for i in range(len(sizes))] if apart else [slice(None)]
        for row in rows:
            table = kernels.TensorTable(params[row], grads[row], [slot[row] for slot in states])
            kernels.update(kernels.adam_rule(weight_decay=0.1), table, lr, step)
        results.append(params + states[0] + states[1])
    kernels.set_num_threads(_backend.get_num_threads())
    assert all(np.array_equal(one, many) for one, many in zip(*results))


def test_no_tensors_and_only_empty_ones(kernels):
    lr, step = np.array([0.1]), np.array([1], np.int64)
    rule = kernels.sgd_rule(clip_norm=1.0)
    kernels.update(rule, kernels.TensorTable([], [], []), lr, step)
    kernels.update(rule, kernels.TensorTable([np.empty(0, np.float32)], [np.empty(0, np.float32)], []), lr, step)


def test_lr_and_step_are_read_at_each_call(kernels):
    """A recorded step is replayed with new numbers in the same arrays."""
    param, grad = np.ones(3, np.float32), np.ones(3, np.float32)
    table, lr, step = kernels.TensorTable([param], [grad], []), np.array([0.5]), np.array([1], np.int64)
    kernels.update(kernels.sgd_rule(), table, lr, step)
    lr[0] = 0.25
    kernels.update(kernels.sgd_rule(), table, lr, step)
    assert (param == 0.25).all()


def test_nan_and_huge_gradients(kernels):
    param, grad = np.zeros(20, np.float32), np.full(20, 1e25, np.float32)
    table, lr, step = kernels.TensorTable([param], [grad], []), np.array([1.0]), np.array([1], np.int64)
    kernels.update(kernels.sgd_rule(clip_norm=1.0), table, lr, step)  # squares beyond float32
    np.testing.assert_allclose(param, -(20**-0.5), rtol=1e-6)
    grad[...], grad[7] = 1.0, np.nan
    kernels.update(kernels.sgd_rule(clip_value=0.5), table, lr, step)
    assert np.isnan(param[7]) and np.isfinite(np.delete(param, 7)).all()


# ---- the quotient in Adam's and RMSprop's update, which some levels take from the CPU's estimate of 1 / x

LEAST, MOST = np.float32(1e-45), np.float32(3.4e38)


def adam_quotients(kernels, numerators, roots, eps):
    """What adam_rule computes for numerator / (root + eps): with m = 0, beta1 = 0 and p = 0 the update is just that."""
    param, m, v = np.zeros_like(roots), np.zeros_like(roots), np.square(roots)
    table = kernels.TensorTable([param], [numerators.copy()], [[m], [v]])
    options = {"beta1": 0.0, "beta2": 1 - 2.0**-53, "eps": eps, "bias_correction": False}
    kernels.update(kernels.adam_rule(**options), table, np.ones(1), np.ones(1, np.int64))
    with np.errstate(all="ignore"):
        return -param, numerators / (np.sqrt(v) + np.float32(eps))


@pytest.mark.parametrize("eps", [0.0, 1e-7, 1e-3, 3.0])
def test_quotients_are_within_two_ulp(eps, kernels):
    rng = np.random.default_rng(1)
    numerators = np.ldexp(rng.uniform(-1, 1, 200_003), rng.integers(-20, 3, 200_003)).astype(np.float32)
    roots = np.ldexp(rng.uniform(0.5, 1, 200_003), rng.integers(-50, 60, 200_003)).astype(np.float32)
    actual, exact = adam_quotients(kernels, numerators, roots, eps)
    assert (np.abs(actual - exact) <= 2 * np.spacing(np.abs(exact))).all()


def test_quotients_at_the_ends_of_the_range_are_divisions(kernels):
    """Zero, infinity and NaN, and what lies so near to them that an estimate fails, alone and between other numbers."""
    edges = np.array([0, LEAST, 1e-38, 1e-36, 1e-19, 1, 1e18, 1.8e19, 1e36, MOST, np.inf, np.nan], np.float32)
    numerators = np.array([0, 1e-30, -1, 1e10, np.inf, np.nan], np.float32)
    pairs = [(a, b) for b in edges for a in numerators]
    for spread in (1, 16):  # alone in a vector, too
        with np.errstate(all="ignore"):
            many = np.ones((len(pairs) * spread, 2), np.float32)
            many[::spread] = pairs
            actual, exact = adam_quotients(kernels, many[:, 0].copy(), many[:, 1].copy(), 0.0)
        bad = np.isnan(exact) | np.isinf(exact) | (exact == 0)
        assert np.array_equal(actual[bad], exact[bad], equal_nan=True)
        np.testing.assert_allclose(actual[~bad], exact[~bad], rtol=3e-7)
