"""All-reduce between two hosts over TCP, in fastnn and in installed peers, on this machine alone.

    python bench/tcp.py [-n RANKS] [--sizes BYTES ...] [--repeats N] [--mpi PYTHON ...] [--json FILE]

Hosts are network namespaces with a cable (a veth pair) between two, a switch (a bridge) between more; making those
needs root. Each has one rank. Peers as in collectives.py, told to use nothing but TCP over those cables. The floor, of
two ranks, is what iperf3 moves both ways at once: each rank sends as many bytes as the array has.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid

import ranks

SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20, 100_000_000)
INTERFACE = "fnn0"  # in both namespaces


def main(argv=None):
    """Measure, print a table. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--ranks", type=int, default=2)
    ranks.add_arguments(parser, SIZES)
    args = parser.parse_args(argv)
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("tcp.py: network namespaces need root and the program ip", file=sys.stderr)
        return 1
    with hosts_of_a_net(args.ranks) as (names, addresses):
        limits = {}
        if args.ranks > 2 or shutil.which("iperf3") is None:
            print("floor: left out: " + ("no program iperf3" if args.ranks == 2 else "more than two ranks"))
        else:
            limits["floor"] = lambda size: size / bytes_per_second(names, addresses)
        hosts = {rank: ["ip", "netns", "exec", name] for rank, name in enumerate(names)}
        setting = ranks.Setting(args.ranks, args.seconds, hosts, addresses[0], INTERFACE)
        jobs = ranks.start_all(setting, ("private", *["gloo"] * args.gloo), args.mpi)
        found = ranks.take_turns(jobs, args.sizes, args.repeats, limits)
    found = {"fastnn" if name == "private" else name: times for name, times in found.items()}
    print_table(found, args.ranks)
    if args.json:
        ranks.save(args.json, args.ranks, found)
    return 0


@contextlib.contextmanager
def hosts_of_a_net(count):
    """Network namespaces that reach one another: (their names, their addresses)."""
    tag = uuid.uuid4().hex[:6]
    names = [f"fastnn-bench-{tag}-{number}" for number in range(count)]
    addresses = [f"10.78.0.{number + 1}" for number in range(count)]
    switch = f"fastnn-bench-{tag}-switch"

    def ip(*words):
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"tcp.py: ip {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    made = []
    try:
        for name in names if count == 2 else [*names, switch]:
            ip("netns", "add", name)
            made.append(name)
        if count == 2:
            ip("-n", names[0], "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", names[1])
        else:
            ip("-n", switch, "link", "add", "switch", "type", "bridge")
            ip("-n", switch, "link", "set", "switch", "up")
            for number, name in enumerate(names):
                port = f"port{number}"
                ip("-n", name, "link", "add", INTERFACE, "type", "veth", "peer", "name", port, "netns", switch)
                ip("-n", switch, "link", "set", port, "master", "switch", "up")
        for name, address in zip(names, addresses):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", INTERFACE)
            ip("-n", name, "link", "set", INTERFACE, "up")
            ip("-n", name, "link", "set", "lo", "up")
        while any("tentative" in ip("-n", name, "addr", "show", "dev", INTERFACE) for name in names):
            time.sleep(0.1)  # for a second or two IPv6 addresses aren't to be used, and MPICH would try to
        yield names, addresses
    finally:
        for name in made:
            ip("netns", "del", name)


def bytes_per_second(names, addresses):
    """What iperf3 moves in either direction, in both at once; of the two the slower one."""
    inside = [["ip", "netns", "exec", name, "iperf3"] for name in names]
    server = subprocess.Popen(
        [*inside[0], "-s", "-1", "--forceflush", "-B", addresses[0]], stdout=subprocess.PIPE, text=True
    )
    try:
        server.stdout.readline(), server.stdout.readline()  # it listens
        client = [*inside[1], "-c", addresses[0], "--bidir", "-t", "1", "-O", "0.2", "--json"]
        found = json.loads(subprocess.run(client, capture_output=True, text=True, check=True).stdout)["end"]
    finally:
        server.terminate()
        server.communicate()
    return min(found[way]["bits_per_second"] for way in ("sum_received", "sum_received_bidir_reverse")) / 8


def print_table(found, count):
    """A line for each size: milliseconds, the best peer and the floor over ours."""
    names = list(found)
    peers = [name for name in names if name not in ("fastnn", "floor")]
    print(f"all_reduce, float32, sum, {count} ranks, TCP over veth, {os.cpu_count()} CPUs, ms")
    print(" | ".join(["bytes", *names, "best peer / fastnn", "floor / fastnn"]))
    for size, took in found["fastnn"].items():
        times = [f"{found[name][size] * 1e3:.4g}" for name in names]
        best = min((found[name][size] for name in peers), default=float("nan"))
        ratios = [best / took, found.get("floor", {}).get(size, float("nan")) / took]
        print(" | ".join([str(size), *times, *(f"{ratio:.2f}" for ratio in ratios)]))


if __name__ == "__main__":
    sys.exit(main())
