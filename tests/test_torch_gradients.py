"""fastnn.torch and gradients: none, some, scaled by GradScaler."""

import pytest
import torch
from torch_runs import (
    FULL,
    GRADS,
    START,
    advance,
    assert_close,
    assert_equal,
    assert_same_run,
    named,
    ours,
    parameters,
    states,
    theirs,
)

import fastnn.torch as ft

full = pytest.mark.parametrize("row", FULL, ids=named)


# ---- gradients
@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    params = parameters()
    optimizer = ft.AdamW(params)
    advance(optimizer, params, GRADS[:2])
    optimizer.zero_grad(set_to_none=set_to_none)
    assert all(param.grad is None if set_to_none else not param.grad.any() for param in params)
    advance(optimizer, params, GRADS[2:5], set_to_none=set_to_none)
    expected = parameters()
    advance(ft.AdamW(expected), expected, GRADS[:5])
    assert_equal(params, expected)


@full
def test_parameters_without_gradient(row):
    """Some in some steps: their states and step counters stay behind, as torch's."""
    name, options = row
    grads = [[g if (t + i) % 3 and i != 4 else None for i, g in enumerate(fresh)] for t, fresh in enumerate(GRADS)]

    def run(make, dtype):
        params = parameters(dtype)
        optimizer = make(params, **options)
        advance(optimizer, params, grads)
        return optimizer, params

    optimizer, params = run(ours(name), torch.float32)
    reference, wanted = run(theirs(name), torch.float64)
    assert (params[4] in optimizer.state) == (wanted[4] in reference.state)
    assert_same_run(optimizer, params, reference, wanted)


def test_no_gradient_at_all():
    params = parameters()
    optimizer = ft.AdamW(params)
    optimizer.step()
    assert not optimizer.state
    assert_equal(params, START)


# ---- GradScaler
def scaled_run(make, between=lambda scaler, optimizer: None, spoil=(), **extra):
    """Twelve steps whose gradients autograd scales; in the steps of `spoil` one of them overflows."""
    params = parameters()
    optimizer = make(params, lr=0.05, **extra)
    scaler, skipped, grads = torch.amp.GradScaler("cpu", init_scale=96.0, growth_interval=4), [], []
    for t, fresh in enumerate(GRADS[:12]):
        optimizer.zero_grad()
        loss = sum((param * grad).sum() for param, grad in zip(params, fresh))
        scaler.scale(loss * float("inf") if t in spoil else loss).backward()
        between(scaler, optimizer)
        scaler.step(optimizer)
        skipped.append(getattr(optimizer, "last_step_skipped", None))
        grads.append([param.grad.clone() for param in params])
        scaler.update()
    return params, optimizer, skipped, grads, scaler.get_scale()


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients(unscale, fused):
    def between(scaler, optimizer):
        if unscale:  # once here, and not again in the step
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 20.0)

    spoil = (0, 5, 6)
    params, optimizer, skipped, grads, scale = scaled_run(ft.AdamW, between, spoil)
    wanted, reference_optimizer, _, wanted_grads, wanted_scale = scaled_run(
        torch.optim.AdamW, between, spoil, fused=fused
    )
    assert skipped == [t in spoil for t in range(12)] and scale == wanted_scale
    assert_same_run(optimizer, params, reference_optimizer, wanted, "trajectory")
    assert states(optimizer, params)["step"][0].item() == 9
    for t in set(range(12)) - set(spoil):  # they are left as torch leaves them
        assert_close(grads[t], wanted_grads[t], "gradients", "trajectory")
    assert not hasattr(optimizer, "grad_scale") and not hasattr(optimizer, "found_inf")


def test_a_disabled_scaler():
    params = parameters()
    optimizer, scaler = ft.SGD(params, lr=0.1), torch.amp.GradScaler("cpu", enabled=False)
    for param, grad in zip(params, GRADS[0]):
        param.grad = grad.clone()
    scaler.step(optimizer)
    assert optimizer.last_step_skipped is False
    assert_close(params, [start - 0.1 * grad for start, grad in zip(START, GRADS[0])], "parameters")


# ---- gradients that aren't finite, without GradScaler


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("groups", [1, 2])
@full
def test_steps_that_are_skipped(row, groups, value):
    """Nothing is written then, whether one kernel call sees all gradients or several see some each."""
    name, options = row
    params, expected = parameters(), parameters()

    def grouped(params):
        return [{"params": params[:7]}, {"params": params[7:]}] if groups == 2 else params

    optimizer = ours(name)(grouped(params), **options, skip_nonfinite=True)
    untouched = ours(name)(grouped(expected), **options)
    skipped, spoilt = [], {2: 6, 3: 9, 5: 2}  # the step, and which parameter's gradient
    advance(
        optimizer, params, GRADS[:8],
        before=lambda t: params[spoilt[t]].grad.reshape(-1)[:1].fill_(value) if t in spoilt else None,
        after=lambda t: skipped.append(optimizer.last_step_skipped),
    )  # fmt: skip
    assert skipped == [t in spoilt for t in range(8)]
    advance(untouched, expected, [grads for t, grads in enumerate(GRADS[:8]) if t not in spoilt])
    assert_equal(params, expected)
    for own, other in zip(params, expected):
        assert_equal(optimizer.state[own].values(), untouched.state[other].values())
