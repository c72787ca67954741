"""The arrays that fastnn.functional refuses: messages, and that nothing was changed."""

import numpy as np
import pytest
import torch
from functional_runs import FakeCuda, FakeCupy, OnlyDlpack, array_of
from spoilt import read_only, refused, strided, swapped, unaligned

from fastnn import functional as F  # noqa: N812


def call(place, spoil):
    """A step in which the array `place` of the second tensor is spoilt, after which the others are as they were."""
    lists = {
        name: [array_of(k), array_of(k + 9)] for k, name in enumerate(("params", "grads", "exp_avg", "exp_avg_sq"))
    }
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
    "CUDA": (FakeCuda, ValueError, r"on the CPU, as params\[0\], got an array on device cuda"),
    "CuPy": (FakeCupy, ValueError, r"on the CPU, as params\[0\], got an array on device cuda"),
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
    params, grads = [array_of(0)], [read_only(array_of(1))]
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
    cuda = [[FakeCuda(array_of(0))] for _ in range(2)]
    remedy = r"(This version has no CUDA kernels|Without a driver)"
    refused(
        lambda: F.sgd_(*cuda, lr=0.1), rf"^sgd_: params\[0\] must be on the CPU, got an array on device cuda. {remedy}"
    )


def test_dtypes_that_do_not_go_together():
    wide, narrow = [np.ones(3)], [np.ones(3, np.float16)]
    refused(
        lambda: F.sgd_(wide, wide, lr=0.1), r"^sgd_: params\[0\] must be float32 or bfloat16 or float16, got float64"
    )
    refused(lambda: F.sgd_([array_of(0, 3)], narrow, lr=0.1), r"^sgd_: grads\[0\] must be float32, got float16")
    states = [np.zeros(3, np.uint8)]
    refused(
        lambda: F.lion_([array_of(0, 3)], [array_of(1, 3)], states),
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
        lambda: F.adamw_([one], [apart], [array_of(0, 12)], [other], step=1),
        r"^adamw_: exp_avg_sq\[0\] must be memory apart from params\[0\]",
    )
    F.sgd_([one, memory[12:24]], [apart, apart], lr=0.1)  # gradients are only read, and may be the same
