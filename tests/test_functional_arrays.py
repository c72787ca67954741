"""What kinds of arrays fastnn.functional steps over, and what it refuses: messages, and that nothing was changed."""

import array
import ctypes

import ml_dtypes
import numpy as np
import pytest
from functional_runs import OldDlpack, OnlyDlpack, array_of
from spoilt import refused

from fastnn import functional as F  # noqa: N812
from fastnn.functional import tensor_lists

torch = pytest.importorskip("torch")


def channels_last(memory):
    return torch.from_numpy(memory).clone().reshape(1, 3, 2, 2).to(memory_format=torch.channels_last)


KINDS = {
    "NumPy": np.array,
    "NumPy in Fortran's order": np.asfortranarray,
    "NumPy, axes swapped": lambda memory: np.ascontiguousarray(memory.T).T,
    "torch": lambda memory: torch.from_numpy(memory).clone(),
    "torch's parameter": lambda memory: torch.nn.Parameter(torch.from_numpy(memory).clone()),
    "torch, channels_last": channels_last,
    "DLPack": lambda memory: OnlyDlpack(memory.copy()),
    "DLPack of before 2023": lambda memory: OldDlpack(memory.copy()),
    "memoryview": lambda memory: memoryview(memory.copy()),
    "array.array": lambda memory: array.array("f", memory.ravel().tolist()),
    "ctypes": lambda memory: (ctypes.c_float * 12)(*memory.ravel().tolist()),
}


def values(given):
    """What the array holds, in the order of its axes."""
    given = given.memory if isinstance(given, OnlyDlpack) else given
    return (given.detach().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)).ravel()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3])
def test_arrays_of_every_kind(kind, count):
    make = KINDS[kind]
    plain = [[array_of(10 * k + i) for i in range(count)] for k in range(4)]
    plain[3] = [np.abs(v) for v in plain[3]]
    given = [[make(memory) for memory in arrays] for arrays in plain]
    for step in (1, 2):
        assert F.adamw_(*plain, step=step, lr=0.1) and F.adamw_(*given, step=step, lr=0.1)
    for arrays, wanted in zip(given, plain):
        for one, other in zip(arrays, wanted):
            np.testing.assert_array_equal(values(one), other.ravel())


def test_kinds_may_differ_within_a_call():
    memory = [array_of(k) for k in range(4)]
    plain = [[m.copy()] for m in memory]
    mixed = [[KINDS[kind](m)] for kind, m in zip(("torch's parameter", "NumPy", "DLPack", "NumPy"), memory)]
    plain[3][0][...] = mixed[3][0][...] = np.abs(memory[3])
    F.adamw_(*plain, step=3)
    F.adamw_(*mixed, step=3)
    for one, other in zip(mixed, plain):
        np.testing.assert_array_equal(values(one[0]), other[0].ravel())


def test_tuples_and_empty_lists():
    params, grads = (array_of(0),), (array_of(1),)
    assert F.sgd_(params, grads, lr=0.1) and F.sgd_([], [], lr=0.1) and F.adamw_([], [], [], [], step=1)
    assert F.sgd_([np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.float32)], lr=0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_of_numpy_and_torch(dtype):
    narrow = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[dtype]
    memory = [array_of(0), array_of(1), np.zeros((3, 4)), np.zeros((3, 4))]
    arrays = [[m.astype(narrow)] for m in memory]
    tensors = [[torch.from_numpy(m.astype(np.float32)).to(getattr(torch, dtype))] for m in memory]
    parameter = torch.nn.Parameter(tensors[0][0].clone())
    parameter.grad = tensors[1][0].clone()
    optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=True)
    for step in range(1, 6):
        F.adamw_(*arrays, step=step, lr=0.1)
        F.adamw_(*tensors, step=step, lr=0.1)
        optimizer.step()
    bits = tensors[0][0].view(torch.int16).numpy()
    np.testing.assert_array_equal(arrays[0][0].view(np.int16), bits)
    close = {"bfloat16": 2**-6, "float16": 2**-8}[dtype]
    torch.testing.assert_close(tensors[0][0], parameter.detach(), rtol=close, atol=close)
    # States and gradients in float32 beside them.
    F.adamw_(arrays[0], [array_of(1)], [array_of(2)], [np.abs(array_of(3))], step=1)


def test_remembered_tables():
    tensor_lists._remembered.clear()
    lists = [[array_of(10 * k + i) for i in range(3)] for k in range(4)]
    lists[3] = [np.abs(v) for v in lists[3]]
    copies = [[a.copy() for a in arrays] for arrays in lists]
    for step in range(1, 4):
        F.adamw_(*lists, step=step)
    (entry,) = tensor_lists._remembered.values()
    table = entry[2]
    grads = [array_of(50 + i) for i in range(3)]
    F.adamw_(lists[0], grads, *lists[2:], step=4)
    (entry,) = tensor_lists._remembered.values()
    assert entry[2] is table  # only the gradients moved
    F.adamw_(lists[0], grads, *lists[2:], step=5, lr_scale=[1.0, 2.0, 3.0])
    (entry,) = tensor_lists._remembered.values()
    assert entry[2] is not table
    for step in range(1, 6):
        options = {"lr_scale": [1.0, 2.0, 3.0]} if step == 5 else {}
        tensor_lists._remembered.clear()
        F.adamw_(copies[0], copies[1] if step < 4 else grads, *copies[2:], step=step, **options)
    for arrays, wanted in zip(lists, copies):
        for one, other in zip(arrays, wanted):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"adamw_: grads\[1\] must be memory apart from exp_avg\[1\]"):
        F.adamw_(lists[0], [grads[0], lists[2][1], grads[2]], *lists[2:], step=6)
    for i in range(200):
        F.sgd_([array_of(i)], [array_of(i)], lr=0.1)
    assert len(tensor_lists._remembered) <= tensor_lists._KEPT


def test_autograd_is_told():
    weight = torch.nn.Parameter(torch.ones(3))
    loss = (weight * weight).sum()
    F.sgd_([weight], [torch.ones(3)], lr=0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("seed", range(20))
def test_layouts_at_random(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 4, rng.integers(1, 5)))
    axes = rng.permutation(len(shape))
    back = np.argsort(axes)

    def laid_out():
        return rng.standard_normal(tuple(np.array(shape)[axes])).astype(np.float32).transpose(back)

    param, grad, other = laid_out(), laid_out(), rng.standard_normal(shape).astype(np.float32)
    wanted = param - 0.5 * grad
    F.sgd_([param], [grad], lr=0.5)
    np.testing.assert_array_equal(param, wanted)
    same = all(a == b or n == 1 for a, b, n in zip(other.strides, param.strides, shape))
    if not same:
        refused(lambda: F.sgd_([param], [other], lr=0.5), r"grads\[0\] must be laid out as its parameter")
    tensors = [torch.from_numpy(param), torch.from_numpy(grad)]
    F.sgd_([tensors[0]], [tensors[1]], lr=0.5)
    np.testing.assert_allclose(param, wanted - 0.5 * grad, rtol=1e-6)
