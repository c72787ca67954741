"""Collective operations on arrays on GPUs: the ring, copies through the host, NCCL. The emulator stands for GPUs."""

import re
import socket
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from device_ranks import EVERYTHING, array_of, check_everything, device_ranks, run_on_gpus, script_of
from emulated_kernels import on_device
from emulator import build
from emulator.backgrounds import libraries_of_asan

from fastnn.distributed import arguments, device_ring, nccl
from fastnn.distributed.device import DeviceCall

HOST = "device_ring.DeviceRing.open = classmethod(lambda cls, comm, kernels: None)\n"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("world", [2, 3])
def test_ring(world, tmp_path):
    out = run_on_gpus(tmp_path, script_of(EVERYTHING), world)
    check_everything(out, world)
    assert all(ways == ["DeviceRing"] for _, ways in out)


def test_by_way_of_the_host(tmp_path):
    out = run_on_gpus(tmp_path, script_of(HOST + EVERYTHING), 2)
    check_everything(out, 2)
    assert all(ways == ["HostCopies"] for _, ways in out)


def test_between_hosts(tmp_path):
    rows = ("float16", "int64"), (0, 1, 63, 301)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    script = script_of(EVERYTHING, *rows)
    out = run_on_gpus(tmp_path, script, 2, each=lambda rank: {**place, "FASTNN_HOST_ID": f"host{rank}"})
    check_everything(out, 2, *rows)
    assert all(ways == ["HostCopies"] for _, ways in out)


def test_bfloat16_goes_round_the_ring(tmp_path):
    script = """
a = array_of(rank, 500, "float32").astype(ml_dtypes.bfloat16)
call = device.DeviceCall("all_reduce", "bfloat16", 500, a.ctypes.data, a.ctypes.data, "sum", 0, 0, "auto", None)
device.DeviceOperations(comm, kernels).run(call, gpu(a.view(np.uint16)))
say(a.astype(np.float32).tolist())
"""
    out = run_on_gpus(tmp_path, script, 2)
    one, other = (array_of(rank, 500, "float32").astype(ml_dtypes.bfloat16).astype(np.float32) for rank in range(2))
    assert out[0] == out[1] == [(one + other).astype(ml_dtypes.bfloat16).astype(np.float32).tolist()]


@pytest.mark.parametrize("variant", ["race", "asan"])
def test_kernels_of_the_ring_are_clean(variant, tmp_path):
    build.extension(variant)  # before the ranks' clocks run
    env = {"VARIANT": variant}
    if variant == "asan":
        env.update(LD_PRELOAD=libraries_of_asan(), ASAN_OPTIONS="detect_leaks=0")
    script = """
for dtype in ("float32", "float16", "int64"):
    for count in (1, 37, 300):
        a = array_of(rank, count, dtype)
        comm.all_reduce(gpu(a), "sum")
say("done")
"""
    assert run_on_gpus(tmp_path, script, 2, env=env) == [["done"], ["done"]]


def test_a_handle_is_done_at_once(tmp_path):
    script = """
a = array_of(rank, 10, "float32")
handle = comm.all_reduce(gpu(a), blocking=False)
handle.wait()
say([handle.done(), a.tolist()])
"""
    out = run_on_gpus(tmp_path, script, 2)
    total = (array_of(0, 10, "float32") + array_of(1, 10, "float32")).tolist()
    assert out == [[[True, total]], [[True, total]]]


def test_a_group_of_one(tmp_path):
    script = """
a, b = array_of(rank, 10, "float32"), np.zeros(10, np.float32)
comm.all_reduce(gpu(a), "mean")
comm.all_gather(gpu(a), gpu(b))
say([a.tolist(), b.tolist()])
"""
    same = array_of(0, 10, "float32").tolist()
    assert run_on_gpus(tmp_path, script, 1) == [[[same, same]]]


def test_a_killed_rank_is_named(tmp_path):
    script = """
a = gpu(array_of(rank, 3001, "float32"))
comm.all_reduce(a)
if rank == 1:
    send, sent = device_ring.DeviceRing._send, []
    def die(self, message, item):
        if len(sent) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        sent.append(message)
        send(self, message, item)
    device_ring.DeviceRing._send = die
say([fails(lambda: comm.all_reduce(a)), fails(lambda: comm.all_reduce(a)), fails(comm.barrier)])
"""
    with device_ranks(tmp_path, script, 3) as ranks:
        out = ranks.results(dead={1})
    for rank in (0, 2):
        first, second, third = out[rank][0]
        assert [failure["type"] for failure in (first, second, third)] == ["RankDied"] * 3
        assert first["rank"] == 1 and "rank 1 (process" in first["text"] and first["after"] < 5
        assert "all_reduce(sum, float32, 3001 elements, on GPUs)" in first["text"]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ("comm.all_reduce(gpu(array_of(rank, 11, 'float32')))", "11 elements, on GPUs)"),
        ("comm.all_reduce(gpu(array_of(rank, 10, 'float64')))", "float64, 10 elements, on GPUs)"),
        ("comm.all_reduce(array_of(rank, 10, 'float32'))", "all_reduce(sum, float32, 10 elements)"),
        ("comm.all_reduce(gpu(array_of(rank, 10, 'float32')), algorithm='ring')", "algorithm ring on GPUs)"),
        ("comm.all_reduce(gpu(array_of(rank, 10, 'float32').reshape(5, 2).T))", "axes 1 0 in memory (layout"),
    ],
)
def test_what_does_not_fit_is_found_before_anything_is_sent(other, text, tmp_path):
    script = f"""
if rank == 0:
    say(fails(lambda: comm.all_reduce(gpu(array_of(rank, 10, 'float32')))))
else:
    say(fails(lambda: {other}))
"""
    for ((failure,),) in zip(run_on_gpus(tmp_path, script, 2)):
        assert failure["type"] == "CollectiveMismatch"
        assert "all_reduce(sum, float32, 10 elements, on GPUs)" in failure["text"] and text in failure["text"]


def test_bad_arguments(tmp_path):
    script = """
a, b = array_of(rank, 10, "float32"), array_of(rank, 5, "float32")
say([
    fails(lambda: comm.reduce_scatter(gpu(a), b)),
    fails(lambda: comm.all_reduce(gpu(a), algorithm="tree")),
    fails(lambda: comm.all_reduce(gpu(a), compression="int8")),
])
say(fails(lambda: comm.all_reduce(gpu(a), algorithm="nccl")))
say(fails(comm.barrier))
"""
    for mistakes, no_nccl, later in run_on_gpus(tmp_path, script, 2):
        mixed, algorithm, compression = (failure["text"] for failure in mistakes)
        assert mixed == "reduce_scatter: destination must be on cuda, as source is, got one on cpu"
        assert algorithm.startswith("all_reduce: algorithm must be ") and "'nccl', got 'tree'" in algorithm
        assert compression.startswith("all_reduce: compression must be ")
        assert no_nccl["text"].startswith(
            "all_reduce: algorithm must be 'auto' here, got 'nccl', in a group without NCCL"
        )
        assert no_nccl["type"] == "ValueError" and later["type"] == "", "the group goes on"


class Group:
    """A group of two ranks, seen from one."""

    rank, world_size = 0, 2
    members = ((0, "here", 1), (1, "here", 2))

    def __init__(self, other):
        self.other = other

    def all_gather(self, source, destination):
        destination[:] = source[0], source[0] if self.other == "same" else self.other

    def broadcast(self, array):
        self.sent = array.tolist()


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy with NCCL."""
    names = [*nccl._DTYPES.values(), *nccl._OPS.values()]
    communicator = SimpleNamespace(calls=[])
    for name in ("allReduce", "reduceScatter", "allGather", "broadcast", "abort"):
        setattr(communicator, name, lambda *given, name=name: communicator.calls.append((name, *given)))
    module = SimpleNamespace(**{name: name for name in names}, get_unique_id=lambda: tuple(range(128)))
    module.NcclCommunicator = lambda *given: communicator.calls.append(("made", *given)) or communicator
    cupy = SimpleNamespace(cuda=SimpleNamespace(nccl=module, Device=lambda: SimpleNamespace(pci_bus_id="0000:01:00.0")))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", module)
    return communicator


def call(kind, op="sum", dtype="float32", root=0, count=5):
    return DeviceCall(kind, dtype, count, 1000, 2000, op, root, 0, "auto", None)


def test_nccl_is_called(cupy):
    group, kernels = Group(other=123), SimpleNamespace(current_stream=lambda: 77)
    way = nccl.Nccl.open(group, kernels)
    assert group.sent == list(range(128)) and cupy.calls.pop() == ("made", 2, tuple(range(128)), 0)
    way.run(call("all_reduce", "mean", "bfloat16"))
    way.run(call("reduce_scatter", "max", "int64"))
    way.run(call("all_gather"))
    way.run(call("broadcast", root=1, dtype="float16"))
    way.run(call("all_reduce", count=0))
    way.close()
    assert cupy.calls == [
        ("allReduce", 1000, 2000, 5, "NCCL_BFLOAT16", "NCCL_AVG", 77),
        ("reduceScatter", 1000, 2000, 5, "NCCL_INT64", "NCCL_MAX", 77),
        ("allGather", 1000, 2000, 5, "NCCL_FLOAT32", 77),
        ("broadcast", 1000, 2000, 5, "NCCL_FLOAT16", 1, 77),
        ("abort",),
    ]


@pytest.mark.parametrize("other", ["same", 0])
def test_nccl_is_left_where_ranks_share_a_gpu_or_lack_it(cupy, other):
    assert nccl.Nccl.open(Group(other), None) is None


def test_without_cupy_there_is_no_nccl(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    group = Group(other=5)
    assert nccl.Nccl.open(group, None) is None


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1000])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_cover_an_array(count, parts):
    ranges = [device_ring.share(count, number, parts) for number in range(parts)]
    assert ranges[0][0] == 0 and ranges[-1][1] == count
    assert all(before[1] == after[0] and after[0] % 64 in (0, count % 64) for before, after in zip(ranges, ranges[1:]))


def test_arrays_elsewhere_are_refused():
    class Elsewhere:
        def __dlpack_device__(self):
            return (10, 0)

    with pytest.raises((ValueError, TypeError), match=re.compile("all_reduce: array must be")):
        arguments.describe("all_reduce", "array", Elsewhere(), written=True)
    assert arguments.describe("all_reduce", "array", on_device(np.zeros(3, np.float32)), written=True).device == "cuda"
