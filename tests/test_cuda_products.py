"""Matrix products on GPUs, by the emulator: every tile and precision, however sums are cut; see test_cublaslt.py."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from emulator import rows
from emulator.device_arrays import on_device
from makers import normal, rows_apart
from tolerances import difference

TRANSPOSES = list(itertools.product((False, True), repeat=2))


@pytest.fixture(scope="module")
def kernels():
    return rows.load("plain")


@pytest.fixture(autouse=True)
def _settings(kernels, monkeypatch):
    monkeypatch.setenv("CUEMU_SEED", "1")
    kernels.set_gemm_backend("own")
    yield
    kernels.set_compute("float32")
    kernels.set_gemm_plan(None)
    kernels.set_gemm_backend("auto")


def rounded(x, compute):
    """What is multiplied of x, in float64."""
    if compute == "tf32":
        return ((x.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32).astype(np.float64)
    kinds = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
    return x.astype(kinds[compute]).astype(np.float64)


def product(kernels, a, b, transposes=(False, False), c=None, bias=None, accumulate=False, activation="linear"):
    m, n = a.shape[1 if transposes[0] else 0], b.shape[0 if transposes[1] else 1]
    c = np.full((m, n), np.nan, np.float32) if c is None else c
    given = on_device({"a": a, "b": b, "c": c, "bias": bias})
    kernels.gemm(given["a"], given["b"], given["c"], *transposes, accumulate, given["bias"],
                 kernels.ACTIVATIONS[activation], 0.0)  # fmt: skip
    return c


def operands(m, n, k, transposes, gap=0):
    rng = np.random.default_rng(m * 1000 + n)
    a = rows_apart(rng, *((k, m) if transposes[0] else (m, k)), gap)
    return a, rows_apart(rng, *((n, k) if transposes[1] else (k, n)), 2 * gap)


PLANS = [(tile, splits) for tile in (32, 64, 128) for splits in (1, 3)]


@pytest.mark.parametrize("compute", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize(("tile", "splits"), PLANS)
def test_every_tile_and_precision(kernels, compute, tile, splits):
    kernels.set_compute(compute)
    kernels.set_gemm_plan(tile, splits)
    for number, transposes in enumerate(TRANSPOSES):
        check_product(kernels, compute, (tile + 3, 21, 37), transposes, gap=number % 3)
        check_product(kernels, compute, (20, tile + 8, 60), transposes, gap=4 * (number % 2))  # 16 bytes at once


def check_product(kernels, compute, shape, transposes, gap=0):
    m, n, k = shape
    a, b = operands(m, n, k, transposes, gap)
    bias = normal(np.random.default_rng(0), n)
    left, right = (rounded(np.ascontiguousarray(x), compute) for x in (a, b))
    expected = (left.T if transposes[0] else left) @ (right.T if transposes[1] else right) + bias
    found = difference(product(kernels, a, b, transposes, bias=bias), expected, "sum")
    assert not found, f"{shape}, {transposes}: {found}"
    c = normal(np.random.default_rng(1), m, n)
    found = difference(product(kernels, a, b, transposes, c.copy(), bias, True), expected + c, "sum")
    assert not found, f"{shape}, {transposes}, accumulated: {found}"


# KiB that a block may have, as on sm_86 to sm_120 but for sm_90 and sm_100, and on sm_75; the emulator refuses a launch
# that takes more.
@pytest.mark.parametrize("limit", [99, 64])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_little_shared_memory(kernels, monkeypatch, compute, limit):
    monkeypatch.setenv("CUEMU_SHARED_LIMIT", str(limit << 10))
    kernels.set_compute(compute)
    kernels.set_gemm_plan(128, 1)
    check_product(kernels, compute, (20, 136, 60), (False, False))


def test_more_rows_of_tiles_than_are_worked_on_side_by_side(kernels):
    kernels.set_gemm_plan(32, 1)
    for m in (8 * 32, 8 * 32 + 1, 19 * 32):
        check_product(kernels, "float32", (m, 70, 5), (False, False))


@pytest.mark.parametrize("compute", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(3, 9, 20), (40, 9, 20)])
def test_what_is_not_finite_lives_and_stays_where_it_belongs(kernels, compute, value, shape):
    kernels.set_compute(compute)
    a, b = operands(*shape, (False, False))
    a[1, 4] = value
    b[4, 2], b[4, 3] = 0, 2
    for activation in ("linear", "relu"):
        c = product(kernels, a, b, activation=activation)
        assert np.isnan(c[1, 2]), "inf * 0 and NaN are NaN, after a relu, too"
        assert np.array_equal(c[1, 3], 0 if activation == "relu" and value < 0 else 2 * value, equal_nan=True)
        assert np.isfinite(np.delete(c, 1, 0)).all()


def test_float16_overflows_and_the_others_do_not(kernels):
    a, b = np.full((9, 8), 1e5, np.float32), np.ones((8, 9), np.float32)
    for compute in ("float32", "tf32", "bfloat16", "float16"):
        kernels.set_compute(compute)
        assert np.isinf(product(kernels, a, b)).all() == (compute == "float16")


def test_parts_of_a_sum_are_added_in_order(kernels, monkeypatch):
    a, b = operands(5, 9, 500, (False, False))
    kernels.set_gemm_plan(32, 7)
    seen = set()
    for seed in range(4):
        monkeypatch.setenv("CUEMU_SEED", str(seed))
        seen.add(product(kernels, a, b).tobytes())
    assert len(seen) == 1
    kernels.set_gemm_plan(32, 1)
    assert product(kernels, a, b).tobytes() not in seen, "one part gives other bits: the sums were cut"


def test_more_parts_than_products(kernels):
    kernels.set_gemm_plan(32, 50)
    a, b = operands(5, 9, 3, (False, False))
    assert not difference(product(kernels, a, b), a.astype(np.float64) @ b, "sum")


@pytest.mark.parametrize(("function", "argument", "value", "wanted"), [
    ("set_compute", "compute", "half", "'float32', 'tf32', 'bfloat16' or 'float16', got 'half'"),
    ("set_gemm_backend", "backend", "cublas", "'auto', 'own' or 'cublaslt', got 'cublas'"),
    ("set_gemm_plan", "tile", 96, "None, 32, 64 or 128, got 96"),
])  # fmt: skip
def test_settings_say_what_they_take(kernels, function, argument, value, wanted):
    with pytest.raises(ValueError, match=f"^{function}: {argument} must be {wanted}"):
        getattr(kernels, function)(value)


def test_splits_have_bounds(kernels):
    with pytest.raises(ValueError, match="^set_gemm_plan: splits must be 1 to 1024, got 0"):
        kernels.set_gemm_plan(32, 0)


def test_compute_is_what_was_set(kernels):
    assert kernels.compute() == "float32"
    kernels.set_compute("tf32")
    assert kernels.compute() == "tf32"
