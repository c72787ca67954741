"""What kinds of arrays fastnn.functional steps over, and what it refuses: messages, and that nothing was changed."""

import array
import ctypes

import ml_dtypes
import numpy as np
import pytest
from spoilt import read_only, refused, strided, swapped, unaligned

from fastnn import functional as F  # noqa: N812
from fastnn.functional import tensor_lists

torch = pytest.importorskip("torch")


def numbers(seed, shape=(3, 4)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class OnlyDlpack:
    """An array of a framework that knows DLPack alone, in its form of 2023 or in the one before."""

    def __init__(self, memory, old=False):
        self.memory = memory
        if old:
            self.__dlpack__ = None

    def __dlpack__(self, **options):
        return self.memory.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.memory.__dlpack_device__()


class OldDlpack(OnlyDlpack):
    def __dlpack__(self):
        return torch.from_numpy(self.memory).__dlpack__()


class FakeCuda:
    """What CuPy, Numba or PyTorch say of an array on a device."""

    def __init__(self, memory, read_only=False, strides=None):
        self.__cuda_array_interface__ = {
            "data": (memory.__array_interface__["data"][0], read_only),
            "typestr": memory.dtype.str,
            "shape": memory.shape,
            "strides": strides,
            "version": 3,
        }


class FakeCupy(FakeCuda):
    """CuPy's arrays have DLPack too, which would ask the device for a stream."""

    def __dlpack__(self, **options):
        raise AssertionError("would make a stream wait")


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
    plain = [[numbers(10 * k + i) for i in range(count)] for k in range(4)]
    plain[3] = [np.abs(v) for v in plain[3]]
    given = [[make(memory) for memory in arrays] for arrays in plain]
    for step in (1, 2):
        assert F.adamw_(*plain, step=step, lr=0.1) and F.adamw_(*given, step=step, lr=0.1)
    for arrays, wanted in zip(given, plain):
        for one, other in zip(arrays, wanted):
            np.testing.assert_array_equal(values(one), other.ravel())


def test_kinds_may_differ_within_a_call():
    memory = [numbers(k) for k in range(4)]
    plain = [[m.copy()] for m in memory]
    mixed = [[KINDS[kind](m)] for kind, m in zip(("torch's parameter", "NumPy", "DLPack", "NumPy"), memory)]
    plain[3][0][...] = mixed[3][0][...] = np.abs(memory[3])
    F.adamw_(*plain, step=3)
    F.adamw_(*mixed, step=3)
    for one, other in zip(mixed, plain):
        np.testing.assert_array_equal(values(one[0]), other[0].ravel())


def test_tuples_and_empty_lists():
    params, grads = (numbers(0),), (numbers(1),)
    assert F.sgd_(params, grads, lr=0.1) and F.sgd_([], [], lr=0.1) and F.adamw_([], [], [], [], step=1)
    assert F.sgd_([np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.float32)], lr=0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_of_numpy_and_torch(dtype):
    narrow = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[dtype]
    memory = [numbers(0), numbers(1), np.zeros((3, 4)), np.zeros((3, 4))]
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
    F.adamw_(arrays[0], [numbers(1)], [numbers(2)], [np.abs(numbers(3))], step=1)


def test_remembered_tables():
    tensor_lists._remembered.clear()
    lists = [[numbers(10 * k + i) for i in range(3)] for k in range(4)]
    lists[3] = [np.abs(v) for v in lists[3]]
    copies = [[a.copy() for a in arrays] for arrays in lists]
    for step in range(1, 4):
        F.adamw_(*lists, step=step)
    (entry,) = tensor_lists._remembered.values()
    table = entry[2]
    grads = [numbers(50 + i) for i in range(3)]
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
        F.sgd_([numbers(i)], [numbers(i)], lr=0.1)
    assert len(tensor_lists._remembered) <= tensor_lists._KEPT


def test_autograd_is_told():
    weight = torch.nn.Parameter(torch.ones(3))
    loss = (weight * weight).sum()
    F.sgd_([weight], [torch.ones(3)], lr=0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def call(place, spoil):
    """A step in which the array `place` of the second tensor is spoilt, after which the others are as they were."""
    lists = {name: [numbers(k), numbers(k + 9)] for k, name in enumerate(("params", "grads", "exp_avg", "exp_avg_sq"))}
    before = {name: [a.copy() for a in arrays] for name, arrays in lists.items()}
    lists[place][1] = spoil(lists[place][1])

    def run():
        try:
            F.adamw_(*lists.values(), step=1)
        finally:
            for name, arrays in lists.items():
                np.testing.assert_array_equal(arrays[0], before[name][0])

    return run


def on(device):
    return lambda memory: torch.empty(memory.shape, device=device)


SPOILT = {
    "list": (np.ndarray.tolist, TypeError, r"an array \(of NumPy, torch, CuPy or anything with DLPack"),
    "None": (lambda a: None, TypeError, "an array .*, got None"),
    "float64": (lambda a: a.astype(float), ValueError, "float32.*, got float64"),
    "int64": (lambda a: a.astype(int), ValueError, "float32.*, got int64"),
    "float64 of torch": (lambda a: torch.from_numpy(a).double(), ValueError, "float32.*, got float64"),
    "complex of torch": (lambda a: torch.zeros(3, 4, dtype=torch.cfloat), ValueError, "float32.*, got complex64"),
    "byte-swapped": (swapped, ValueError, "a native, aligned array, got a byte-swapped one"),
    "unaligned": (unaligned, ValueError, "a native, aligned array, got an unaligned one"),
    "gaps": (strided, ValueError, r"dense, without gaps or overlaps, got shape .*\. Pass a contiguous copy"),
    "overlaps": (lambda a: np.broadcast_to(a[:1], (3, 4)), ValueError, "dense|writable"),
    "gaps of torch": (lambda a: torch.zeros(3, 8)[:, ::2], ValueError, "dense, without gaps or overlaps"),
    "expanded": (lambda a: torch.zeros(3, 1).expand(3, 4), ValueError, "dense, without gaps or overlaps"),
    "sparse": (lambda a: torch.eye(3).to_sparse(), TypeError, "dense, got a tensor of layout torch.sparse_coo"),
    "meta": (on("meta"), ValueError, "on the CPU or a CUDA device, got a tensor on meta"),
    "CUDA": (FakeCuda, ValueError, r"on the CPU, got an array on a cuda device\. This version has no CUDA kernels"),
    "CuPy": (FakeCupy, ValueError, "on the CPU, got an array on a cuda device"),
    "shape": (lambda a: a.ravel(), ValueError, r"laid out as its parameter, shape .*, got shape"),
    "order": (np.asfortranarray, ValueError, r"laid out as its parameter, shape .*, got shape"),
    "another dtype": (lambda a: a.astype(np.float16), ValueError, "float32, as .*, got float16. Call adamw_ once"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("place", ["params", "grads", "exp_avg", "exp_avg_sq"])
def test_arrays_that_are_refused(place, name):
    spoil, error, message = SPOILT[name]
    # A parameter that is spoilt in its layout makes the others not fit.
    where = r"(params|grads)\[1\]" if place == "params" else rf"{place}\[1\]"
    refused(call(place, spoil), f"^adamw_: {where} must be ({message})", error)


@pytest.mark.parametrize("place", ["params", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("kind", ["NumPy", "DLPack", "memoryview", "bytes", "CUDA"])
def test_what_is_written_must_be_writable(place, kind):
    def spoil(memory):
        frozen = read_only(memory)
        kinds = {
            "NumPy": lambda: frozen,
            "DLPack": lambda: OnlyDlpack(frozen),
            "memoryview": lambda: memoryview(frozen),
        }
        kinds |= {"bytes": lambda: memoryview(memory.tobytes()), "CUDA": lambda: FakeCuda(memory, read_only=True)}
        return kinds[kind]()

    refused(
        call(place, spoil), rf"^adamw_: {place}\[1\] must be writable, since the result goes there, got a read-only"
    )


def test_gradients_may_be_read_only():
    params, grads = [numbers(0)], [read_only(numbers(1))]
    wanted = params[0] - 0.5 * grads[0]
    F.sgd_(params, grads, lr=0.5)
    np.testing.assert_array_equal(params[0], wanted)


def test_arrays_of_jax_are_refused():
    jnp = pytest.importorskip("jax.numpy")
    ones = jnp.ones((3, 4))
    message = r"^adamw_: {}\[1\] must be an array {}, got a JAX array, which can't. Use fastnn.jax."
    refused(call("params", lambda _: ones), message.format("params", "that can be changed in place"), TypeError)
    refused(call("exp_avg", lambda _: ones), message.format("exp_avg", "that can be changed in place"), TypeError)
    refused(call("grads", lambda _: ones), message.format("grads", "of another framework"), TypeError)


def test_all_on_a_device_is_refused_too():
    cuda = [[FakeCuda(numbers(0))] for _ in range(2)]
    refused(lambda: F.sgd_(*cuda, lr=0.1), r"^sgd_: params\[0\] must be on the CPU, got an array on a cuda device")


def test_dtypes_that_do_not_go_together():
    wide, narrow = [np.ones(3)], [np.ones(3, np.float16)]
    refused(
        lambda: F.sgd_(wide, wide, lr=0.1), r"^sgd_: params\[0\] must be float32 or bfloat16 or float16, got float64"
    )
    refused(lambda: F.sgd_([numbers(0, 3)], narrow, lr=0.1), r"^sgd_: grads\[0\] must be float32, got float16")
    states = [np.zeros(3, np.uint8)]
    refused(
        lambda: F.lion_([numbers(0, 3)], [numbers(1, 3)], states),
        r"^lion_: exp_avg\[0\] must be .*, got uint8. A state of 8 bits needs its scales={'exp_avg': \[...\]}.",
    )


def test_arrays_that_overlap_are_refused():
    memory = np.zeros(64, np.float32)
    one, other, apart = memory[:12], memory[8:20], memory[40:52]
    refused(lambda: F.sgd_([one], [one], lr=0.1), r"^sgd_: grads\[0\] must be memory apart from params\[0\]")
    refused(
        lambda: F.sgd_([one, other], [apart, apart], lr=0.1), r"^sgd_: params\[1\] must be memory apart from params"
    )
    refused(
        lambda: F.adamw_([one], [apart], [numbers(0, 12)], [other], step=1),
        r"^adamw_: exp_avg_sq\[0\] must be memory apart from params\[0\]",
    )
    F.sgd_([one, memory[12:24]], [apart, apart], lr=0.1)  # gradients are only read, and may be the same


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
