"""Philox, the counter-based generator of dropout, written from its paper and not from ours; and gather.

Reference: Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3, section 3.3 and table 2.
"""

import numpy as np

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_KEY_STEPS = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)
_LOW = np.uint64(0xFFFFFFFF)


def philox4x32(counter, key, rounds=10):
    """Four random 32-bit numbers for each counter.

    Args:
        counter: uint64[n, 4], each below 2^32.
        key: two numbers below 2^32.
    """
    counter, key = np.asarray(counter, np.uint64), np.asarray(key, np.uint64)
    for _ in range(rounds):
        products = counter[:, [0, 2]] * _MULTIPLIERS
        high, low = products >> np.uint64(32), products & _LOW
        left = high[:, 1] ^ counter[:, 1] ^ key[0]
        right = high[:, 0] ^ counter[:, 3] ^ key[1]
        counter = np.stack([left, low[:, 1], right, low[:, 0]], axis=1)
        key = (key + _KEY_STEPS) & _LOW
    return counter.astype(np.uint32)


def dropout(x, y, rate, state, stream=0):
    """Word i % 4 of the block with counter (i / 4, state[1], stream) and key state[0] decides on element i.

    An element is dropped where the word, as a signed integer, is among the smallest `rate` of its range.
    """
    seed, step = (np.uint64(value) for value in state)
    block = np.arange((x.size + 3) // 4, dtype=np.uint64)
    counter = np.zeros((block.size, 4), np.uint64)
    counter[:, 0], counter[:, 1], counter[:, 2], counter[:, 3] = block, step & _LOW, step >> np.uint64(32), stream
    words = philox4x32(counter, [seed & _LOW, seed >> np.uint64(32)]).view(np.int32)
    dropped = words.reshape(-1)[: x.size].reshape(x.shape) < rate * 2.0**32 - 2.0**31
    return {"y": np.where(dropped, 0.0 * x, x / (1 - rate))}


def gather_rows(x, index, out):
    return {"out": x[index]}
