"""What CUDA kernels, emulated, make of content that nobody could check before they ran; and what only GPUs have."""

import numpy as np
import pytest
from emulator import rows
from emulator.device_arrays import DeviceArray

from fastnn.data import _augment

LABEL_LOSSES = ("sparse_softmax_cross_entropy", "sparse_cross_entropy")
LABEL_METRICS = ("sparse_categorical_matches", "top_k_matches")


@pytest.fixture(scope="module")
def kernels():
    return rows.load("plain")


@pytest.fixture(autouse=True)
def order(monkeypatch):
    monkeypatch.setenv("CUEMU_SEED", "1")


def device(values, dtype=None):
    return np.array(values, dtype).view(DeviceArray)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype).view(DeviceArray)


def uniform(*shape):
    return device(np.random.default_rng(3).random(shape), np.float32)


# ---- content


@pytest.mark.parametrize("cols", [7, 40, 1030])
@pytest.mark.parametrize("bad", [-1, "cols", 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("kernel", LABEL_LOSSES)
def test_label_outside_of_the_row_gives_a_loss_of_nan(kernels, kernel, bad, cols):
    pred, labels = uniform(5, cols), device([0, 1, cols - 1, cols if bad == "cols" else bad, 2], np.int32)
    gradient, total = zeros(5, cols), zeros(1, dtype=np.float64)
    getattr(kernels, kernel)(pred, labels, None, gradient, total, 1.0)
    assert np.isnan(total[0])
    assert np.isnan(gradient[3]).all()
    assert np.isfinite(gradient[[0, 1, 2, 4]]).all()


@pytest.mark.parametrize("cols", [7, 40, 1030])
@pytest.mark.parametrize("bad", [-1, "cols", 2**31 - 1])
@pytest.mark.parametrize("kernel", LABEL_METRICS)
def test_label_outside_of_the_row_gives_a_metric_of_nan(kernels, kernel, bad, cols):
    pred, labels = uniform(3, cols), device([0, cols if bad == "cols" else bad, 2], np.int32)
    state = zeros(2, dtype=np.float64)
    more = {"k": 2} if kernel == "top_k_matches" else {}
    getattr(kernels, kernel)(pred=pred, labels=labels, weights=None, state=state, **more)
    assert np.isnan(state[0]) and state[1] == 3


@pytest.mark.parametrize("dtype, expected", [(np.float32, np.nan), (np.int64, -1), (np.int16, -1), (np.uint8, 255)])
@pytest.mark.parametrize("width", [1, 16])
def test_number_of_no_row_gives_a_row_of_ones(kernels, dtype, expected, width):
    x, out = device(np.arange(3 * width).reshape(3, width), dtype), zeros(4, width, dtype=dtype)
    kernels.gather_rows(x, device([2, -1, 3, 0]), out)
    np.testing.assert_array_equal(out[[0, 3]], x[[2, 0]])
    np.testing.assert_array_equal(out[1:3], np.full((2, width), expected, dtype))


def test_position_of_no_pixel_gets_no_gradient(kernels):
    dy, dx = uniform(1, 4), zeros(1, 2, 2, 4)
    kernels.global_max_pool_backward(dy, device([[3, -1, 4, 0]], np.int32), dx)
    assert dx[0, 1, 1, 0] == dy[0, 0] and dx[0, 0, 0, 3] == dy[0, 3]
    assert np.count_nonzero(dx) == 2
    dx = zeros(1, 2, 2, 4)
    kernels.max_pool2d_backward(
        uniform(1, 1, 1, 4), device([[[[0, 4, 200, 255]]]], np.uint8), dx, (2, 2), (2, 2), (0,) * 4
    )
    assert np.count_nonzero(dx) == 1


def test_ids_outside_of_the_table(kernels):
    w, y, dw = uniform(3, 5), zeros(3, 5), zeros(3, 5)
    ids = device([1, 3, -1])
    kernels.embedding_forward(w, ids, y)
    np.testing.assert_array_equal(y[0], w[1])
    assert np.isnan(y[1:]).all()
    kernels.embedding_backward(ids, y, dw, False)
    np.testing.assert_array_equal(dw, [np.zeros(5), w[1], np.zeros(5)])


def test_thresholds_that_do_not_ascend(kernels):
    counts = zeros(4, 2, dtype=np.float64)
    kernels.confusion_counts(
        device([[0.3], [0.7]], "f4"), device([[1], [1]], "f4"), None, device([0.9, 0.5], "f4"), counts
    )
    np.testing.assert_array_equal(counts, [[0, 1], [0, 0], [0, 0], [2, 1]])


# ---- the state of a step


def test_state_of_a_step_moves_on(kernels):
    order, position, slot = device(np.arange(10, 15)), zeros(1, dtype=np.int64), zeros(1, dtype=np.int64)
    index, total, losses = zeros(2, dtype=np.int64), device([7.0]), zeros(3, dtype=np.float64)
    rates, rate, step = device([0.5, 0.25]), zeros(1, dtype=np.float64), zeros(1, dtype=np.int64)
    state = device([3, 2**64 - 1], np.uint64)
    seen = []
    for _ in range(3):
        total[0] += 1
        before = total[0]
        kernels.begin_batch(order, position, index, 2, total)
        assert total[0] == 0
        total[0] = before
        kernels.store_loss(total, losses, slot)
        kernels.begin_update(rates, slot, rate, step)
        kernels.advance_random(state)
        kernels.end_batch(position, slot)
        seen.append((*index, rate[0]))
    assert seen[:2] == [(10, 11, 0.5), (12, 13, 0.25)]
    assert seen[2][:2] == (14, -1) and np.isnan(seen[2][2])  # beyond order and rates
    assert list(losses) == [8, 9, 10]
    assert (position[0], slot[0], step[0]) == (3, 3, 3)
    assert list(state) == [3, 2]
    kernels.clear_loss(total)
    assert total[0] == 0


def test_losses_beyond_their_slots_are_dropped(kernels):
    losses = zeros(2, dtype=np.float64)
    for slot in (-1, 2, 10**12):
        kernels.store_loss(device([1.0]), losses, device([slot]))
    assert not losses.any()


@pytest.mark.parametrize("value, finite", [(0.5, True), (np.nan, False), (-np.inf, False)])
def test_value_that_is_not_finite(kernels, value, finite):
    found = zeros(1)
    assert kernels.stop_unless_finite(device([value])) is finite
    kernels.note_nonfinite(device([value]), found)
    assert found[0] == (not finite)


def test_value_can_not_be_read_while_a_graph_is_captured(kernels):
    with (
        kernels.keep_arrays([]),
        pytest.raises(ValueError, match="stop_unless_finite: value must be read while no graph"),
    ):
        kernels.stop_unless_finite(device([1.0]))


# ---- augment_batch, the data path's pass over a batch


def augmented(kernels, x, index, out, scale, shift, top, left, flips, seed, epoch):
    batch = zeros(len(index), *out, x.shape[3])
    arrays = (x.view(DeviceArray), device(index), batch, scale.view(DeviceArray), shift.view(DeviceArray))
    state = device([seed, epoch], np.uint64)
    kernels.augment_batch(*arrays, top, left, "h" in flips, "v" in flips, state, stream=2)
    return batch


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape, out, top, left, flips", [
    ((9, 6, 7, 3), (6, 7), (-2, 2), (-1, 1), "hv"), ((4, 5, 4, 1), (3, 3), (0, 2), (0, 1), "h"),
    ((5, 40, 33, 4), (40, 33), (0, 0), (0, 0), ""), ((3, 4, 4, 2), (9, 9), (-5, 0), (-5, 0), "v"),
])  # fmt: skip
def test_augmented_batch_is_that_of_the_data_path(kernels, dtype, shape, out, top, left, flips):
    rng = np.random.default_rng(5)
    x = (rng.integers(0, 256, shape) if dtype == np.uint8 else rng.standard_normal(shape)).astype(dtype)
    index, c = rng.integers(0, shape[0], 6), shape[3]
    scale, shift = rng.random(c).astype(np.float32), rng.random(c).astype(np.float32)
    batch = augmented(kernels, x, index, out, scale, shift, top, left, flips, seed=2**63 + 1, epoch=3)
    moves, expected = np.empty((6, 4), np.int32), np.empty((6, *out, c), np.float32)
    _augment.draw(moves, index, 2**63 + 1, 3, 2, top, left, "h" in flips, "v" in flips)
    _augment.gather(x, index, expected, moves, np.tile(scale, out[1]), np.tile(shift, out[1]))
    np.testing.assert_allclose(batch, expected, rtol=3e-7, atol=1e-5 if dtype == np.uint8 else 3e-7)


def test_number_of_no_sample_gives_an_image_of_nan(kernels):
    one = np.ones(3, np.float32)
    batch = augmented(kernels, uniform(2, 3, 3, 3), [1, 2, -1], (3, 3), one, one, (0, 0), (0, 0), "", 1, 1)
    assert np.isfinite(batch[0]).all() and np.isnan(batch[1:]).all()


@pytest.mark.parametrize("change, message", [
    ({"x": zeros(2, 3, 3, 3, dtype=np.int32)}, "augment_batch: x must be a float32 array of shape"),
    ({"x": zeros(2, 3, 3)}, r"augment_batch: x must be uint8 or float32 images \[n, h, w, c\], got rank 3"),
    ({"x": zeros(2, 3, 3, 3, dtype=np.float64)}, "augment_batch: x must be uint8 or float32 images"),
    ({"scale": zeros(2)}, r"augment_batch: scale must be a float32 array of shape \(3,\)"),
    ({"top": (1, 0)}, "augment_batch: top must be the smallest and the largest, within a billion, got 1, 0"),
    ({"left": (0, 10**10)}, "augment_batch: left must be the smallest and the largest"),
    ({"stream": -1}, "augment_batch: stream must be 0 to 4294967295, got -1"),
    ({"out": zeros(3, 3, 3, 3)}, "augment_batch: out must be a float32 array of shape"),
])  # fmt: skip
def test_augment_border(kernels, change, message):
    arguments = {"x": zeros(2, 3, 3, 3), "index": device([0, 1]), "out": zeros(2, 3, 3, 3), "scale": zeros(3),
                 "shift": zeros(3), "top": (0, 0), "left": (0, 0), "horizontal": False, "vertical": False,
                 "state": zeros(2, dtype=np.uint64), "stream": 0}  # fmt: skip
    kernels.augment_batch(**arguments)
    with pytest.raises(ValueError, match=message):
        kernels.augment_batch(**{**arguments, **change})
