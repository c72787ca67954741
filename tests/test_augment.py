"""The one-pass augmentation against a per-sample NumPy reference, and its draws against published Philox numbers."""

import numpy as np
import pytest

import fastnn
from fastnn import layers
from fastnn.data import Augment, _augment
from fastnn.data.transforms import BatchMaker

SHAPES = [(1, 1, 1), (8, 8, 1), (5, 7, 3), (17, 13, 2), (3, 31, 4)]
FLIPS = [None, "horizontal", "vertical", "horizontal_and_vertical"]


def reference(x, index, moves, out_size, scale, mean, std):
    """Pad, slice, flip and normalise sample by sample in float64."""
    height, width = out_size
    batch = []
    for i, (top, left, horizontal, vertical) in zip(index, moves):
        pad = 64
        image = np.pad(x[i].astype(np.float64), ((pad, pad), (pad, pad), (0, 0)))
        image = image[pad + top : pad + top + height, pad + left : pad + left + width]
        image = image[:, ::-1] if horizontal else image
        image = image[::-1] if vertical else image
        batch.append((image * scale - mean) / std)
    return np.stack(batch)


def stored(shape, dtype, n=11):
    rng = np.random.default_rng(7)
    values = rng.integers(0, 256, (n, *shape), np.uint8)
    return values if dtype == np.uint8 else rng.normal(size=values.shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_matches_numpy(shape, flip, dtype):
    x = stored(shape, dtype)
    mean, std = np.linspace(0.1, 0.5, shape[2]), np.linspace(0.5, 2, shape[2])
    augment = Augment(crop=(max(shape[0] - 1, 1), shape[1] + 2), padding=2, flip=flip)
    maker = BatchMaker(shape, augment, 1 / 255, mean, std)
    index = np.array([3, 0, 10, 3, 7, 1], np.int64)
    out = np.full((6, *maker.shape), np.nan, np.float32)
    maker.make(x, index, out, seed=5, epoch=2)
    moves = augment.draw(index, *shape[:2], seed=5, epoch=2)
    np.testing.assert_allclose(
        out, reference(x, index, moves, maker.shape[:2], 1 / 255, mean, std), rtol=2e-6, atol=2e-6
    )


@pytest.mark.parametrize("shape", [(), (1,), (13,), (6, 5), (40, 40, 3), (2, 3, 4, 5)])
def test_without_augmentation_any_rank_is_gathered_and_normalised(shape):
    x = stored((*shape, 1), np.uint8).reshape(11, *shape)
    maker = BatchMaker(shape, None, 0.5, 3, 4)
    index = np.array([10, 0, 0, 5], np.int64)
    out = np.empty((4, *shape), np.float32)
    maker.make(x, index, out)
    np.testing.assert_allclose(out, (x[index] * 0.5 - 3) / 4, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("corner", [(-9, 0), (0, -9), (9, 9), (-8, -8), (7, -7)])
@pytest.mark.parametrize("horizontal", [0, 1])
def test_a_crop_may_lie_outside_of_the_image(corner, horizontal):
    x = stored((8, 8, 2), np.float32, n=1)
    moves = np.array([[*corner, horizontal, 0]], np.int32)
    out = np.empty((1, 8, 8, 2), np.float32)
    _augment.gather(x, np.zeros(1, np.int64), out, moves, np.ones(16, np.float32), np.zeros(16, np.float32))
    np.testing.assert_array_equal(out, reference(x, [0], moves, (8, 8), 1, 0, 1))


def test_draws_are_philox4x32_10():
    """Known answers of Random123 (kat_vectors, philox4x32 10)."""
    moves = np.empty((1, 4), np.int32)
    full = (0, 2**31 - 1)
    ones = 2**64 - 1
    for seed, index, epoch, stream, words in (
        (0, 0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (ones, -1, 2**32 - 1, 2**32 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ):
        _augment.draw(moves, np.array([index], np.int64), seed, epoch, stream, full, full, True, True)
        assert tuple(moves[0]) == (words[0] >> 1, words[1] >> 1, words[2] >> 31, words[3] >> 31)


def test_draws_cover_their_range_evenly():
    augment = Augment(padding=2, flip="horizontal_and_vertical")
    moves = augment.draw(np.arange(50_000), 8, 8, seed=3, epoch=0)
    for column in (0, 1):
        values, counts = np.unique(moves[:, column], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-2, 3))
        np.testing.assert_allclose(counts / 50_000, 0.2, atol=0.01)
    np.testing.assert_allclose(moves[:, 2:].mean(0), 0.5, atol=0.01)
    assert abs(np.corrcoef(moves.T) - np.eye(4)).max() < 0.03


def test_a_draw_depends_on_seed_epoch_stream_and_sample_only():
    augment = Augment(padding=30, flip="horizontal")
    index = np.arange(100)
    moves = augment.draw(index, 8, 8, seed=1, epoch=1)
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(augment.draw(index[order], 8, 8, seed=1, epoch=1), moves[order])
    for other in ({"seed": 2, "epoch": 1}, {"seed": 1, "epoch": 2}, {"seed": 1, "epoch": 1, "stream": 1}):
        assert (augment.draw(index, 8, 8, **other) != moves).any(1).mean() > 0.9


def test_memory_is_safe_at_the_border():
    x, out = np.zeros((2, 3, 3, 1), np.uint8), np.zeros((1, 3, 3, 1), np.float32)
    row, moves = np.zeros(3, np.float32), np.zeros((1, 4), np.int32)
    one = np.zeros(1, np.int64)
    with pytest.raises(IndexError, match=r"gather: index must be in \[0, 2\), got 2 at position 0"):
        _augment.gather(x, one + 2, out, moves, row, row)
    with pytest.raises(IndexError, match=r"got -1 at position 0"):
        _augment.gather(x, one - 1, out, moves, row, row)
    with pytest.raises(ValueError, match=r"gather: out must be of shape \(2, height, width, 1\), got \(1, 3, 3, 1\)"):
        _augment.gather(x, np.zeros(2, np.int64), out, moves, row, row)
    with pytest.raises(ValueError, match=r"gather: moves must be of shape \(1, 4\), got \(1, 3\)"):
        _augment.gather(x, one, out, np.zeros((1, 3), np.int32), row, row)
    with pytest.raises(ValueError, match="gather: scale and shift must be of length 3, got 3 and 2"):
        _augment.gather(x, one, out, moves, row, row[:2])
    with pytest.raises(ValueError, match=r"draw: moves must be of shape \(1, 4\), got \(2, 4\)"):
        _augment.draw(np.zeros((2, 4), np.int32), one, 0, 0, 0, (0, 0), (0, 0), False, False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"crop": 3}, r"Augment: crop must be two whole numbers of at least 1, got 3"),
        ({"crop": (0, 4)}, r"Augment: crop must be two whole numbers of at least 1, got \(0, 4\)"),
        ({"crop": (2.5, 4)}, r"Augment: crop must be two whole numbers of at least 1, got \(2.5, 4\)"),
        ({"padding": -1}, r"Augment: padding must be a whole number of at least 0, got -1"),
        ({"flip": "diagonal"}, r"Augment: flip must be one of None, 'horizontal', .*, got 'diagonal'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augment(**arguments)


def test_bad_shapes_and_normalisation():
    with pytest.raises(
        ValueError, match=r"Augment: crop must be at most the padded image's size \(10, 10\), got \(8, 11\)"
    ):
        BatchMaker((8, 8, 1), Augment(crop=(8, 11), padding=1))
    with pytest.raises(ValueError, match=r"x must be images of shape \(n, height, width, channels\) for augment, got"):
        BatchMaker((8, 8), Augment(padding=1))
    with pytest.raises(TypeError, match="augment must be None or a fastnn.data.Augment, got str"):
        BatchMaker((8, 8, 1), "flip")
    with pytest.raises(ValueError, match="mean must be a number or one number for each of the 3 channels, got"):
        BatchMaker((8, 8, 3), None, mean=[1, 2])
    with pytest.raises(ValueError, match="std must be finite and positive, got 0"):
        BatchMaker((8, 8, 3), None, std=0)
    with pytest.raises(ValueError, match="scale must be finite, got nan"):
        BatchMaker((8, 8, 3), None, scale=float("nan"))


def layer_pair(layer, x):
    """The layer's output in training, and the moves that an ``Augment`` draws from the same numbers."""
    y = layer(x, training=True)
    seed, step = layer.random_state.tolist()
    return y, layer.augment.draw(np.arange(len(x)), *x.shape[1:3], seed, step, layer.stream)


@pytest.mark.parametrize("mode", FLIPS[1:])
def test_random_flip(mode):
    x = stored((5, 6, 3), np.float32, n=64)
    layer = layers.RandomFlip(mode, seed=3)
    y, moves = layer_pair(layer, x)
    np.testing.assert_array_equal(y, reference(x, range(64), moves, (5, 6), 1, 0, 1).astype(np.float32))
    assert 0 < moves[:, 2].sum() < 64 or mode == "vertical"
    assert 0 < moves[:, 3].sum() < 64 or mode == "horizontal"
    assert (layer(x, training=True) != y).any()  # the next step draws anew
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layers.RandomFlip(mode, seed=3)(x, training=True), y)


@pytest.mark.parametrize("size, padding", [((4, 3), 0), ((6, 7), 2), ((9, 8), 3)])
def test_random_crop(size, padding):
    x = stored((6, 7, 2), np.float32, n=32)
    layer = layers.RandomCrop(*size, seed=1, padding=padding)
    y, moves = layer_pair(layer, x)
    assert layer.output_shape == (*size, 2) and len(np.unique(moves[:, :2], axis=0)) > 4 and not moves[:, 2:].any()
    np.testing.assert_array_equal(y, reference(x, range(32), moves, size, 1, 0, 1).astype(np.float32))
    centre = [[(6 - size[0]) // 2, (7 - size[1]) // 2, 0, 0]] * 32
    np.testing.assert_array_equal(layer(x), reference(x, range(32), centre, size, 1, 0, 1).astype(np.float32))


@pytest.mark.parametrize("layer", [("crop", 4, 9, 2), ("crop", 6, 7, 1), ("flip", "horizontal_and_vertical")])
def test_gradients_are_the_transpose(layer):
    """<layer(x), dy> = <x, backward(dy)> for every x and dy, because the layer is linear."""
    kind, *arguments = layer
    layer = (
        layers.RandomFlip(*arguments, seed=5) if kind == "flip" else layers.RandomCrop(*arguments[:2], 5, arguments[2])
    )
    x = stored((6, 7, 2), np.float32, n=9)
    y = layer(x, training=True)
    dy = np.random.default_rng(2).normal(size=y.shape).astype(np.float32)
    dx = layer.backward(dy, need_dx=True, accumulate=False)
    np.testing.assert_allclose(np.vdot(y.astype(float), dy), np.vdot(x.astype(float), dx), rtol=1e-5)
    assert layer.backward(dy, need_dx=False, accumulate=False) is None


def test_layers_follow_set_seed_and_survive_a_config():
    x = stored((8, 8, 1), np.float32, n=16)
    outputs = []
    for _ in range(2):
        fastnn.set_seed(11)
        outputs.append(layers.RandomCrop(8, 8, padding=3)(x, training=True))
    np.testing.assert_array_equal(*outputs)
    for layer in (layers.RandomCrop(4, 5, seed=2, padding=1), layers.RandomFlip("vertical", name="f")):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_layers_say_what_is_wrong():
    with pytest.raises(ValueError, match="RandomFlip: mode must be one of 'horizontal', .*, got 'left'"):
        layers.RandomFlip("left")
    with pytest.raises(ValueError, match="RandomCrop: height must be a whole number of at least 1, got 0"):
        layers.RandomCrop(0, 3)
    with pytest.raises(ValueError, match=r"random_flip: input_shape must be \(height, width, channels\), got \(5,\)"):
        layers.RandomFlip()(np.zeros((2, 5), np.float32))
    with pytest.raises(
        ValueError, match=r"Augment: crop must be at most the padded image's size \(8, 8\), got \(9, 8\)"
    ):
        layers.RandomCrop(9, 8)(np.zeros((2, 8, 8, 1), np.float32))
