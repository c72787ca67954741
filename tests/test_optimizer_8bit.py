"""Optimizer states in 8 bits with a scale for each block of 256: codes, scales, fifty steps, infinity and NaN."""

import numpy as np
import pytest
from references import formats
from references.formats import BLOCK, VALUES, bitsandbytes_map, dequantized, quantized
from storage_runs import DTYPES, SIZES, adamw, arrays, table_of, take, whole

from fastnn import _backend

STEPS = 60
FORMATS = {True: "signed8", False: "unsigned8"}


def scales_of(sizes=SIZES):
    return [np.zeros((size + BLOCK - 1) // BLOCK, np.float32) for size in sizes]


def codes_of(sizes=SIZES):
    return [np.zeros(size, np.uint8) for size in sizes]


def through_momentum(kernels, codes, scales, grad, signed, momentum):
    """buf = momentum buf + grad, p = buf: what an array is decoded to, and what becomes of it encoded again."""
    param = np.zeros(codes.size, np.float32)
    table = table_of(kernels, [param], [grad], [[codes]], [[scales]], formats=[FORMATS[signed]])
    kernels.update(kernels.sgd_rule(momentum=momentum, maximize=False), table, np.ones(1), np.array([2]))
    return -param


def assert_quantized(codes, scales, exact, signed):
    """But for what float32's own rounding does at the edge of a cell."""
    _, wanted = quantized(exact, signed)
    np.testing.assert_allclose(scales, wanted, rtol=4e-6, atol=1e-12)
    ratio = exact / np.where(wanted > 0, wanted, 1)[formats.block_of(exact.size)]
    near = [formats.codes_of(ratio * factor, signed) for factor in (1 - 4e-6, 1 + 4e-6)]
    assert ((codes == near[0]) | (codes == near[1])).all()


@pytest.mark.parametrize("signed", [True, False])
def test_every_code_is_decoded_as_bitsandbytes_would(signed, kernels):
    wanted = bitsandbytes_map(signed)
    assert np.array_equal(np.unique(VALUES[signed]), wanted[wanted < 1])  # the scale itself isn't needed
    codes, scales = np.arange(256, dtype=np.uint8), np.array([1.7], np.float32)
    found = through_momentum(kernels, codes.copy(), scales.copy(), np.zeros(256, np.float32), signed, 1.0)
    np.testing.assert_allclose(found, dequantized(codes, scales, signed), rtol=2e-6, atol=0)


@pytest.mark.parametrize("signed", [True, False])
def test_every_code_comes_back(signed, kernels):
    """The unsigned 1, which is another 0, as 0."""
    own = np.arange(256, dtype=np.uint8)
    codes, scales = own.copy(), np.array([1e-4], np.float32)
    through_momentum(kernels, codes, scales, np.full(256, -0.0, np.float32), signed, 1.0)
    assert np.array_equal(codes, own if signed else np.where(own == 1, 0, own))
    np.testing.assert_allclose(scales, 1e-4, rtol=1e-6)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("count", [1, 15, 255, 256, 257, 5000])
def test_numbers_of_all_sizes(signed, count, kernels):
    rng = np.random.default_rng(count)
    x = np.ldexp(rng.uniform(0.5, 1, count), rng.integers(-30, 3, count)) * rng.choice(
        [-1, 1] if signed else [1], count
    )
    x = x.astype(np.float32)
    codes, scales = np.full(count, 7, np.uint8), scales_of([count])[0]
    through_momentum(kernels, codes, scales, x, signed, 0.5)  # of a buffer that is 0, as its scale is
    assert_quantized(codes, scales, x.astype(np.float64), signed)


@pytest.mark.parametrize("signed", [True, False])
def test_the_edges_of_the_cells(signed, kernels):
    """Just above and just below; and the largest of a block is exact."""
    magnitudes = np.arange(2 if signed else 3, 128 if signed else 256)
    exponent = np.floor(np.log2(magnitudes))
    edges = 10 ** (exponent - (6 if signed else 7)) * (0.1 + 0.9 * (magnitudes / 2**exponent - 1))
    for sign in (1, -1) if signed else (1,):
        for factor, wanted in ((1 + 2e-6, magnitudes), (1 - 2e-6, magnitudes - 1)):
            largest = VALUES[signed][127 if signed else 255]
            x = np.concatenate([[largest], sign * edges * factor]).astype(np.float32)
            codes, scales = np.zeros(x.size, np.uint8), np.zeros(1, np.float32)
            through_momentum(kernels, codes, scales, x, signed, 0.5)
            np.testing.assert_allclose(scales, 1, rtol=2e-7)
            assert np.array_equal(codes, [127 if signed else 255, *(wanted + (0 if sign > 0 else 128))])


def test_the_least_become_zero_and_keep_their_sign(kernels):
    codes, scales = np.zeros(8, np.uint8), np.zeros(1, np.float32)
    x = np.array([-2, -1e-9, 1, -0.0, -3.8e-7, -1e-30, -1e-45, 1e-7], np.float32)
    through_momentum(kernels, codes, scales, x, True, 0.5)
    np.testing.assert_allclose(scales, 2 / VALUES[True][127], rtol=1e-6)
    assert np.array_equal(codes, [255, 128, 92, 0, 128, 128, 128, 0])


@pytest.mark.parametrize("signed", [True, False])
def test_the_error_is_half_a_cell_at_most(signed, kernels):
    x = np.random.default_rng(1).uniform(-1 if signed else 0, 1, 200 * BLOCK).astype(np.float32) ** 3
    codes, scales = np.zeros(x.size, np.uint8), np.zeros(200, np.float32)
    through_momentum(kernels, codes, scales, x, signed, 0.5)
    scale = scales[formats.block_of(x.size)]
    decade = 10.0 ** np.ceil(np.log10(np.maximum(np.abs(x / scale), 1e-7)))
    cell = 0.9 * decade / 2 ** (np.log10(decade) + (6 if signed else 7))
    assert (np.abs(dequantized(codes, scales, signed) - x) <= scale * (cell / 2 * (1 + 1e-5) + 2e-7)).all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("param", ["float32", "bfloat16"])
def test_adamw_in_8_bits(param, threads, kernels):
    """Each step from what the one before has stored, in float64; and a run of our own that is never set right."""
    params, grads = arrays(param, 1), arrays("float32", 2)
    states, scales = [codes_of(), codes_of()], [scales_of(), scales_of()]
    own = [(p.astype(np.float64), np.zeros(p.size), np.zeros(p.size)) for p in params]
    masters = [np.zeros(size, np.uint16) for size in SIZES] if param == "bfloat16" else None
    table = table_of(kernels, params, grads, states, scales, masters, formats=["signed8", "unsigned8"])
    rule, lr = kernels.adam_rule(weight_decay=0.1, decoupled=True), 0.01
    kernels.set_num_threads(threads)
    for t in range(1, STEPS + 1):
        take(grads, t)
        before = [whole(p, rest) for p, rest in zip(params, masters)] if masters else [p.copy() for p in params]
        m_before, v_before = (
            [dequantized(c, s, signed) for c, s in zip(states[k], scales[k])] for k, signed in ((0, True), (1, False))
        )
        kernels.update(rule, table, np.array([lr]), np.array([t]))
        for i in range(len(SIZES)):
            p, m, v = adamw(before[i], grads[i], m_before[i], v_before[i], t, lr)
            if not masters:
                np.testing.assert_allclose(params[i], p, rtol=2e-6, atol=2e-6)
            assert_quantized(states[0][i], scales[0][i], m, True)
            assert_quantized(states[1][i], scales[1][i], v, False)
        own = [adamw(p, g, m, v, t, lr) for (p, m, v), g in zip(own, grads)]
        own = [(p, dequantized(*quantized(m, True), True), dequantized(*quantized(v, False), False)) for p, m, v in own]
    kernels.set_num_threads(_backend.get_num_threads())
    # A code that float32 and float64 round differently, now and then one in a thousand, moves that element a little.
    for p, (wanted, _, _) in zip(params, own):
        difference = np.abs(p.astype(np.float64) - wanted)
        assert (difference <= 0.01 + np.abs(wanted) * 2.0**-8).all()
        limit = 1e-4 if param == "float32" else 2.0**-8 * np.abs(wanted) + 1e-3
        assert (difference > limit).sum() <= 0.05 * p.size


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("signed", [True, False])
def test_a_block_with_nan_or_infinity_becomes_nan(signed, bad, kernels):
    """Nothing gets lost: the whole block is NaN from then on, the others aren't."""
    x = np.ones(3 * BLOCK - 100, np.float32)
    x[BLOCK + 3] = bad
    codes, scales = np.zeros(x.size, np.uint8), np.zeros(3, np.float32)
    through_momentum(kernels, codes, scales, x, signed, 0.5)
    assert np.array_equal(np.isnan(scales), [False, True, False])
    found = through_momentum(kernels, codes, scales, np.zeros_like(x), signed, 1.0)
    assert np.isnan(found[BLOCK : 2 * BLOCK]).all() and np.allclose(np.delete(found, np.s_[BLOCK : 2 * BLOCK]), 1)


def test_a_block_of_nearly_nothing_is_zero(kernels):
    codes, scales = np.full(4, 9, np.uint8), np.zeros(1, np.float32)
    through_momentum(kernels, codes, scales, np.full(4, 1e-39, np.float32), True, 0.5)
    assert scales[0] == 0 and not codes.any()
    through_momentum(kernels, codes, scales, np.full(4, 2e-38, np.float32), True, 0.5)
    assert scales[0] > 2e-38 and (codes == 127).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scales": ()}, r"scales\[0\] must be an array, as the state has 8 bits, got None"),
        ({"formats": ["float32"]}, r"scales\[0\] must be None, as the state has more than 8 bits, got an array"),
        ({"formats": ["uint8"]}, r"dtypes\[states\] must be float32, .* or unsigned8, got uint8"),
        ({"formats": []}, r"dtypes\[states\] must be one of each list of states, 1, got 0"),
        ({"seed": 1}, r"seed must be None, since params are float32, got something else"),
        ({"masters": [np.zeros(600, np.float32)]}, r"masters must be None, since params are float32, got something"),
    ],
)
def test_what_tables_refuse(change, message, kernels):
    param, grad, codes, scale = np.zeros(600, np.float32), np.zeros(600, np.float32), codes_of([600]), scales_of([600])
    arguments = {"formats": ["signed8"], "scales": [scale], **change}
    if "formats" in change and change["formats"] == []:
        arguments["formats"] = ()
        dtypes = {"states": []}
        with pytest.raises(ValueError, match=message):
            kernels.TensorTable.of_addresses(
                *(np.array([a.ctypes.data]) for a in (param, grad)), [np.array([codes[0].ctypes.data])],
                np.array([600]), dtypes=dtypes,
            )  # fmt: skip
        return
    with pytest.raises(ValueError, match="^TensorTable.of_addresses: " + message):
        table_of(kernels, [param], [grad], [codes], **arguments)


@pytest.mark.parametrize("dtype, master, message", [
    ("float16", np.uint16, r"dtypes\[masters\] must be float32, or uint16 where params are bfloat16, got uint16"),
    ("bfloat16", np.int32, r"dtypes\[masters\] must be float32, or uint16 where params are bfloat16, got int32"),
])  # fmt: skip
def test_masters_of_another_kind(dtype, master, message, kernels):
    param = np.zeros(5, DTYPES[dtype])
    with pytest.raises(ValueError, match=message):
        table_of(kernels, [param], [param.copy()], [], masters=[np.zeros(5, master)])
    with pytest.raises(ValueError, match="seed must be None with masters"):
        table_of(kernels, [param], [param.copy()], [], masters=[np.zeros(5, np.float32)], seed=1)


def test_scales_and_masters_may_not_overlap_anything(kernels):
    memory = np.zeros(700, np.float32)
    param, grad, codes = memory[:600], np.zeros(600, np.float32), codes_of([600])
    with pytest.raises(ValueError, match=r"params\[0\] must be memory apart from scales\[0\]\[0\], got arrays that over"
                       r"|scales\[0\]\[0\] must be memory apart from params\[0\]"):  # fmt: skip
        table_of(kernels, [param], [grad], [codes], [[memory[598:601]]], formats=["signed8"])
    half = np.zeros(600, DTYPES["bfloat16"])
    with pytest.raises(ValueError, match=r"masters\[0\]"):
        table_of(kernels, [half], [grad], [[memory[:600]]], masters=[memory[10:610]])
