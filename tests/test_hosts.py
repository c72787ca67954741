"""Ranks of several hosts: pretended ones on this machine, and two network namespaces with a cable between them."""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid

import pytest
from rank_processes import Ranks, run_ranks
from test_collectives import CASES

SLACK = 8.0


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def on_hosts(port, hosts):
    """The environment of each rank, which runs on the host of this number: ranks of two hosts never share memory."""

    def each(rank):
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "FASTNN_HOST_ID": f"host {hosts[rank]}"}

    return each


@pytest.mark.parametrize("hosts", [[0, 1], [0, 1, 2], [0, 0, 1, 1], [0, 1, 0, 1, 1]], ids=str)
def test_operations_give_what_numpy_gives(tmp_path, port, hosts):
    script = f"""{CASES}
for seed, dtype in enumerate(dtypes):
    for count in (0, 1, 5, 1023, 35001):
        check(dtype, count, seed, False, "auto")
check(np.float32, 400_009, 7, False, "ring")
check(np.float32, 400_009, 8, True, "auto")
say([comm.local_world_size, comm.hosts])
"""
    results = run_ranks(tmp_path, script, len(hosts), each=on_hosts(port, hosts))
    assert results == [[[hosts.count(host), len(set(hosts))]] for host in hosts]


@pytest.mark.parametrize("wire, bits", [("bfloat16", 8), ("float16", 11)])
def test_compression_rounds_what_travels(tmp_path, port, wire, bits):
    script = f"""
import hashlib
values = [np.random.default_rng(r).uniform(0.5, 1, 300_007).astype(np.float32) for r in range(world)]
array = values[rank].copy()
comm.all_reduce(array, "sum", compression={wire!r})
exact = sum(value.astype(np.float64) for value in values)
say(hashlib.sha256(array.tobytes()).hexdigest())
say(float(np.max(np.abs(array - exact) / exact)))
rounded = array.astype(ml_dtypes.bfloat16 if {wire!r} == "bfloat16" else np.float16).astype(np.float32)
say(bool(np.array_equal(rounded, array)))
"""
    results = run_ranks(tmp_path, script, 3, each=on_hosts(port, [0, 1, 2]))
    assert results[0] == results[1] == results[2]
    _, error, is_rounded = results[0]
    assert is_rounded and 2.0**-bits / 4 < error <= 3 * 2.0**-bits


def test_all_hosts_get_the_same_bits_in_every_run(tmp_path, port):
    script = """
import hashlib
array = np.random.default_rng(rank).standard_normal(300_000).astype(np.float32) * 10.0 ** (rank * 3)
comm.all_reduce(array, "mean")
say(hashlib.sha256(array.tobytes()).hexdigest())
"""
    first = run_ranks(tmp_path, script, 4, each=on_hosts(port, [0, 0, 1, 2]))
    assert first[0] == first[1] == first[2] == first[3]
    assert run_ranks(tmp_path, script, 4, each=on_hosts(port, [0, 0, 1, 2])) == first


@pytest.mark.parametrize("hosts", [[0, 1], [0, 1, 2], [0, 1, 0, 1]], ids=str)
def test_operations_send_what_arithmetic_says(tmp_path, port, hosts):
    """Bytes that a rank has sent: of an array (H - 1) / H for H hosts, for an all-reduce twice that."""
    script = """
import os, socket, struct

def sent():
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            line = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # gone, or no socket
            continue
        with line:
            if line.family == socket.AF_INET and line.type == socket.SOCK_STREAM:
                info = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                bytes_sent, bytes_again = struct.unpack_from("<QQ", info, 200)  # tcpi_bytes_sent, tcpi_bytes_retrans
                total += bytes_sent - bytes_again
    return total

part = 60_000
whole, own = np.ones(part * world, np.float32), np.ones(part, np.float32)
for run in (
    lambda: comm.all_reduce(whole),
    lambda: comm.reduce_scatter(whole, own),
    lambda: comm.all_gather(own, whole),
    lambda: comm.broadcast(whole, 0),
):
    comm.barrier()
    before = sent()
    run()
    comm.barrier()  # now all has gone out of the kernel's buffers
    say((sent() - before) / whole.nbytes)
"""
    found = run_ranks(tmp_path, script, len(hosts), each=on_hosts(port, hosts))
    count = len(set(hosts))
    once = (count - 1) / count
    for rank, sent in enumerate(found):
        host = hosts[rank]
        leads = hosts.index(host) == rank
        wanted = [2 * once, once, once, 1 if host < count - 1 else 0] if leads else [0] * 4
        assert sent == pytest.approx(wanted, abs=2e-3), f"rank {rank}"


@pytest.mark.parametrize("victim", [0, 1, 3])
def test_a_killed_rank_is_named_on_all_hosts(tmp_path, port, victim):
    """A rank of another host that is the first of its host, one that isn't, and rank 0, which hands on the news."""
    script = f"""
array = np.zeros(1_000_000, np.float32)
comm.all_reduce(array)
say(os.getpid())
if rank == {victim}:
    time.sleep(1000)
def work():
    for _ in range(1000):
        comm.all_reduce(array)
say(fails(work))
say(fails(comm.barrier))
"""
    with Ranks(tmp_path, script, 5, each=on_hosts(port, [0, 0, 1, 1, 2])) as ranks:
        pids = [ranks.heard(rank) for rank in range(5)]
        time.sleep(0.3)
        ranks.kill(victim)
        results = ranks.results(dead=(victim,))
    for rank, result in enumerate(results):
        if rank == victim:
            continue
        first, later = result
        assert first["type"] == "RankDied" and first["rank"] == victim and first["host"] == os.uname().nodename
        assert f"rank {victim} (process {pids[victim]} of host" in first["text"] and first["after"] < SLACK
        assert later["text"] == first["text"] and later["after"] < SLACK


def test_another_order_of_axes_is_refused_on_all_hosts(tmp_path, port):
    script = """
array = np.zeros((5, 2)).T if rank == 2 else np.zeros((2, 5))
def work():
    comm.barrier()  # a rank that is still here may learn of what comes next
    comm.all_reduce(array)
say(fails(work))
"""
    for (error,) in run_ranks(tmp_path, script, 3, each=on_hosts(port, [0, 0, 1])):
        assert error["type"] == "CollectiveMismatch"
        assert "10 elements)" in error["text"] and "10 elements, axes 1 0 in memory (layout" in error["text"]


def test_what_does_not_fit_together_is_refused_on_all_hosts(tmp_path, port):
    script = """
array = np.zeros(10 if rank != 2 else 12, np.float32)
def work():
    comm.barrier()  # a rank that is still here may learn of what comes next
    comm.all_reduce(array)
say(fails(work))
"""
    for (error,) in run_ranks(tmp_path, script, 4, each=on_hosts(port, [0, 0, 1, 2])):
        assert error["type"] == "CollectiveMismatch" and error["operation"] == 2
        assert "10 elements" in error["text"] and "12 elements" in error["text"]


def test_a_stopped_host_is_waited_for_and_then_given_up(tmp_path, port):
    """Its kernel still answers: it isn't taken for dead though the limit is longer than the heartbeat's."""
    script = """
import warnings
comm.barrier()
say(os.getpid())
if rank == 2:
    time.sleep(1000)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    say(fails(lambda: comm.all_reduce(np.zeros(10))))
say([str(warning.message) for warning in caught])
"""
    each = on_hosts(port, [0, 0, 1])
    with Ranks(tmp_path, script, 3, each=each, warn_after=1.0, timeout=3.0, heartbeat=1.0) as ranks:
        pids = [ranks.heard(rank) for rank in range(3)]
        ranks.kill(2, signal.SIGSTOP)
        errors = [ranks.heard(rank) for rank in range(2)]
        caught = ranks.heard(0)
    name = f"rank 2 (process {pids[2]} of host {os.uname().nodename})"
    assert caught[-1] == f"operation 2, all_reduce(sum, float64, 10 elements) has waited 1 s for {name}"
    for error in errors:
        assert error["type"] == "CollectiveTimeout" and error["rank"] == 2 and error["after"] >= 2.5
        assert f"timed out: {name} did not come within 3 s" in error["text"]


@pytest.fixture
def cable():
    """Two network namespaces, 10.77.x.1 and 10.77.x.2, with a veth pair between them; (names, addresses)."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip")
    tag = uuid.uuid4().hex[:6]
    names, links = [f"fastnn{tag}{end}" for end in "ab"], [f"fnn{tag}{end}" for end in "ab"]
    subnet = int(tag, 16) % 250
    addresses = [f"10.77.{subnet}.{end}" for end in (1, 2)]

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, text=True)

    try:
        for name in names:
            made = ip("netns", "add", name)
            if made.returncode != 0:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        made = ip("link", "add", links[0], "type", "veth", "peer", "name", links[1])
        if made.returncode != 0:
            pytest.skip(f"no veth pairs here: {made.stderr.strip()}")
        for name, link, address in zip(names, links, addresses):
            assert ip("link", "set", link, "netns", name).returncode == 0
            for words in (
                ["addr", "add", f"{address}/24", "dev", link],
                ["link", "set", link, "up"],
                ["link", "set", "lo", "up"],
            ):
                assert ip("-n", name, *words).returncode == 0
        yield names, links, addresses
    finally:
        for name in names:
            ip("netns", "del", name)


def across(cable, port=29400):
    names, _, addresses = cable
    return {
        "each": lambda rank: {"MASTER_ADDR": addresses[0], "MASTER_PORT": str(port)},
        "command": lambda rank: ["ip", "netns", "exec", names[rank % 2]],
    }


def test_two_network_namespaces_are_two_hosts(tmp_path, cable):
    script = f"""{CASES}
for count in (1, 70_001, 400_009):
    check(np.float32, count, 3, False, "auto")
say(comm.hosts)
"""
    assert run_ranks(tmp_path, script, 4, **across(cable)) == [[2]] * 4


def test_a_cut_cable_is_noticed_by_the_heartbeat(tmp_path, cable):
    script = """
comm.barrier()
say("ready")
say(fails(lambda: [comm.all_reduce(np.zeros(100)) for _ in range(10**9)]))
"""
    names, links, _ = cable
    with Ranks(tmp_path, script, 2, heartbeat=2.0, **across(cable)) as ranks:
        assert [ranks.heard(rank) for rank in range(2)] == ["ready"] * 2
        time.sleep(0.3)
        subprocess.run(["ip", "-n", names[1], "link", "set", links[1], "down"], check=True)
        begin = time.monotonic()
        results = ranks.results()
    assert time.monotonic() - begin < 60
    for rank, (error,) in enumerate(results):
        assert error["type"] == "RankDied" and error["rank"] == 1 - rank
