"""Collective operations among the ranks of one host, against NumPy."""

import hashlib
import hmac
import itertools

import numpy as np
import pytest
from rank_processes import run_ranks

from fastnn.distributed import arguments

pytestmark = pytest.mark.skipif(not __import__("sys").platform.startswith("linux"), reason="fastnn.comm is Linux's")

# One process makes the arrays of all ranks, so that each knows what must come out. Sums of small integers are exact in
# every dtype, in any order.
CASES = """
dtypes = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int32, np.int64]
counts = [0, 1, 5, 1023, 35001]

def of(r, count, dtype, seed):
    return np.random.default_rng(1000 * seed + r).integers(-3, 4, count).astype(dtype)

def combined(arrays, op):
    wide = np.stack([array.astype(np.float64) for array in arrays])
    found = {"sum": wide.sum(0), "mean": wide.sum(0) / world, "max": wide.max(0), "min": wide.min(0)}[op]
    return found

def new(values, mapped):
    if not mapped:
        return values.copy()
    array = comm.empty(values.shape, values.dtype)
    array[...] = values
    return array

def same(found, wanted, what):
    wanted = wanted.astype(found.dtype)
    assert np.array_equal(found, wanted), (what, found[:8], wanted[:8], np.flatnonzero(found != wanted)[:4])

def check(dtype, count, seed, mapped, algorithm):
    arrays = [of(r, count, dtype, seed) for r in range(world)]
    for op in ("sum", "mean", "max", "min"):
        if op == "mean" and np.issubdtype(dtype, np.integer):
            continue
        array = new(arrays[rank], mapped)
        comm.all_reduce(array, op, algorithm=algorithm)
        same(array, combined(arrays, op), ("all_reduce", op, dtype, count))
    wholes = [of(r, count * world, dtype, seed) for r in range(world)]
    source, part = new(wholes[rank], mapped), np.zeros(count, dtype)
    comm.reduce_scatter(source, part, algorithm=algorithm)
    same(part, combined(wholes, "sum")[rank * count:(rank + 1) * count], ("reduce_scatter", dtype, count))
    same(source, wholes[rank], "source")
    own = source[rank * count:(rank + 1) * count]
    comm.reduce_scatter(source, own, "max", algorithm=algorithm)
    same(own, combined(wholes, "max")[rank * count:(rank + 1) * count], ("in place", dtype, count))
    whole = new(np.zeros(count * world, dtype), mapped)
    comm.all_gather(arrays[rank], whole, algorithm=algorithm)
    same(whole, np.concatenate(arrays), ("all_gather", dtype, count))
    for root in (0, world - 1):
        array = new(arrays[rank], mapped)
        comm.broadcast(array, root, algorithm=algorithm)
        same(array, arrays[root], ("broadcast", dtype, count))
    comm.barrier()
"""


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("way", ["private", "mapped", "ring"])
def test_operations_give_what_numpy_gives(tmp_path, world, way):
    script = f"""{CASES}
mapped, algorithm = {way == "mapped"}, {"ring" if way == "ring" else "auto"!r}
for seed, dtype in enumerate(dtypes):
    for count in counts:
        check(dtype, count, seed, mapped, algorithm)
check(np.float32, 700_009, 7, mapped, algorithm)
say(comm.local_world_size)
"""
    assert run_ranks(tmp_path, script, world) == [[world]] * world


def test_private_and_mapped_arrays_meet(tmp_path):
    script = f"""{CASES}
for count in (7, 70001):
    shared = comm.empty(count)
    arrays = [of(r, count, np.float32, 1) for r in range(world)]
    shared[...] = arrays[rank]
    array = shared if rank == 1 else arrays[rank].copy()
    comm.all_reduce(array)
    same(array, combined(arrays, "sum"), count)
say("done")
"""
    assert run_ranks(tmp_path, script, 3) == [["done"]] * 3


def test_all_ranks_get_the_same_bits_in_every_run(tmp_path):
    script = """
import hashlib
for count in (1000, 500_000):
    for mapped in (False, True):
        values = np.random.default_rng(rank).standard_normal(count).astype(np.float32) * 10.0 ** (rank * 3)
        array = comm.empty(count) if mapped else np.empty(count, np.float32)
        array[...] = values
        comm.all_reduce(array, "mean")
        say(hashlib.sha256(array.tobytes()).hexdigest())
"""
    first = run_ranks(tmp_path, script, 3)
    assert first[0] == first[1] == first[2]
    assert first[0][0] == first[0][1] and first[0][2] == first[0][3], "private and mapped arrays differ"
    assert run_ranks(tmp_path, script, 3) == first


def test_low_precision_is_summed_in_float32(tmp_path):
    script = """
for dtype in (np.float16, ml_dtypes.bfloat16):
    array = np.array([1.0] if rank == 0 else [2.0 ** -9], dtype)   # each 2**-9 alone would be lost beside 1
    array = np.repeat(array, 100)
    comm.all_reduce(array)
    say(float(array[0]))
nan = np.array([np.nan if rank == 2 else 1.0], np.float32)
for op in ("sum", "max", "min"):
    array = nan.copy()
    comm.all_reduce(array, op)
    say(bool(np.isnan(array[0])))
"""
    world = 9
    eighth = 1 + 8 * 2.0**-9
    assert run_ranks(tmp_path, script, world) == [[eighth, eighth, True, True, True]] * world


def test_handles(tmp_path):
    script = f"""{CASES}
arrays = [[of(r, count, np.float32, seed) for r in range(world)] for seed, count in enumerate((10, 100_000, 200_000))]
mine = [case[rank].copy() for case in arrays]
handles = [comm.all_reduce(array, blocking=False) for array in mine]
last = np.array([1.0 + rank], np.float32)
comm.all_reduce(last, "max")     # after those that were started before
assert all(handle.done() for handle in handles)
for handle in handles:
    handle.wait()
for array, case in zip(mine, arrays):
    same(array, combined(case, "sum"), "handle")
say(float(last[0]))
comm.all_reduce(np.ones(1000, np.float32), blocking=False)  # nobody keeps it: the operation does
comm.barrier()
other = distributed.Communicator(host=os.environ["MASTER_ADDR"] + "-again")
if rank == 0:
    waiting = other.all_reduce(np.ones(1000, np.float32), blocking=False)
    del other  # while the operation is on its way
    say(fails(waiting.wait)["type"])
else:
    time.sleep(0.5)
    say(fails(other.barrier)["type"])
"""
    assert run_ranks(tmp_path, script, 2) == [[2.0, "CommunicatorClosed"], [2.0, "RankDied"]]


def test_arrays_of_torch(tmp_path):
    pytest.importorskip("torch")
    script = """
import torch
array = torch.full((3, 5), float(rank + 1))
comm.all_reduce(array)
low = torch.full((70_000,), float(rank + 1), dtype=torch.bfloat16)
comm.all_reduce(low, "mean")
whole = torch.zeros(2 * world)
comm.all_gather(torch.tensor([float(rank), 10.0 + rank]), whole)
say([array.tolist()[0], float(low[-1]), whole.tolist()])
"""
    assert run_ranks(tmp_path, script, 2) == [[[[3.0] * 5, 1.5, [0.0, 10.0, 1.0, 11.0]]]] * 2


def test_arrays_lie_anywhere(tmp_path):
    """Copies work in wide steps, from any address to any other one, and touch nothing beside."""
    script = """
for dtype in (np.float32, np.float16):
    for begin in range(0, 20):
        for count in (1, 63, 130, 300, 33_333 + begin):
            room = np.full(count + 40, 7, dtype)
            array = room[begin:begin + count]
            array[...] = np.arange(count) % 50 + rank
            comm.all_reduce(array)
            assert np.array_equal(array, np.arange(count) % 50 * 2 + 1), (dtype, begin, count)
            assert (room[:begin] == 7).all() and (room[begin + count:] == 7).all(), (dtype, begin, count)
say("done")
"""
    assert run_ranks(tmp_path, script, 2) == [["done"]] * 2


def test_orders_of_axes_are_told_apart():
    arrays = [np.zeros((2, 3, 4)).transpose(axes) for axes in itertools.permutations(range(3))]
    arrays += [np.zeros((4, 6)).T, np.zeros((6, 4)).T, np.zeros((2,) * 6).T]

    def layout(array):
        return arguments.layout(arguments.describe("all_reduce", "array", array, written=True))

    codes = [layout(array) for array in arrays]
    assert codes[0] == 0 and len(set(codes)) == len(codes) and max(codes) < 2**32
    assert all(layout(array) == 0 for array in (np.zeros((24, 1)).T, np.zeros(24), np.zeros((0, 3)).T, np.zeros(())))
    torch = pytest.importorskip("torch")
    last = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert layout(last) == layout(np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2)) > 0


@pytest.mark.parametrize(
    "call, message",
    [
        ("comm.all_reduce(np.zeros(3, np.uint8))", "all_reduce: array must be of dtype float32, .*, got uint8"),
        ("comm.all_reduce([1.0])", "all_reduce: array must be an array"),
        ("comm.all_reduce(np.zeros(3)[::2])", "all_reduce: array must be dense, without gaps or overlaps, got"),
        ("comm.all_reduce(np.zeros(3), 'product')", "all_reduce: op must be one of 'sum', .*, got 'product'"),
        ("comm.all_reduce(np.zeros(3, int), 'mean')", "all_reduce: op must be 'sum', .* for int64, got 'mean'"),
        ("comm.all_reduce(np.zeros(3), algorithm='tree')", "all_reduce: algorithm must be one of .*, got 'tree'"),
        ("comm.all_reduce(np.zeros(3), compression='float16')", "compression must be None for float64, got 'float16'"),
        ("comm.all_reduce(np.broadcast_to(np.zeros(1), (1,)))", "all_reduce: array must be .*, got .*read-only"),
        ("comm.reduce_scatter(np.zeros(3), np.zeros(2))", "reduce_scatter: source must be 1 times the 2 elements"),
        ("comm.reduce_scatter(np.zeros(2), np.zeros(2, int))", "destination must be of dtype float64, .*, got int64"),
        ("comm.all_gather(np.zeros((2, 2)).T, np.zeros(4))", "all_gather: source must be C-contiguous, got strides"),
        ("a = np.zeros(5); comm.all_gather(a[1:], a[:4])", "all_gather: source must be apart from destination, or"),
        ("comm.broadcast(np.zeros(3), 1)", "broadcast: root must be a whole number from 0 to 0, got 1"),
        ("distributed.init(0, 1)", "init: its arguments must be given at the first call alone, got a second call"),
    ],
)
def test_arguments_are_checked(call, message):
    from fastnn import distributed

    comm = distributed.init()
    try:
        with pytest.raises((ValueError, TypeError), match=message):
            exec(call, {"comm": comm, "np": np, "distributed": distributed})
    finally:
        distributed.shutdown()


def test_sha256_and_hmac(kernels):
    """FIPS 180-4's and RFC 4231's examples, and hashlib's results for all lengths around a block."""
    assert kernels.comm_sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    mac = kernels.comm_hmac(b"Jefe", b"what do ya want for nothing?")
    assert mac.hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    for length in range(200):
        text = bytes(i * 7 % 256 for i in range(length))
        assert kernels.comm_sha256(text) == hashlib.sha256(text).digest()
        assert kernels.comm_hmac(text, b"m" * length) == hmac.digest(text, b"m" * length, "sha256")


def test_the_short_way_takes_two_arguments(tmp_path):
    """It's a builtin function that pybind11 doesn't check the arguments of."""
    script = """
short = comm._group.all_reduce_plain
for arguments in [(), (np.zeros(3),), (np.zeros(3), "sum", 1)]:
    try:
        short(*arguments)
    except TypeError as error:
        say(str(error))
say([short(None, "sum"), short(np.zeros(3), "product"), short(np.zeros(3), 1), short(np.zeros(3), "mean")])
"""
    refused = "all_reduce_plain takes an array and an operation"
    assert run_ranks(tmp_path, script, 1) == [[refused] * 3 + [[False, False, False, True]]]
