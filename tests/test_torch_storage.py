"""fastnn.torch's options for how things are stored: states in 8 bits, masters, chance in place of rounding."""

import copy
import io

import numpy as np
import pytest
import torch
from references.formats import BLOCK, dequantized, quantized
from torch_runs import FULL, GRADS, SHAPES, advance, assert_close, assert_equal, named, numbers, ours, parameters

import fastnn.torch as ft
from fastnn.torch import storage

full = pytest.mark.parametrize("row", FULL, ids=named)
LARGE = [numbers((40, 33), 1), numbers((5003,), 2), numbers((4, 3, 5, 5), 3).to(memory_format=torch.channels_last)]
FRESH = [[numbers(value.shape, 100 * t + i, 3.0) for i, value in enumerate(LARGE)] for t in range(60)]


def bytes_of(optimizer):
    return sum(value.nbytes for entries in optimizer.state.values() for key, value in entries.items() if key != "step")


# ---- 8 bits


@full
def test_states_of_8_bits_follow_those_of_float32(row):
    """To the precision that a code has: 1.5 % of an element, or a hundred-thousandth of its block's largest."""
    name, options = row
    params, wanted = parameters(start=LARGE), parameters(start=LARGE)
    optimizer = ours(name)(params, **options, state_dtype=torch.uint8, min_8bit_size=8)
    reference = ours(name)(wanted, **options)
    advance(optimizer, params, FRESH[:1])
    advance(reference, wanted, FRESH[:1])
    for one, other in zip(params, wanted):
        for key, value in reference.state[other].items():
            if key == "step":
                continue
            codes, scales = optimizer.state[one][key], optimizer.state[one][f"{key}_scale"]
            assert codes.dtype == torch.uint8 and codes.stride() == one.stride() == value.stride()
            assert scales.shape == (-(-one.numel() // BLOCK),)
            exact = value.detach().as_strided((value.numel(),), (1,)).numpy()
            signed = storage.format_of(key, torch.uint8) == "signed8"
            found = dequantized(codes.as_strided((codes.numel(),), (1,)).numpy(), scales.numpy(), signed)
            nearest = dequantized(*quantized(exact, signed), signed)
            np.testing.assert_allclose(
                np.abs(found - exact), np.abs(nearest - exact), rtol=0.01, atol=1e-6 * max(1, np.abs(exact).max())
            )


def test_bytes_of_state_are_as_arithmetic_says():
    count = 1 << 16
    param = torch.nn.Parameter(torch.zeros(count))
    param.grad = torch.ones(count)
    for options, bytes_each in (
        ({}, 8),
        ({"state_dtype": torch.bfloat16}, 4),
        ({"state_dtype": torch.uint8}, 2 + 8 / 256),
    ):
        optimizer = ft.AdamW([param], **options)
        optimizer.step()
        assert bytes_of(optimizer) == bytes_each * count
    half = torch.nn.Parameter(torch.zeros(count, dtype=torch.bfloat16))
    half.grad = torch.ones_like(half)
    for master, bytes_each in (("float32", 12), ("remainder", 10), (None, 8)):
        optimizer = ft.AdamW([half], state_dtype=torch.float32, master=master)
        optimizer.step()
        assert bytes_of(optimizer) == bytes_each * count


def test_small_parameters_keep_float32():
    params = [torch.nn.Parameter(torch.zeros(size)) for size in (4095, 4096)]
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer = ft.AdamW8bit(params)
    optimizer.step()
    assert [optimizer.state[param]["exp_avg"].dtype for param in params] == [torch.float32, torch.uint8]
    assert "exp_avg_scale" not in optimizer.state[params[0]]


@pytest.mark.parametrize("signed", ["exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_there_and_back(shape, signed):
    values = numbers(shape, 5) if signed == "exp_avg" else numbers(shape, 5).square()
    state = {}
    codes = storage.encode(signed, values, state)
    found = storage.decode(signed, codes, state[f"{signed}_scale"])
    exact = values.numpy().ravel()
    nearest = dequantized(*quantized(exact, signed == "exp_avg"), signed == "exp_avg")
    np.testing.assert_allclose(found.numpy().ravel(), nearest, rtol=1e-5)
    again = {}
    assert torch.equal(storage.encode(signed, found, again), codes)


def test_a_training_goes_on_in_8_bits_and_back():
    """From torch's AdamW to ours of 8 bits and on to float32: states are converted when they are met."""
    params = parameters(start=LARGE)
    optimizer, wanted = torch.optim.AdamW(params, lr=0.01), parameters(start=LARGE)
    reference = torch.optim.AdamW(wanted, lr=0.01)
    advance(reference, wanted, FRESH)
    advance(optimizer, params, FRESH[:20])
    eight = ft.AdamW8bit(params, min_8bit_size=8)
    eight.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(eight, params, FRESH[20:40])
    assert all(eight.state[param]["exp_avg"].dtype == torch.uint8 for param in params)
    state = copy.deepcopy(eight.state_dict())
    for group in state["param_groups"]:
        group["state_dtype"] = torch.float32
    last = ft.AdamW(params)
    last.load_state_dict(state)
    advance(last, params, FRESH[40:])
    assert all(last.state[param].keys() == {"step", "exp_avg", "exp_avg_sq"} for param in params)
    for own, other in zip(params, wanted):
        assert (own - other).norm() < 0.03 * (other - LARGE[[p is own for p in params].index(True)]).norm()


def test_layouts_that_change_keep_the_states():
    """Blocks lie in the order of memory: codes are decoded before they are put into another."""
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        param = torch.nn.Parameter(numbers((8, 16, 4, 4), 1))
        optimizer = ft.AdamW8bit([param], lr=0.01, min_8bit_size=8)
        for t in range(20):
            if t == 10:
                param.grad = None
                param.data = param.data.to(memory_format=layout)
            param.grad = numbers(param.shape, t)
            optimizer.step()
        results.append(param.detach())
    torch.testing.assert_close(*results, rtol=0.1, atol=0.01)


# ---- masters


@pytest.mark.parametrize(
    "dtype, master", [(torch.bfloat16, "float32"), (torch.bfloat16, "remainder"), (torch.float16, "float32")]
)
@full
def test_a_master_makes_it_float32(row, dtype, master):
    """The same steps as of float32 parameters, to the bit; what is seen is that rounded."""
    name, options = row
    low = parameters(dtype)
    exact = parameters(start=[param.detach().float() for param in low])
    optimizer = ours(name)(low, **options, master=master, state_dtype=torch.float32)
    reference = ours(name)(exact, **options)
    grads = [[grad.to(dtype).float() for grad in fresh] for fresh in GRADS]
    advance(optimizer, low, grads)
    advance(reference, exact, grads)
    for param, wanted in zip(low, exact):
        state = optimizer.state[param]
        if master == "float32":
            full_bits = state["master"]
            assert torch.equal(param, wanted.to(dtype))
        else:
            full_bits = (param.detach().view(torch.int16).int() * 65536 + state["remainder"].int()).view(torch.float32)
        assert_close([full_bits], [wanted.detach()], "master")
        for key, value in reference.state[wanted].items():
            assert_close([state[key]], [value], key)


@pytest.mark.parametrize("master", ["float32", "remainder"])
def test_what_somebody_else_writes_counts(master):
    """As by `model.load_state_dict` in the middle of a training."""
    params = parameters(torch.bfloat16)
    optimizer = ft.SGD(params, lr=0.5, master=master)
    advance(optimizer, params, GRADS[:3])
    with torch.no_grad():
        for param in params:
            param.fill_(0.75)
    for param in params:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    assert all((param == 0.75).all() for param in params)
    if master == "float32":
        assert all((optimizer.state[param]["master"] - 0.75).abs().sum() <= 2.0**-9 * param.numel() for param in params)


def test_masters_are_for_16_bits():
    params = parameters(torch.float16)
    optimizer = ft.SGD(params, lr=0.5, master="remainder")
    message = "^SGD: master must be None or 'float32' for parameters of float16, got 'remainder'"
    with pytest.raises(ValueError, match=message):
        advance(optimizer, params, GRADS[:1])
    usual, other = parameters(), parameters()
    advance(ft.SGD(usual, lr=0.5), usual, GRADS[:2])
    advance(ft.SGD(other, lr=0.5, master="remainder"), other, GRADS[:2])  # float32 needs none
    assert_equal(usual, other)


# ---- chance


def test_small_steps_count_on_average():
    """A step of a sixteenth of the distance between two bfloat16 numbers moves one parameter in sixteen."""
    count, results = 1 << 14, []
    for seed in (0, 0, 1):
        param = torch.nn.Parameter(torch.ones(count, dtype=torch.bfloat16))
        optimizer = ft.SGD([param], lr=1.0, stochastic_rounding=True, seed=seed)
        for _ in range(16):
            param.grad = torch.full_like(param, -(2.0**-7) / 16)
            optimizer.step()
        assert abs(param.float().mean().item() - 1 - 2.0**-7) < 2.0**-7 * 0.05
        assert len(param.unique()) > 2
        results.append(param.detach())
    assert torch.equal(*results[:2]) and not torch.equal(*results[1:])
    param = torch.nn.Parameter(torch.ones(count, dtype=torch.bfloat16))
    param.grad = torch.full_like(param, -(2.0**-7) / 16)
    ft.SGD([param], lr=1.0).step()
    assert (param == 1).all()


# ---- checkpoints of all of it


@pytest.mark.parametrize(
    "dtype, options",
    [
        (torch.float32, {"state_dtype": torch.uint8, "min_8bit_size": 8}),
        (torch.bfloat16, {"state_dtype": torch.uint8, "min_8bit_size": 8, "master": "remainder"}),
        (torch.bfloat16, {"master": "float32"}),
        (torch.float16, {"master": "float32", "state_dtype": torch.float32}),
        (torch.bfloat16, {"stochastic_rounding": True, "seed": 3}),
    ],
)
@pytest.mark.parametrize("name", [name for name in ft.__all__ if name not in ("Optimizer", "DataParallel")])
def test_checkpoints(name, dtype, options):
    """Saved, loaded with weights_only and gone on with, to the bit."""
    params = parameters(dtype, LARGE)
    optimizer = ours(name)(params, lr=0.01, **options)
    advance(optimizer, params, FRESH[:4])
    file = io.BytesIO()
    torch.save({"params": [param.detach() for param in params], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    resumed = parameters(dtype, loaded["params"])
    second = ours(name)(resumed)
    second.load_state_dict(loaded["optimizer"])
    copied, copies = copy.deepcopy((optimizer, params))
    for one, its in ((optimizer, params), (second, resumed), (copied, copies)):
        advance(one, its, FRESH[4:8])
    assert_equal(params, resumed)
    assert_equal(params, copies)
    for own, other in zip(params, resumed):
        assert optimizer.state[own].keys() == second.state[other].keys()
        assert_equal(optimizer.state[own].values(), second.state[other].values())
