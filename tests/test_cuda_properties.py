"""The CUDA kernels, emulated, against the CPU's on rows drawn at random: shapes, parameters, addresses, thread orders.

What is copied, compared, counted or added up in the same order has the same bits on both; the rest is near.
"""

import os

import numpy as np
import pytest
from case import arrays_in, map_arrays
from emulator import rows
from emulator.device_arrays import on_device
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from makers import global_pooling, pooling
from normalization_makers import batch_norm, layer_norm
from tolerances import difference
from training_makers import crop_flip, dropout, embedding, gather, loss, metric

from fastnn import _backend

# Sums of floats in the order of windows and ids, as on the CPU, and no product that may be contracted with a sum.
SAME_BITS = {"max_pool2d_forward", "max_pool2d_backward", "average_pool2d_forward", "global_max_pool_forward"}
SAME_BITS |= {"global_max_pool_backward", "dropout", "gather_rows", "crop_flip_forward", "crop_flip_backward"}
SAME_BITS |= {"embedding_forward", "embedding_backward"}

tries = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
flags = st.booleans()
sizes = st.integers(0, 9)
widths = st.sampled_from([1, 2, 3, 4, 5, 8, 12, 33, 64, 70, 128, 132])
corners = st.tuples(st.integers(-9, 9), sizes)
orders = st.integers(0, 3)
places = st.tuples(orders, st.sampled_from([0, 4]))  # seed of the order of threads; bytes after a multiple of 64


def placed(array, offset):
    """A copy that begins `offset` bytes, rounded up to whole items, after a multiple of 64."""
    offset = -(-offset // array.dtype.itemsize) * array.dtype.itemsize
    block = np.empty(array.nbytes + 128, np.uint8)
    start = -block.ctypes.data % 64 + offset
    copy = np.ndarray(array.shape, array.dtype, block.data, start)
    copy[...] = array
    return copy


def outputs(case, kernels, offset, wrap):
    arguments = {name: map_arrays(lambda a: placed(a, offset), value) for name, value in case.arguments().items()}
    for output, source in case.alias.items():
        arguments[output] = arguments[source]
    case.call(kernels, wrap(arguments))()
    return {name: arguments[name] for name in case.outputs}


def check(case, place):
    order, offset = place
    previous = os.environ.get("CUEMU_SEED")
    rows.in_order(order)
    try:
        on_gpu = outputs(case, rows.load("plain"), offset, on_device)
    finally:
        os.environ.pop("CUEMU_SEED") if previous is None else rows.in_order(previous)
    on_cpu = outputs(case, _backend.kernels, 0, lambda arguments: arguments)
    for name in case.outputs:
        for one, other in zip(arrays_in(on_gpu[name]), arrays_in(on_cpu[name]), strict=True):
            if case.kernel in SAME_BITS:
                assert one.tobytes() == other.tobytes(), f"{case.name}: {name} has other bits"
            else:
                found = difference(one, other, "cpu and cuda")
                assert not found, f"{case.name}: {name}: {found}"


@st.composite
def axes(draw):
    """(size, window, stride, padding before, padding after) of an axis of a pooling."""
    size, window = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    before, after = draw(st.integers(0, window - 1)), draw(st.integers(0, window - 1))
    assume(window <= size + before + after)
    return size, window, draw(st.integers(1, 4)), before, after


@tries
@given(st.integers(0, 3), widths, axes(), axes(), flags, flags, places)
def test_pooling(n, c, vertical, horizontal, index, ties, place):
    (h, kh, sh, top, bottom), (w, kw, sw, left, right) = vertical, horizontal
    padding = (top, bottom, left, right)
    for case in pooling(n, h, w, c, (kh, kw), (sh, sw), padding, index=np.uint8 if index else None, ties=ties):
        check(case, place)


@tries
@given(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), widths, flags, flags, places)
def test_global_pooling(n, h, w, c, index, ties, place):
    for case in global_pooling(n, h, w, c, index=index, ties=ties):
        check(case, place)


@tries
@given(sizes, sizes, st.sampled_from([0.0, 0.3, 0.9]), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1),
       st.integers(0, 2**32 - 1), flags, places)  # fmt: skip
def test_dropout(n, m, rate, seed, counter, stream, in_place, place):
    check(dropout(n, m, rate=rate, seed=seed, counter=counter, stream=stream, in_place=in_place), place)


@tries
@given(st.integers(1, 9), st.lists(sizes, max_size=2), sizes, st.sampled_from(["u1", "i2", "f4", "f8", "?"]), places)
def test_gather(n, shape, count, dtype, place):
    check(gather(n, tuple(shape), count, np.dtype(dtype).type), place)


@tries
@given(st.integers(0, 5), st.tuples(sizes, sizes, widths), st.tuples(sizes, sizes), corners, corners,
       st.sampled_from(["", "h", "v", "hv"]), st.integers(0, 2**64 - 1), st.integers(0, 2**40), places)  # fmt: skip
def test_crop_flip(n, image, out, top, left, flips, seed, step, place):
    top, left = (top[0], top[0] + top[1]), (left[0], left[0] + left[1])
    for case in crop_flip(n, *image, out, top, left, flips, seed=seed, step=step):
        check(case, place)


@tries
@given(st.integers(1, 9), widths, st.integers(0, 90), st.sampled_from([np.int32, np.int64]), flags,
       st.sampled_from([0.0, 0.8]), places)  # fmt: skip
def test_embedding(entries, width, count, dtype, accumulate, common, place):
    for case in embedding(entries, width, count, dtype, accumulate, common):
        check(case, place)


LOSSES = ["sparse_softmax_cross_entropy", "softmax_cross_entropy", "sparse_cross_entropy", "cross_entropy"]
LOSSES += ["sigmoid_cross_entropy", "binary_cross_entropy", "mean_squared_error", "mean_absolute_error", "huber"]
LONG = st.one_of(st.integers(1, 40), st.sampled_from([128, 129, 300, 512, 700, 1024, 1025, 1500]))


@tries
@pytest.mark.parametrize("kernel", LOSSES)
@given(st.integers(0, 40), LONG, flags, flags, flags, st.floats(0.01, 2.0), st.floats(0.0, 0.5), places)
def test_losses(kernel, n, c, weights, gradient, in_place, scale, number, place):
    assume(n * c < 6000)
    options = {} if kernel.startswith(("sparse", "mean")) else {"label_smoothing": number}
    options = {"delta": number + 0.1} if kernel == "huber" else options
    check(loss(kernel, n, c, weights, gradient, in_place and gradient, scale=scale, **options), place)


@pytest.mark.parametrize("kernel", LOSSES[:4])
@pytest.mark.parametrize("n, c, in_place", [(2, 8193, False), (1, 8200, True), (3, 5000, True)])
def test_losses_of_very_long_rows(kernel, n, c, in_place):
    check(loss(kernel, n, c, in_place=in_place), (1, 0))


@tries
@pytest.mark.parametrize("kernel", ["sparse_categorical_matches", "categorical_matches", "absolute_error",
                                    "squared_error", "top_k_matches", "binary_matches"])  # fmt: skip
@given(st.integers(0, 40), LONG, flags, flags, st.integers(1, 5), places)
def test_metrics(kernel, n, c, weights, ties, k, place):
    assume(n * c < 6000)
    ties = ties and kernel.endswith("matches")  # has NaN, which an error would be too
    options = {"k": k} if kernel == "top_k_matches" else {"threshold": 0.5} if kernel == "binary_matches" else {}
    check(metric(kernel, n, c, weights=weights, ties=ties, **options), place)


@tries
@given(st.integers(0, 40), st.integers(1, 9), flags, flags, st.sets(st.floats(-1, 2, width=32), min_size=1, max_size=9),
       places)  # fmt: skip
def test_confusion_counts(n, c, weights, ties, thresholds, place):
    check(metric("confusion_counts", n, c, weights=weights, ties=ties, thresholds=tuple(sorted(thresholds))), place)


@tries
@given(st.integers(0, 70), widths, flags, flags, flags, flags, st.sampled_from([0.0, 1.0, 30.0]),
       st.floats(1e-5, 1.0), places)  # fmt: skip
def test_batch_norm(n, c, gamma, beta, accumulate, in_place, offset, eps, place):
    for case in batch_norm(n, c, 0.9, eps, gamma, beta, accumulate=accumulate, in_place=in_place, offset=offset):
        check(case, place)


@tries
@given(st.integers(0, 40), LONG, flags, flags, flags, flags, flags, st.floats(1e-5, 1.0), places)
def test_layer_norm(n, c, gamma, beta, keep, accumulate, in_place, eps, place):
    assume(n * c < 6000 and c > 1)
    for case in layer_norm(n, c, eps, gamma, beta, keep, accumulate=accumulate, in_place=in_place):
        check(case, place)
