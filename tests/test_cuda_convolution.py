"""Convolutions on GPUs, by the emulator: channels in fours and not, every tile, and on tensor cores every precision."""

import ml_dtypes
import numpy as np
import pytest
from emulator import rows
from emulator.device_arrays import on_device
from makers import normal
from references.conv import conv2d, conv2d_gradients, output_shape
from tolerances import difference

COMPUTE = ["float32", "tf32", "bfloat16", "float16"]


@pytest.fixture(scope="module")
def kernels():
    return rows.load("plain")


@pytest.fixture(autouse=True)
def _settings(kernels, monkeypatch):
    monkeypatch.setenv("CUEMU_SEED", "1")
    yield
    kernels.set_compute("float32")


def rounded(x, compute):
    """What is multiplied of x, in float64."""
    if compute == "tf32":
        return ((x.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32).astype(np.float64)
    kinds = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
    return x.astype(kinds[compute]).astype(np.float64)


def at_address(array, offset):
    """A copy that begins `offset` bytes after a multiple of 16."""
    block = np.empty(array.nbytes + 32, np.uint8)
    start = -block.ctypes.data % 16 + offset
    copy = block[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class Layer:
    """A convolution with random operands, at aligned addresses or not."""

    def __init__(self, x, w, offset=0, strides=(1, 1), padding=(0, 0, 0, 0), dilations=(1, 1), groups=1):
        self.window = {"strides": strides, "padding": padding, "dilations": dilations}
        self.groups, self.offset = groups, offset
        rng = np.random.default_rng(sum(x) + sum(w))
        self.x, self.w, self.b = normal(rng, *x), normal(rng, *w), normal(rng, w[3])
        self.y_shape = (x[0], *output_shape(self.x, w[:2], *self.window.values()), w[3])
        self.dy, self.saved = normal(rng, *self.y_shape), normal(rng, *self.y_shape)
        self.before = {"dw": normal(rng, *w), "db": normal(rng, w[3])}

    def _call(self, function, options, **arrays):
        arrays = {name: None if a is None else at_address(a, self.offset) for name, a in arrays.items()}
        function(**on_device(arrays), **self.window, groups=self.groups, alpha=0.0, **options)
        return arrays

    def forward(self, kernels, keep_z=False):
        blank = np.full(self.y_shape, np.nan, np.float32)
        options = {"activation": kernels.ACTIVATIONS["relu"]}
        return self._call(kernels.conv2d_forward, options, x=self.x, w=self.w, b=self.b, y=blank,
                          z=blank if keep_z else None)  # fmt: skip

    def backward(self, kernels, accumulate=False, want=("dw", "db", "dx")):
        shapes = {"dw": self.w.shape, "db": self.b.shape, "dx": self.x.shape, "dz": self.y_shape}
        blank = {name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}
        blank.update(dict.fromkeys({"dw", "db", "dx"} - set(want)))
        options = {"activation": kernels.ACTIVATIONS["relu"], "accumulate": accumulate}
        return self._call(kernels.conv2d_backward, options, x=self.x, w=self.w, saved=self.saved, dy=self.dy,
                          **(blank | self.before if accumulate else blank))  # fmt: skip

    def check(self, kernels, compute):
        """What disagrees with the references, for operands rounded to `compute`."""
        kernels.set_compute(compute)
        x, w = rounded(self.x, compute), rounded(self.w, compute)
        z = conv2d(x, w, **self.window, groups=self.groups) + self.b
        for keep_z in (False, True):
            actual = self.forward(kernels, keep_z)
            yield "y", difference(actual["y"], np.maximum(z, 0), "sum")
            if keep_z:
                yield "z", difference(actual["z"], z, "sum")
        dz = np.where(self.saved > 0, self.dy, np.float32(0))
        dw, dx = conv2d_gradients(x, w, rounded(dz, compute), *self.window.values(), self.groups)
        for accumulate in (False, True):
            before = self.before if accumulate else {"dw": 0, "db": 0}
            expected = {"dz": dz, "dw": before["dw"] + dw, "db": before["db"] + dz.sum((0, 1, 2), np.float64), "dx": dx}
            actual = self.backward(kernels, accumulate)
            for name, wanted in expected.items():
                yield name, difference(actual[name], wanted, "sum")


LAYERS = {
    "one of everything": {"x": (1, 1, 1, 4), "w": (1, 1, 4, 4)},
    "three taps": {"x": (2, 7, 6, 8), "w": (3, 3, 8, 12), "padding": (1, 1, 1, 1)},
    "no images": {"x": (0, 5, 5, 4), "w": (3, 3, 4, 8)},
    "nothing fits": {"x": (1, 3, 4, 4), "w": (5, 5, 4, 8)},
    "strides": {"x": (2, 9, 8, 4), "w": (3, 2, 4, 68), "strides": (2, 3), "padding": (1, 0, 2, 1)},
    "unseen pixels": {"x": (1, 10, 11, 4), "w": (2, 2, 4, 8), "strides": (3, 4)},
    "dilations": {"x": (1, 9, 10, 8), "w": (3, 3, 8, 4), "dilations": (2, 3), "padding": (2, 2, 3, 3)},
    "strides and dilations": {"x": (1, 11, 12, 4), "w": (3, 3, 4, 8), "strides": (4, 3), "dilations": (2, 3)},
    "groups": {"x": (2, 5, 6, 12), "w": (3, 3, 4, 24), "groups": 3, "padding": (1, 1, 1, 1)},
    "many channels": {"x": (1, 4, 3, 72), "w": (1, 1, 72, 132)},
    "odd channels": {"x": (2, 5, 6, 5), "w": (3, 3, 5, 7), "padding": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("offset", [0, 4])
@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize("name", LAYERS)
def test_operands_are_rounded_and_sums_are_not(kernels, name, compute, offset):
    checked = Layer(**LAYERS[name], offset=offset).check(kernels, compute)
    problems = [f"{what}: {found}" for what, found in checked if found]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize("name", ["three taps", "strides and dilations", "many channels", "odd channels"])
def test_little_shared_memory(kernels, monkeypatch, name, compute):
    monkeypatch.setenv("CUEMU_SHARED_LIMIT", str(64 << 10))
    problems = [f"{what}: {found}" for what, found in Layer(**LAYERS[name]).check(kernels, compute) if found]
    assert not problems, "\n".join(problems)


# So many pixels, or groups and parts, that the largest tiles, 128 x 128, keep a GPU busy.
LARGE = {
    "y": {"x": (1, 130, 130, 4), "w": (1, 1, 4, 68)},
    "dx": {"x": (1, 130, 130, 68), "w": (1, 1, 68, 4)},
    "dw": {"x": (1, 46, 46, 68), "w": (1, 1, 4, 1156), "groups": 17},
}


# KiB of shared memory that a block may have: sm_90's, that of sm_86 to sm_120 but for sm_90 and sm_100, sm_75's. The
# emulator refuses a launch that takes more.
@pytest.mark.parametrize("limit", [227, 99, 64])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LARGE)
def test_largest_tiles(kernels, monkeypatch, name, compute, limit):
    monkeypatch.setenv("CUEMU_SHARED_LIMIT", str(limit << 10))
    layer = Layer(**LARGE[name])
    kernels.set_compute(compute)
    x, w, dz = (rounded(a, compute) for a in (layer.x, layer.w, np.where(layer.saved > 0, layer.dy, np.float32(0))))
    if name == "y":
        expected = np.maximum(conv2d(x, w) + layer.b, 0)
        actual = layer.forward(kernels)
    else:
        dw, dx = conv2d_gradients(x, w, dz, *layer.window.values(), layer.groups)
        expected, actual = {"dw": dw, "dx": dx}[name], layer.backward(kernels, want=(name,))
    found = difference(actual[name], expected, "sum")
    assert not found, found


@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_lives_and_stays_where_it_belongs(kernels, compute, value):
    layer = Layer((1, 4, 5, 4), (1, 1, 4, 8))
    layer.x[0, 2, 3, 1] = value
    kernels.set_compute(compute)
    with np.errstate(invalid="ignore"):
        z = conv2d(rounded(layer.x, compute), rounded(layer.w, compute)) + layer.b
    actual = layer.forward(kernels, keep_z=True)["z"]
    assert not difference(actual, z, "sum")
    assert np.isfinite(np.delete(actual.reshape(20, 8), 2 * 5 + 3, axis=0)).all()


def test_operands_beyond_the_range_of_float16_become_infinite(kernels):
    layer = Layer((1, 2, 2, 4), (1, 1, 4, 4))
    layer.x[0, 0, 0, 0] = 65536.0
    kernels.set_compute("float16")
    z = layer.forward(kernels, keep_z=True)["z"]
    assert np.isinf(z[0, 0, 0]).all() and np.isfinite(z[0, 1]).all()
