"""What fastnn.torch can't do raises an error that names it, and nothing has been changed then."""

import copy

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor
from torch_runs import GRADS, advance, assert_equal, parameters

import fastnn.torch as ft


def sparse():
    return torch.eye(3).to_sparse()


def with_gradient(param, grad):
    param = torch.nn.Parameter(param)
    param.grad = grad
    return param


# What is in the list of parameters, and the message.
REFUSED = {
    "a sparse gradient": (
        lambda: with_gradient(torch.ones(3, 3), sparse()),
        r"params\[1\].grad must be dense, got a Tensor of torch.float32 of shape \(3, 3\) with strides "
        r"torch.sparse_coo on cpu. Use torch.optim.SparseAdam, or sparse=False in the embedding.",
    ),
    "a sparse parameter": (
        lambda: with_gradient(sparse(), sparse()),
        r"params\[1\] must be dense, got a Parameter of .* with strides torch.sparse_coo",
    ),
    "complex numbers": (
        lambda: with_gradient(torch.ones(2, dtype=torch.complex64), torch.ones(2, dtype=torch.complex64)),
        r"params\[1\] must be real, got a Parameter of torch.complex64 .*Optimize torch.view_as_real of it.",
    ),
    "float64": (
        lambda: with_gradient(torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)),
        r"params\[1\] must be float32, bfloat16 or float16, got a Parameter of torch.float64",
    ),
    "another device": (
        lambda: with_gradient(torch.ones(2, device="meta"), torch.ones(2, device="meta")),
        r"params\[1\] must be on the CPU or a CUDA device, got a Parameter of torch.float32 of shape \(2,\) with "
        r"strides \(1,\) on meta. Use torch.optim for it.",
    ),
    "elements that share memory": (
        lambda: with_gradient(torch.ones(1).expand(3), torch.ones(3)),
        r"params\[1\] must be dense, without gaps or overlaps, got .* with strides \(0,\) .*Make it of tensor.contigu",
    ),
    "gaps": (
        lambda: with_gradient(torch.ones(6)[::2], torch.ones(3)),
        r"params\[1\] must be dense, without gaps or overlaps, got .* with strides \(2,\)",
    ),
    "a wrapper of tensors": (
        lambda: with_gradient(TwoTensor(torch.ones(2), torch.ones(2)), TwoTensor(torch.ones(2), torch.ones(2))),
        r"params\[1\] must be a plain tensor, got a TwoTensor",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_parameters_and_gradients(case):
    make, message = REFUSED[case]
    param = with_gradient(torch.ones(3), torch.ones(3))
    optimizer = ft.AdamW([param, make()])
    with pytest.raises(ValueError, match=f"^AdamW: {message}"):
        optimizer.step()
    assert (param == 1).all()
    assert all(not value.any() for entries in optimizer.state.values() for value in entries.values())


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda s: s.update(exp_avg=torch.ones(4)),
            r"must be of the parameter's shape \(3,\), got .*\(4,\)",
        ),
        (
            lambda s: s.update(exp_avg=torch.ones(3, device="meta")),
            "must be on the CPU or a CUDA device, got .* on meta",
        ),
        (
            lambda s: s.update(exp_avg=torch.ones(3, dtype=torch.float64)),
            "must be float32, .*got .*torch.float64",
        ),
        (lambda s: s.update(exp_avg=1.0), "must be a tensor, got 1.0"),
    ],
)
def test_states(change, message):
    param = with_gradient(torch.ones(3), torch.ones(3))
    optimizer = ft.AdamW([param])
    optimizer.step()
    change(optimizer.state[param])
    before = param.detach().clone()
    with pytest.raises(ValueError, match=rf"^AdamW: state\[params\[0\]\]\['exp_avg'\] {message}"):
        optimizer.step()
    assert_equal([param], [before])


def test_what_is_no_tensor():
    for params, message in (([], "empty parameter list"), ([1.0], "optimizer can only optimize Tensors")):
        with pytest.raises((ValueError, TypeError), match=message):
            ft.SGD(params)
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        ft.SGD([torch.ones(2, requires_grad=True) * 2])


def test_a_model_that_is_float64_for_a_while():
    """Refused as long as it is, with states untouched; then the training goes on."""
    params, expected = parameters(), parameters()
    optimizer, untouched = ft.AdamW(params), ft.AdamW(expected)
    advance(optimizer, params, GRADS[:3])
    states = copy.deepcopy(optimizer.state_dict()["state"])
    for param in params:
        param.data = param.data.double()
        param.grad = torch.ones_like(param)
    with pytest.raises(
        ValueError, match=r"^AdamW: params\[0\] must be float32, bfloat16 or float16, got a Parameter of torch.float64"
    ):
        optimizer.step()
    for i, entries in optimizer.state_dict()["state"].items():
        assert_equal(entries.values(), states[i].values())
    for param in params:
        param.grad = None
        param.data = param.data.float()
    advance(optimizer, params, GRADS[3:6])
    advance(untouched, expected, GRADS[:6])
    assert_equal(params, expected)
