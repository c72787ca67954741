"""Prints tables of saved results: `python bench/report.py results.json ... [--markdown] [--page docs/performance.md]`.

The files are those of `python -m pytest bench --benchmark-json FILE`, `fastnn bench --peers --json FILE`, `sweep.py`
and `steps.py`. Where several hold the same contest, with as many threads and the same instruction set, the last counts.
--page writes the tables into a page, between lines `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import json
import re
from pathlib import Path
from statistics import median

import optimizer_steps
import steps
import sweep
from words import beside, times

from fastnn.benchmark import table
from fastnn.benchmark.contests import CONTESTS
from fastnn.benchmark.limits import Limits

UNITS_OF_NETWORKS = ("samples/s", "calls/s")
KNOWN = {contest.name: contest for contest in CONTESTS}


def kernels(results, markdown):
    """The limits, and a line for each row that pytest-benchmark timed."""
    rows = [entry["extra_info"] for entry in results["benchmarks"]]
    lines = [[row[column] for column in table.KERNEL_HEADER] for row in rows]
    return "\n".join([*results["limits"], table.text(table.KERNEL_HEADER, lines, markdown)])


def merged(files):
    """{(instruction set, threads): {contest: {contender: its forms, fastest first}}}, in the order of the files."""
    runs = {}
    for results in files:
        run = runs.setdefault((results["isa"], results["limits"]["threads"]), {})
        entries = [entry for entry in results["results"] if "contest" in entry and entry["seconds"]]
        for contest in dict.fromkeys(entry["contest"] for entry in entries if entry["peer"] == "ours"):
            forms = run[contest] = {}
            for entry in (entry for entry in entries if entry["contest"] == contest):
                entry["rate"] = entry["amount"] / median(entry["seconds"])
                entry["share"] = share(entry, best_limits(files, results["limits"]["threads"]))
                forms.setdefault(entry["contender"], []).append(entry)
            for entered in forms.values():
                entered.sort(key=lambda entry: -entry["rate"])
    return runs


def best_limits(files, threads):
    """The limits with so many threads: of all runs the best, as what disturbs a run makes it slower."""
    found = [results["limits"] for results in files if results["limits"]["threads"] == threads]
    copy, scale = (
        {int(size): max(run[kind][size] for run in found) for size in found[0][kind]} for kind in ("copy", "scale")
    )
    return Limits(threads, max(run["flops"] for run in found), copy, scale)


def share(entry, limits):
    """The share of the limit, as it was measured where the contest isn't one of those known here."""
    contest = KNOWN.get(entry["contest"])
    if contest is None:
        return entry["share"]
    return limits.share(median(entry["seconds"]), contest.flops, contest.moved, contest.footprint)


def contenders(run):
    """fastnn's name and those of the others."""
    names = list(dict.fromkeys(name for forms in run.values() for name in forms))
    return names[0], names[1:]


def networks(run, markdown):
    """A line for each contest: rates of the fastest forms, how many times as fast fastnn is, and the memory."""
    ours, others = contenders(run)
    lines = []
    for name, forms in run.items():
        own = forms[ours][0]
        step = table.duration(median(own["seconds"]) / own["steps"])
        cells = [beside(forms.get(other, [])[:1], own) for other in others]
        memory = " / ".join(f"{forms[who][0]['peak_mb']:.0f}" if who in forms else "-" for who in (ours, *others))
        lines.append([f"{name}, {own['unit']}", table.rate(own["rate"]), step, *cells, f"{own['share']:.0%}", memory])
    memory = f"peak MB: {' / '.join(name.split()[0] for name in (ours, *others))}"
    return table.text(["job", ours, "a step", *others, "share of limit", memory], lines, markdown)


def operations(run, markdown):
    """A line for each contest: rates of all forms, and how many times as fast fastnn is."""
    ours, others = contenders(run)
    lines = []
    for name, forms in run.items():
        own = forms[ours][0]
        cells = [beside(forms.get(other, []), own) for other in others]
        lines.append([f"{name}, {own['unit']}", table.rate(own["rate"]), *cells, f"{own['share']:.0%}"])
    return table.text(["operation", ours, *others, "share of limit"], lines, markdown)


_TABLES = {"networks": networks, "kernels": operations, "optimizers": optimizer_steps.steps_table, "torch": operations}


def threads(one, many, count, markdown):
    """The gain of `count` threads over one for each contender, and how fast fastnn is beside the others on one."""
    ours, others = contenders(many)
    lines = []
    for name in (name for name in many if name in one):
        slow, fast = ({who: forms[0]["rate"] for who, forms in run[name].items()} for run in (one, many))
        cells = [f"{name}, {many[name][ours][0]['unit']}"]
        for who in (ours, *others):
            found = who in slow and who in fast
            gain = (table.rate(slow[who]), table.rate(fast[who]), times(fast[who] / slow[who])) if found else ()
            cells.append("{} to {}: {}".format(*gain) if found else "")
        lines.append([*cells, " / ".join(times(slow[ours] / slow[who]) if who in slow else "-" for who in others)])
    short = " / ".join(name.split()[0] for name in others)
    return table.text([f"job, one thread to {count}", ours, *others, f"one thread, beside {short}"], lines, markdown)


def parts(run):
    """{kind: the contests of that kind}, kind as in `Contest`."""
    ours, _ = contenders(run)
    kinds = {}
    for name, forms in run.items():
        unknown = "networks" if forms[ours][0]["unit"] in UNITS_OF_NETWORKS else "kernels"
        kinds.setdefault(KNOWN[name].kind if name in KNOWN else unknown, {})[name] = forms
    return kinds


def setup(files):
    """The machine, its instruction set, and the limits: of all runs with as many threads the best counts."""
    lines = [f"{files[0]['cpu']}, {files[0]['isa']}."]
    for count in dict.fromkeys(results["limits"]["threads"] for results in files):
        limits = best_limits(files, count)
        far = max(limits.copy)
        lines.append(
            f"Limits with {count} thread{'s' * (count > 1)}: {limits.flops / 1e9:.0f} GFLOP/s of multiply-adds, memory "
            f"{limits.copy[far] / 1e9:.0f} GB/s copied, {limits.scale[far] / 1e9:.0f} GB/s scaled in place."
        )
    return " ".join(lines)


def load(paths):
    """What is in these files: the results of contests, the points of sweeps, the parts of steps."""
    files = [json.loads(path.read_text()) for path in paths]
    points, parts_of_steps = ([entry for file in files for entry in file.get(kind, ())] for kind in ("points", "steps"))
    return [results for results in files if "results" in results], points, parts_of_steps


def tables(files, points, parts_of_steps, markdown):
    """{name: text} of every table that the results are enough for. The first run with most threads is the main one."""
    found = {}
    if files:
        runs = merged(files)
        isa, count = max(runs, key=lambda run: run[1])
        main = runs[isa, count]
        found["setup"] = setup(files)
        kinds = parts(main)
        found |= {kind: _TABLES[kind](run, markdown) for kind, run in kinds.items()}
        if count > 1 and (isa, 1) in runs:
            found["threads"] = threads(runs[isa, 1], kinds["networks"], count, markdown)
        for (other, workers), run in runs.items():
            if other != isa and workers == count:
                found[other] = networks(parts(run)["networks"], markdown)
    if points:
        found["sweep"] = sweep.fits_table(sweep.curves(points), markdown)
    if parts_of_steps:
        found["steps"] = steps.steps_table(parts_of_steps, markdown)
    return found


def write_page(path, found):
    """Replaces what stands between the marks; a table that there are no results for stays as it is."""

    def replace(match):
        return f"{match[1]}{found[match[2]]}\n{match[3]}" if match[2] in found else match[0]

    marks = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    path.write_text(marks.sub(replace, path.read_text()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--markdown", action="store_true", help="print tables for a page of documentation")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write them into this page")
    args = parser.parse_args()
    for path in args.results:
        results = json.loads(path.read_text())
        if "benchmarks" in results:
            print(kernels(results, args.markdown))
    found = tables(*load(args.results), markdown=args.markdown or args.page is not None)
    if args.page:
        write_page(args.page, found)
    else:
        print("\n\n".join(found.values()))
