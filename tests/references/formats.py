"""How optimizers store arrays, written from the definitions: 8 bits with a scale for each block, rounding at random."""

import numpy as np

from references.dropout import philox4x32

BLOCK = 256


def bitsandbytes_map(signed):
    """The 256 numbers, sorted, as bitsandbytes' create_dynamic_map makes them (Dettmers et al. 2022, section 2.1)."""
    values = [0.0, 1.0]
    for i in range(7):
        boundaries = np.linspace(0.1, 1, 2 ** (i if signed else i + 1) + 1)
        means = (boundaries[:-1] + boundaries[1:]) / 2 * 10.0 ** (i - 6)
        values += means.tolist() + ((-means).tolist() if signed else [])
    return np.sort(values)


def code_values(signed):
    """What each code stands for, by code: see csrc/math/dynamic8.h."""
    positive = bitsandbytes_map(signed)
    positive = positive[(positive > 0) & (positive < 1)]
    if signed:
        return np.concatenate([[0.0], positive, [0.0], -positive])
    return np.concatenate([[0.0, 0.0], positive])


VALUES = {signed: code_values(signed) for signed in (True, False)}


def block_of(count):
    """For each element the number of its block."""
    return np.arange(count) // BLOCK


def dequantized(codes, scales, signed):
    return VALUES[signed][codes] * scales.astype(np.float64)[block_of(codes.size)]


def codes_of(ratio, signed):
    """The codes in whose cells numbers lie, which are at most the largest value in magnitude."""
    size, first = np.abs(ratio), 0 if signed else 1
    decade = np.clip(np.floor(np.log10(np.maximum(size, 1e-30))), -7, -1)
    exponent = decade + 7 + first
    magnitude = np.floor(np.exp2(exponent) * (1 + (size / 10**decade - 1) / 9)).astype(int)
    return (np.where(size < 1.956e-7, 0, magnitude) | np.where(signed & np.signbit(ratio), 128, 0)).astype(np.uint8)


def scales_of(x, signed):
    largest = VALUES[signed][127 if signed else 255]
    return np.array([np.abs(x[begin : begin + BLOCK]).max() / largest for begin in range(0, x.size, BLOCK)])


def quantized(x, signed):
    """(codes, scales) in float64."""
    scales = scales_of(x, signed)
    return codes_of(x / np.where(scales > 0, scales, 1)[block_of(x.size)], signed), scales


def random_bits(seed, step, tensor, count):
    """16 bits for each element: of 32 blocks of Philox for a chunk of 256 elements the low halves of the words are for
    the first 128, the high ones for the others.
    """
    chunks = (count + BLOCK - 1) // BLOCK
    blocks = np.arange(32 * chunks, dtype=np.uint64)
    counter = np.stack(
        [blocks, np.full_like(blocks, step), np.zeros_like(blocks), np.full_like(blocks, tensor)], axis=1
    )
    words = philox4x32(counter, [seed & 0xFFFFFFFF, seed >> 32]).reshape(chunks, 128)
    return np.concatenate([words & 0xFFFF, words >> 16], axis=1).reshape(-1)[:count]


def rounded_at_random(x, random, dtype):
    """float32 to bfloat16 or float16: toward infinity with the probability of the part that goes."""
    if dtype.name == "bfloat16":
        bits = x.astype(np.float32).view(np.uint32) + random.astype(np.uint32)
        return (bits >> 16).astype(np.uint16).view(dtype)
    quantum = np.exp2(np.maximum(np.floor(np.log2(np.maximum(np.abs(x), 1e-30))), -14) - 10)
    whole = np.floor(np.abs(x).astype(np.float64) / quantum + (random >> 3) / 8192.0)
    return (np.sign(x) * whole * quantum).astype(dtype)
