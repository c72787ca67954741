"""The rows of tests/cases.py with `bench=True`, run by pytest-benchmark: `python -m pytest bench` in a checkout."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fastnn import _backend  # noqa: E402
from fastnn.benchmark import limits  # noqa: E402


def pytest_configure(config):
    """Half a second a row is enough; a row is timed five times at least."""
    config.option.benchmark_max_time = 0.3
    config.option.benchmark_warmup = True


@pytest.fixture(scope="session")
def found():
    """This machine's limits, measured in this run."""
    return limits.measure()


def pytest_terminal_summary(terminalreporter):
    """What everything is measured against, beside pytest-benchmark's own table."""
    if limits.measure.cache_info().currsize:
        terminalreporter.write_line("\n".join([f"kernels: {_backend.isa}", *limits.lines(limits.measure())]))


def pytest_benchmark_update_json(config, benchmarks, output_json):
    """The limits go into the file too, for report.py."""
    if limits.measure.cache_info().currsize:
        output_json["limits"] = limits.lines(limits.measure())
