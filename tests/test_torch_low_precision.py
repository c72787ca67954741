"""fastnn.torch and numbers that aren't float32: each step against one in float64 whose results are rounded once."""

import copy

import pytest
import torch
from torch_runs import FULL, GRADS, START, STEPS, advance, assert_close, assert_equal, named, ours, parameters, theirs

import fastnn.torch as ft

full = pytest.mark.parametrize("row", FULL, ids=named)
BITS = {torch.bfloat16: (8, -133), torch.float16: (11, -24), torch.float32: (24, -149)}  # precision, smallest exponent


def spacing(values, dtype):
    """Of the numbers of a type around these."""
    precision, smallest = BITS[dtype]
    exponents = torch.frexp(values).exponent - precision
    return torch.exp2(exponents.clamp(min=smallest).double())


def assert_rounded(actual, exact, what, slack=0.0):
    """To the nearest number of its type, but for what float32's own rounding does near a tie."""
    allowed = 0.5 * spacing(exact, actual.dtype) + 1e-6 * (1 + exact.abs()) + slack  # operands are of size 1
    assert ((actual.double() - exact).abs() <= allowed).all(), what


def exact_step(row, optimizer, params, factor=1.0):
    """A step in float64 from where the optimizer is now, gradients times a factor: parameters and states after it."""
    name, options = row
    exact = [torch.nn.Parameter(param.detach().double()) for param in params]
    for param, own in zip(exact, params):
        param.grad = factor * own.grad.double()
    reference = theirs(name)(exact, **options)
    for param, own in zip(exact, params):
        for key, value in optimizer.state[own].items():
            reference.state[param][key] = value.clone() if key == "step" else value.double()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as `advance` does
    reference.step()
    torch.set_num_threads(threads)
    for param, own in zip(exact, params):
        param.step_taken = (param - own).detach()
    return exact, [reference.state[param] for param in exact]


@pytest.mark.parametrize(
    "param, state",
    [
        (torch.bfloat16, None),
        (torch.float16, None),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.bfloat16),
    ],
)
@full
def test_steps_are_rounded_once(row, param, state):
    name, options = row
    params = parameters(param)
    optimizer, expected = ours(name)(params, **options, state_dtype=state), []

    def before(t):
        expected[:] = exact_step(row, optimizer, params)

    def after(t):
        assert_step(optimizer, params, *expected, state or param)

    advance(optimizer, params, GRADS[: 12 if param == torch.float32 else STEPS], before=before, after=after)
    assert all(own.dtype == param for own in params)


def assert_step(optimizer, params, exact, states, state_dtype):
    for own, wanted, entries in zip(params, exact, states):
        # LAMB reads its states again in the second pass: the direction is that of rounded ones.
        slack = (
            0.01 * wanted.step_taken.norm(float("inf")) if isinstance(optimizer, ft.LAMB) and wanted.numel() else 0.0
        )
        assert_rounded(own.detach(), wanted.detach(), "parameter", slack)
        assert optimizer.state[own].keys() == entries.keys()
        for key, value in entries.items():
            actual = optimizer.state[own][key]
            assert actual.dtype == (torch.float32 if key == "step" else state_dtype)
            assert_rounded(actual, value.double(), key)


@full
def test_states_have_torchs_types_and_go_both_ways(row):
    """In bfloat16: torch's own steps in float16 divide by zero where a square is below 6e-8."""
    (name, options), dtype = row, torch.bfloat16
    params, wanted = parameters(dtype), parameters(dtype)
    optimizer, reference = ours(name)(params, **options), theirs(name)(wanted, **options)
    for one, its in ((optimizer, params), (reference, wanted)):
        advance(one, its, GRADS[:5])
    own, other = optimizer.state_dict(), reference.state_dict()
    for i, entries in other["state"].items():
        assert {key: value.dtype for key, value in entries.items()} == {
            key: value.dtype for key, value in own["state"][i].items()
        }
    second, resumed = ours(name)(wanted), theirs(name)(params)
    second.load_state_dict(copy.deepcopy(other))
    resumed.load_state_dict(copy.deepcopy(own))
    advance(resumed, params, GRADS[5:7])
    for t in range(5, STEPS):
        for param, grad in zip(wanted, GRADS[t]):
            param.grad = grad.to(dtype)
        expected = exact_step(row, second, wanted)
        second.step()
        assert_step(second, wanted, *expected, dtype)


def test_gradients_of_float32():
    """As of parameters whose `grad_dtype` says so: more of a sum survives."""
    param, exact = torch.nn.Parameter(START[9].bfloat16()), torch.nn.Parameter(START[9].bfloat16().double())
    param.grad_dtype = None
    optimizer, reference = ft.SGD([param], lr=0.25), torch.optim.SGD([exact], lr=0.25)
    param.grad, exact.grad = GRADS[0][9], GRADS[0][9].double()
    optimizer.step()
    reference.step()
    assert_rounded(param.detach(), exact.detach(), "parameter")


def test_types_may_differ_from_parameter_to_parameter():
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.bfloat16]
    apart = [[torch.nn.Parameter(START[9].to(kind))] for kind in kinds]
    together = [torch.nn.Parameter(START[9].to(kind)) for kind in kinds]
    for t in range(5):
        for one in (*together, *(params[0] for params in apart)):
            one.grad = GRADS[t][9].to(one.dtype)
        if t == 0:
            optimizers = [ft.AdamW(params, lr=0.1, betas=(0.8, 0.9)) for params in (together, *apart)]
        for optimizer in optimizers:
            optimizer.step()
    assert_equal(together, [param for params in apart for param in params])


def test_clipping_by_norm_over_several_types():
    params = [torch.nn.Parameter(START[i].to(kind)) for i, kind in ((9, torch.float32), (8, torch.bfloat16))]
    wanted = [torch.nn.Parameter(param.detach().double()) for param in params]
    optimizer, reference = ft.SGD(params, lr=0.5, clip_norm=20.0), torch.optim.SGD(wanted, lr=0.5)
    for param, other, i in zip(params, wanted, (9, 8)):
        param.grad = GRADS[0][i].to(param.dtype)
        other.grad = param.grad.double()
    torch.nn.utils.clip_grad_norm_(wanted, 20.0)
    optimizer.step()
    reference.step()
    assert_close(params[:1], wanted[:1], "float32", "clipped")
    assert_rounded(params[1].detach(), wanted[1].detach(), "bfloat16")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scaled_gradients_are_unscaled_in_float32(dtype):
    """In float16 they would lose bits, or vanish: 1e-5 isn't one of its normal numbers."""
    row = ("AdamW", {"lr": 0.05})
    params = parameters(dtype)
    optimizer = ft.AdamW(params, lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
    for param, grad in zip(params, GRADS[0]):
        param.grad = (grad * 0.1).to(dtype)
    scaler.scale(torch.ones(()))
    for own in params:
        optimizer.state[own] = {"step": torch.zeros(())}
        optimizer.state[own] |= {key: torch.zeros_like(own.detach()) for key in ("exp_avg", "exp_avg_sq")}
    expected = exact_step(row, optimizer, params, 2.0**-14)
    grads = [param.grad.clone() for param in params]
    scaler.step(optimizer)
    assert_step(optimizer, params, *expected, dtype)
    assert_equal([param.grad for param in params], [grad / 2.0**14 for grad in grads])


def test_a_model_that_changes_its_type_in_the_middle():
    """States that were made before stay what they are: nothing of them is lost."""
    params = parameters()
    optimizer = ft.AdamW(params, lr=0.05)
    advance(optimizer, params, GRADS[:3])
    for param in params:
        param.grad = None
        param.data = param.data.bfloat16()
    expected = []
    advance(
        optimizer, params, GRADS[3:9],
        before=lambda t: expected.__setitem__(slice(None), exact_step(("AdamW", {"lr": 0.05}), optimizer, params)),
        after=lambda t: assert_step(optimizer, params, *expected, torch.float32),
    )  # fmt: skip


@full
def test_the_option_survives_a_checkpoint(row):
    """Torch gives states the parameter's type where it loads them; those of `state_dtype` keep their own."""
    name, options = row
    params = parameters(torch.bfloat16)
    optimizer = ours(name)(params, **options, state_dtype=torch.float32)
    advance(optimizer, params, GRADS[:5])
    resumed = parameters(start=[param.detach() for param in params], dtype=torch.bfloat16)
    second = ours(name)(resumed)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, its in ((optimizer, params), (second, resumed)):
        advance(one, its, GRADS[5:10])
    assert_equal(params, resumed)
    for own, other in zip(params, resumed):
        assert_equal(optimizer.state[own].values(), second.state[other].values())
        assert all(value.dtype == torch.float32 for value in second.state[other].values())
