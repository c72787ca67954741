"""The ways of storing in fastnn.functional: master copies, remainders, stochastic rounding, states of 8 bits."""

import ml_dtypes
import numpy as np
import pytest
import torch
from functional_runs import SHAPES, numbers, zeros
from spoilt import refused

from fastnn import functional as F  # noqa: N812

BF16 = ml_dtypes.bfloat16
LONG = [(3, 5), (700,), (256,), (0, 2)]


def narrow(arrays):
    return [array.astype(BF16) for array in arrays]


def runs(steps, shapes=SHAPES):
    """Parameters that bfloat16 can hold, and gradients of each step likewise."""
    params = [p.astype(BF16).astype(np.float32) for p in numbers(0, shapes)]
    return params, [narrow(numbers(seed, shapes)) for seed in range(1, steps + 1)]


def in_float32(steps, shapes=SHAPES):
    params, grads = runs(steps, shapes)
    states = zeros(2, shapes)
    for t, current in enumerate(grads, 1):
        F.adamw_(params, [g.astype(np.float32) for g in current], *states, step=t, lr=1e-3)
    return params, states


@pytest.mark.parametrize("dtype", [BF16, np.float16])
def test_master_copies_are_exact(dtype):
    wanted, wanted_states = in_float32(50)
    master, grads = runs(50)
    params, states = [m.astype(dtype) for m in master], zeros(2)
    for t, current in enumerate(grads, 1):
        grad = [g.astype(np.float32) if dtype == np.float16 else g for g in current]
        F.adamw_(params, grad, *states, step=t, lr=1e-3, master=master)
    for found, expected in zip([*master, *sum(states, [])], [*wanted, *sum(wanted_states, [])]):
        np.testing.assert_array_equal(found, expected)
    for param, full in zip(params, master):
        np.testing.assert_array_equal(param, full.astype(dtype))


@pytest.mark.parametrize("framework", ["NumPy", "torch"])
def test_remainders_are_exact(framework):
    wanted, wanted_states = in_float32(50)
    start, grads = runs(50)
    params, states, rest = narrow(start), zeros(2), [np.zeros(shape, np.uint16) for shape in SHAPES]
    lists = [params, *states, rest]
    if framework == "torch":
        lists[0] = [torch.from_numpy(p.view(np.int16)).view(torch.bfloat16) for p in params]
        lists[1:] = [[torch.from_numpy(array) for array in arrays] for arrays in lists[1:]]
    for t, current in enumerate(grads, 1):
        F.adamw_(lists[0], current, *lists[1:3], step=t, lr=1e-3, master=lists[3])
    for param, remainder, expected in zip(params, rest, wanted):
        high = param.view(np.uint16).astype(np.uint32) << 16
        signed = remainder.view(np.int16).astype(np.int32).view(np.uint32)
        np.testing.assert_array_equal((high + signed).view(np.float32), expected)
    for found, expected in zip(sum(states, []), sum(wanted_states, [])):
        np.testing.assert_array_equal(found, expected)


def test_stochastic_rounding():
    def run(seed, steps=30):
        start, grads = runs(steps, LONG)
        params, states = narrow(start), zeros(2, LONG)
        for t, current in enumerate(grads, 1):
            F.adamw_(params, current, *states, step=t, lr=1e-3, **({} if seed is None else {"seed": seed}))
        return np.concatenate([p.astype(np.float32).ravel() for p in params])

    np.testing.assert_array_equal(run(3), run(3))
    assert (run(3) != run(4)).any() and (run(3) != run(None)).any()
    wanted = np.concatenate([p.ravel() for p in in_float32(30, LONG)[0]])
    averaged = np.mean([run(seed) for seed in range(20)], axis=0)
    assert np.abs(averaged - wanted).mean() < np.abs(run(None) - wanted).mean() / 2


@pytest.mark.parametrize("function", [F.adamw_, F.sgd_, F.rmsprop_, F.lion_])
def test_states_of_8_bits(function):
    names = {
        F.adamw_: ["exp_avg", "exp_avg_sq"],
        F.sgd_: ["momentum_buffer"],
        F.rmsprop_: ["square_avg", "grad_avg", "momentum_buffer"],
        F.lion_: ["exp_avg"],
    }[function]
    options = {
        F.adamw_: {},
        F.sgd_: {"lr": 1e-3, "momentum": 0.9},
        F.rmsprop_: {"lr": 1e-3, "momentum": 0.9, "centered": True},
        F.lion_: {},
    }[function]
    start = numbers(0, LONG)
    wanted, params, of_torch = ([p.copy() for p in start] for _ in range(3))
    states = zeros(len(names), LONG)
    codes = [[np.zeros(shape, np.uint8) for shape in LONG] for _ in names]
    scales = {name: [np.zeros(-(-p.size // 256), np.float32) for p in params] for name in names}
    tensors = [[torch.from_numpy(code.copy()) for code in slot] for slot in codes]
    scales_of_torch = {name: [torch.from_numpy(s.copy()) for s in arrays] for name, arrays in scales.items()}
    for t in range(1, 31):
        grads = numbers(t, LONG)
        extra = {**options, **({"step": t} if function is F.adamw_ else {})}
        function(wanted, grads, *states, **extra)
        function(params, grads, *codes, scales=scales, **extra)
        function(of_torch, grads, *tensors, scales=scales_of_torch, **extra)
    for found, same, expected, first in zip(params, of_torch, wanted, start):
        np.testing.assert_array_equal(found, same)
        moved = np.abs(expected - first).mean() if first.size else 0
        assert not first.size or np.abs(found - expected).mean() < 0.2 * moved
    # The largest value of the first block, to the step of its code.
    for state, scale in zip(states, scales.values()):
        assert scale[1][0] == pytest.approx(np.abs(state[1][:256]).max(), rel=0.2)


def test_some_states_of_8_bits():
    params, grads, (m, v) = numbers(0, LONG), numbers(1, LONG), zeros(2, LONG)
    codes = [np.zeros(shape, np.uint8) for shape in LONG]
    scales = {"exp_avg": [np.zeros(-(-p.size // 256), np.float32) for p in params]}
    assert F.adamw_(params, grads, codes, v, step=1, scales=scales)
    largest = 0.1 * np.abs(grads[0]).max()  # is the largest of the numbers between -1 and 1
    assert scales["exp_avg"][0] * 0.99296875 == pytest.approx(largest, rel=1e-5) and not m[0].any()


def test_what_does_not_go_together_is_refused():
    p, g, states = narrow(numbers(0)), narrow(numbers(1)), zeros(2)
    half = [array.astype(np.float16) for array in numbers(0)]
    codes = [np.zeros(shape, np.uint8) for shape in SHAPES]
    short = {"exp_avg": [np.zeros(1, np.float32)] * 3 + [np.zeros(2, np.float32)]}
    wide = {"exp_avg": [np.zeros(-(-c.size // 256)) for c in codes]}
    rest = [np.zeros(shape, np.uint16) for shape in SHAPES]
    adamw = lambda params, grads, *lists, **options: lambda: F.adamw_(params, grads, *lists, step=1, **options)  # noqa: E731
    wanted = r"master\[0\] must be float32, or uint16 where params are bfloat16, got uint16"
    refused(adamw(half, half, *states, master=rest), f"^adamw_: {wanted}")
    refused(adamw(p, g, *states, master=rest[:2]), "^adamw_: master must be a list as long as params, 4, got 2")
    refused(adamw(p, g, *states, master=rest, seed=1), "^adamw_: seed must be None with master")
    refused(adamw(p, g, *states, scales={"exp_avg": rest}), r"^adamw_: exp_avg\[0\] must be uint8, got float32")
    refused(adamw(p, g, codes, states[1], scales=short), r"^adamw_: scales\['exp_avg'\]\[3\] must be of 0 elements")
    refused(
        adamw(p, g, codes, states[1], scales=wide), r"^adamw_: scales\['exp_avg'\]\[0\] must be float32, got float64"
    )
    refused(adamw(p, g, states[0], states[0]), r"^adamw_: exp_avg(_sq)?\[\d\] must be memory apart from exp_avg")
    refused(
        adamw(
            p, g, codes, states[1], scales={"exp_avg": [s[:1] for s in states[1][1:2] * 3] + [np.zeros(0, np.float32)]}
        ),
        r"^adamw_: scales\['exp_avg'\]\[\d\] must be memory apart from (scales\['exp_avg'\]|exp_avg_sq)\[",
    )
