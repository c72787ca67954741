"""Measures all that docs/performance.md shows, then writes its tables and its plot: about half an hour, machine idle.

    python bench/refresh.py                        everything
    python bench/refresh.py --filter "conv"        measure only what has these words in its name, write all tables
    python bench/refresh.py --filter nothing       measure nothing, write the tables from what was measured before
    python bench/refresh.py --before "chrt -f 1"   what to put before each command that measures

Results are kept in build/bench/, a file for each contest. Close other programs first.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import report
import sweep

from fastnn import _backend
from fastnn.benchmark import contests, table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "build" / "bench"
SWEEP, STEPS = RESULTS / "sweep.json", RESULTS / "steps.json"
PAGE = ROOT / "docs" / "performance.md"
# Instruction set (None: the best), threads (None: all) and the contests run so; the first is what the page is about.
RUNS = ((None, None, ""), (None, 1, "MLP"), (None, 1, "CNN"), ("x86-64-v3", None, "seed MLP, batch 32"))


def jobs():
    """(its name, what Python is to run, the instruction set, the file that it writes) of everything, in order."""
    for isa, threads, which in RUNS:
        chosen = [job for job in contests.select(which) if job.kind == "networks" or not which]
        for job in chosen if isa in (None, *_backend.isa_levels()) else []:
            name = ", ".join([job.name, *([f"{threads} thread"] if threads else []), *([isa] if isa else [])])
            path = RESULTS / f"{re.sub('[ ,]+', '-', name)}.json"
            command = ["-m", "fastnn", "bench", "--peers", "--filter", job.name, "--json", str(path)]
            yield name, command + (["--threads", str(threads)] if threads else []), isa, path
    for point in sweep.points():
        name = f"{point.sweep} {point.size}"
        yield name, [str(ROOT / "bench" / "sweep.py"), "--filter", name, "--json", str(SWEEP)], None, SWEEP
    yield "steps", [str(ROOT / "bench" / "steps.py"), "--json", str(STEPS)], None, STEPS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", metavar="WORDS")
    parser.add_argument("--before", default="", metavar="COMMAND")
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, command, isa, _ in jobs():
        if table.matches(name, args.filter):
            print(f"\n== {name}", flush=True)
            environment = os.environ | ({"FASTNN_ISA": isa} if isa else {})
            subprocess.run([*shlex.split(args.before), sys.executable, *command], env=environment, check=True)
    paths = dict.fromkeys(path for *_, path in jobs() if path.exists())
    found = report.tables(*report.load(paths), markdown=True)
    report.write_page(PAGE, found)
    print(f"\nwrote into {PAGE}: {', '.join(found)}")


if __name__ == "__main__":
    main()
