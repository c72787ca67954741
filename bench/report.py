"""Prints tables of saved results: `python bench/report.py results.json ... [--markdown]`.

The files are those of `python -m pytest bench --benchmark-json FILE` and of `fastnn bench --peers --json FILE`.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from fastnn.benchmark import table


def kernels(results, markdown):
    """The limits, and a line for each row that pytest-benchmark timed."""
    rows = [entry["extra_info"] for entry in results["benchmarks"]]
    lines = [[row[column] for column in table.KERNEL_HEADER] for row in rows]
    return "\n".join([*results["limits"], table.text(table.KERNEL_HEADER, lines, markdown)])


def contests(entries, markdown):
    """A line for each contest: the rate of each contender's fastest form, and fastnn over the best of the others."""
    names = list(dict.fromkeys(entry["contender"] for entry in entries))
    lines = []
    for contest in dict.fromkeys(entry["contest"] for entry in entries):
        best = {}
        for entry in entries:
            if entry["contest"] == contest and entry["seconds"]:
                rate = entry["amount"] / median(entry["seconds"])
                best[entry["contender"]] = max(best.get(entry["contender"], (0, "")), (rate, entry["variant"]))
        unit = next(entry["unit"] for entry in entries if entry["contest"] == contest)
        ours = best[names[0]][0]
        ratio = ours / max(rate for name, (rate, _) in best.items() if name != names[0])
        cells = [f"{table.rate(best[name][0])} {best[name][1]}" if name in best else "" for name in names]
        lines.append([f"{contest}, {unit}", *cells, f"{ratio:.2f} x"])
    return table.text(["contest", *names, "to the best"], lines, markdown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--markdown", action="store_true", help="print a table for a page of documentation")
    args = parser.parse_args()
    files = [json.loads(path.read_text()) for path in args.results]
    for results in files:
        if "benchmarks" in results:
            print(kernels(results, args.markdown))
    entries = [entry for results in files for entry in results.get("results", []) if "contest" in entry]
    if entries:
        print(contests(entries, args.markdown))
