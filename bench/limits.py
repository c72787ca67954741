"""Prints what this machine can do at best: `python bench/limits.py [THREADS]`. See fastnn/benchmark/limits.py."""

import sys

from fastnn.benchmark import limits

if __name__ == "__main__":
    print("\n".join(limits.lines(limits.measure(int(sys.argv[1]) if len(sys.argv) > 1 else None))))
