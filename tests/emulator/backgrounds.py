"""Runs of the emulated kernels with a tool that looks for mistakes, in processes that run while other tests do.

asan    AddressSanitizer and UBSan; arrays have their exact sizes
race    the race detector
hidden  plain, but arrays lie in memory that host code can't touch (rows only)
"""

import json
import os
import subprocess
import sys
from functools import cached_property
from pathlib import Path

from emulator import build, rows
from rank_processes import PACKAGE

TESTS = Path(__file__).resolve().parents[1]
VARIANTS = {"asan": "asan", "race": "race", "hidden": "plain"}
# Tests of what no row of cases.py is: tables that change, numbers on the GPU, a step's control, products in parts.
BEYOND_ROWS = (
    "test_cuda_content.py",
    "test_cuda_optimizers.py",
    "test_cuda_jax.py::test_numbers_that_are_traced",
    "test_cuda_products.py::test_parts_of_a_sum_are_added_in_order",
    "test_cuda_products.py::test_more_parts_than_products",
)


def libraries_of_asan():
    """What must be loaded first where AddressSanitizer comes with an extension instead of with the program."""
    names = ("libasan.so", "libstdc++.so")
    paths = [subprocess.run([*build.CXX, f"-print-file-name={name}"], capture_output=True, text=True) for name in names]
    return ":".join(done.stdout.strip() for done in paths)


class Background:
    """A command that runs the extension of a variant.

    Args:
        tool: a key of VARIANTS.
        notes: the file in which the emulator notes what is launched.
    """

    def __init__(self, tool, command, notes, **variables):
        self.variant, self.notes = VARIANTS[tool], notes
        build.extension(self.variant)
        if tool == "asan":
            variables.update(LD_PRELOAD=libraries_of_asan(), ASAN_OPTIONS="detect_leaks=0:abort_on_error=0")
        variables.update(CUEMU_LAUNCHED=str(notes), PYTHONPATH=str(PACKAGE.parent))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=TESTS, env={**os.environ, **variables}, **pipes)

    @cached_property
    def output(self):
        """(standard output, standard error), once it has ended."""
        return self.process.communicate(timeout=900)

    def launched(self):
        """The names of the `__global__` functions that it launched."""
        assert self.output
        return set(rows.kernels_in(self.notes.read_text(), build.extension(self.variant)))


class RowsRun(Background):
    """rows.py: some rows of every kernel."""

    def __init__(self, tool, folder):
        mode = "hidden" if tool == "hidden" else "exact"
        command = [sys.executable, build.EMULATOR / "rows.py", VARIANTS[tool], mode]
        super().__init__(tool, command, folder / f"{tool}-rows")

    @cached_property
    def said(self):
        """(what was wrong, in sentences; how many kernels were run)."""
        output, errors = self.output
        lines = [json.loads(line) for line in output.splitlines()]
        found = []
        for begun, ended in zip(lines, [*lines[1:], {}]):
            if "row" in begun and ended.get("error", "the process died") != "":
                where = f"{begun['row']} with seed {begun['seed']} in {begun['compute']}"
                found.append(f"{where}: {ended.get('error', 'the process died')}")
        if self.process.returncode != 0:
            found.append(errors[:4000])
        return found, lines[-1].get("done", 0) if lines else 0


class TestsRun(Background):
    """The tests in BEYOND_ROWS, with this variant in the place of the plain one."""

    def __init__(self, tool, folder):
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *BEYOND_ROWS]
        seed = {"asan": "2", "race": "1"}[tool]  # where a test doesn't say another order of threads
        super().__init__(tool, command, folder / f"{tool}-tests", CUEMU_PLAIN=VARIANTS[tool], CUEMU_SEED=seed)


def begin_all(folder):
    """{(tool, "rows" or "tests"): what runs}."""
    begun = {(tool, "rows"): RowsRun(tool, folder) for tool in VARIANTS}
    return begun | {(tool, "tests"): TestsRun(tool, folder) for tool in ("asan", "race")}
