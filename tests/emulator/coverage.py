"""Which lines of the CUDA kernels no test of the emulator runs.

    python tests/emulator/coverage.py

Builds the extension once more, with gcov's counters, runs the tests tests/test_cuda_*.py on it in place of the plain
variant, and prints the lines of csrc/cuda that were compiled but never run. Exits with 1 if there are any. What stands
behind #ifdef __CUDACC__ isn't compiled here.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from emulator import build  # noqa: E402


def run_tests():
    """Runs the tests; the counters are written when the process ends."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not race and not by_the_host"]
    environment = {**os.environ, "CUEMU_PLAIN": "coverage"}
    subprocess.run([*command, *map(str, build.ROOT.glob("tests/test_cuda_*.py"))], env=environment, cwd=build.ROOT)


def counts():
    """{file: {line: how often it ran}} of csrc/cuda, all objects together."""
    found = defaultdict(lambda: defaultdict(int))
    for path in (build.OUTPUT / "coverage").rglob("*.gcda"):
        done = subprocess.run(["gcov", "--json-format", "--stdout", path], capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            for file in json.loads(line)["files"]:
                name = file["file"].split("csrc/cuda/")
                for entry in file["lines"] if len(name) == 2 else ():
                    found[name[1]][entry["line_number"]] += entry["count"]
    return found


def main():
    """Prints the lines that never ran; returns the exit code."""
    for old in (build.OUTPUT / "coverage").rglob("*.gcda"):
        old.unlink()
    build.extension("coverage")
    run_tests()
    missed = 0
    for name, lines in sorted(counts().items()):
        text = (build.ROOT / "csrc" / "cuda" / name).read_text().splitlines()
        for number in sorted(number for number, count in lines.items() if count == 0):
            print(f"{name}:{number}: {text[number - 1].strip()}")
            missed += 1
    print(f"{missed} lines were never run.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
