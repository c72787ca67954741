"""`fastnn bench`: how fast the kernels are on this machine, beside its limits and beside other frameworks."""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import _backend, _check
from fastnn.benchmark import contest, contests, kernels, limits, table, timing
from fastnn.benchmark.contest import Result
from fastnn.benchmark.job import Contest
from fastnn.benchmark.limits import Limits
from fastnn.cli.info import cpu_model

_NAME = "fastnn bench"
_EXAMPLE = """examples:
  fastnn bench --filter "conv forward"      the kernels with both words in their name
  fastnn bench --peers --filter CNN         a network in fastnn and in the frameworks that are installed
  fastnn bench --peers torch --threads 1    everything beside PyTorch alone, on one thread
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``bench`` to the command line's parser."""
    text = "time the kernels beside this machine's limits, or beside other frameworks"
    parser = subparsers.add_parser("bench", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=_EXAMPLE)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    others = [peer for peer in contest.PEERS if peer not in ("ours", "limit")]
    add = parser.add_argument
    add("--filter", default="", metavar="WORDS", help="only the rows whose name contains all of these words")
    text = f"networks and kernels in fastnn and in other frameworks, of {', '.join(others)} (default: all installed)"
    add("--peers", nargs="*", choices=others, metavar="PEER", help=text)
    add("--threads", type=int, metavar="N", help="(default: one for each core that this process may use)")
    add("--seconds", type=float, default=0.3, help="how long to time a row, with --peers a turn (default: 0.3)")
    add("--repeats", type=int, default=5, metavar="N", help="the median of how many is taken (default: 5)")
    add("--markdown", action="store_true", help="print tables for a page of documentation")
    add("--json", metavar="FILE", help="write the results to a file too")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure and print what the arguments ask for. Returns the exit code."""
    _check.integer(_NAME, "--repeats", args.repeats, minimum=1)
    _check.number(_NAME, "--seconds", args.seconds, minimum=0.0)
    if args.threads is not None:
        _backend.set_num_threads(args.threads)
    if args.peers is None:
        rows = kernels.rows(args.filter)
        _need_rows(args.filter, rows, [row.name for row in kernels.rows()])
    else:
        jobs = contests.select(args.filter)
        _need_rows(args.filter, jobs, [job.name for job in contests.CONTESTS])
    print(f"{cpu_model()}, {_backend.isa}, {_busy()}")
    found = limits.measure(seconds=min(args.seconds, 0.1))
    print("\n".join(limits.lines(found)), flush=True)
    results = kernel_table(rows, found, args) if args.peers is None else peer_tables(jobs, found, args)
    if args.json:
        report = {"cpu": cpu_model(), "isa": _backend.isa, "limits": asdict(found), "results": results}
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 0


def _need_rows(pattern: str, rows: list[Any], names: list[str]) -> None:
    if not rows:
        known = f"Names begin with {', '.join(sorted({name.split()[0] for name in names}))}."
        _check.fail(_NAME, "--filter", "words in the name of a row", repr(pattern), known)


def _busy() -> str:
    """How busy the machine is with other things: times are only worth something if it is idle."""
    load = os.getloadavg()[0]
    return f"load {load:.1f}" + (": other programs are running, expect noise" if load > 0.5 else "")


def kernel_table(rows: list[kernels.Row], found: Limits, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time kernels, print their table, return its figures."""
    lines, results = [], []
    for row in rows:
        seconds = timing.median_seconds(row.make(_backend.kernels), args.seconds, args.repeats)
        lines.append(table.kernel_row(row.name, seconds, row.flops, row.moved, row.footprint, found))
        share = found.share(seconds, row.flops, row.moved, row.footprint)
        results.append({"name": row.name, "seconds": seconds, "flops": row.flops, "moved": row.moved, "share": share})
    print(table.text(table.KERNEL_HEADER, lines, args.markdown))
    return results


def peer_tables(jobs: list[Contest], found: Limits, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the contests, print a table of each as it ends, return all figures."""
    peers = ["ours", *args.peers, "limit"] if args.peers else contest.PEERS
    present, missing = contest.installed(peers, found.threads)
    for peer, reason in missing.items():
        print(f"{peer}: left out: {reason}")
    results = []
    for job in jobs:
        begin = time.perf_counter()
        entries = contest.run(job, present, found.threads, args.repeats, args.seconds)
        seconds = time.perf_counter() - begin
        print(f"\n{job.name} ({found.threads} threads, {args.repeats} turns each, {seconds:.0f} s)")
        lines = [_entry(job, entry, entries, found) for entry in entries]
        print(table.text(_header(job), lines, args.markdown), flush=True)
        results += [_record(job, entry, found) for entry in entries]
    return results


def _record(job: Contest, entry: Result, found: Limits) -> dict[str, Any]:
    """What --json keeps of a line."""
    share = found.share(entry.median, job.flops, job.moved, job.footprint) if entry.seconds else None
    what = {"contest": job.name, "amount": job.amount, "unit": job.unit, "steps": job.steps}
    return {**what, **asdict(entry), "share": share}


def _header(job: Contest) -> list[str]:
    return [
        "contender",
        job.unit,
        "time of a step" if job.steps > 1 else "time",
        "spread",
        "share of limit",
        "fastnn is",
        "peak MB",
    ]


def _entry(job: Contest, entry: Result, entries: list[Result], found: Limits) -> list[str]:
    """A line of a contest's table.

    `spread`: between the quartiles of the turns; `fastnn is`: how many times as fast as this one its form beside it is.
    """
    name = f"{entry.contender} {entry.variant}"
    if entry.error:
        return [name, "-", "-", "-", "-", "-", entry.error]
    ours = contest.ours_beside(entry, entries)
    low, high = np.percentile(entry.seconds, [25, 75])
    return [
        name,
        table.rate(job.amount / entry.median),
        table.duration(entry.median / job.steps),
        f"{(high - low) / entry.median:.0%}",
        f"{found.share(entry.median, job.flops, job.moved, job.footprint):.0%}",
        "" if entry.peer == "ours" or ours is None else f"{entry.median / ours.median:.2f} x",
        f"{entry.peak_mb:.0f}",
    ]
