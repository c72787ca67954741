"""Prints the table of a pytest-benchmark run: `python bench/report.py results.json [--markdown]`."""

import argparse
import json
from pathlib import Path

from fastnn.benchmark import table


def report(results, markdown):
    """The limits, and a line for each row that was timed."""
    rows = [entry["extra_info"] for entry in results["benchmarks"]]
    lines = [[row[column] for column in table.KERNEL_HEADER] for row in rows]
    return "\n".join([*results["limits"], table.text(table.KERNEL_HEADER, lines, markdown)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="written by `python -m pytest bench --benchmark-json FILE`")
    parser.add_argument("--markdown", action="store_true", help="print a table for a page of documentation")
    args = parser.parse_args()
    print(report(json.loads(args.results.read_text()), args.markdown))
