"""The CUDA kernels under the emulator's tools: races, accesses out of bounds, host code that touches the GPU's memory.

Every `__global__` function must have been run by each of them.
"""

import re
from pathlib import Path

import pytest
from cases import CASES
from emulator import backgrounds, rows

# What neither rows.py nor the tests in BEYOND_ROWS launch: the test that runs it with the same tools.
ELSEWHERE = {"combine_kernel": "test_device_collectives.py: test_kernels_of_the_ring_are_clean"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """All of them run at once."""
    running = backgrounds.begin_all(tmp_path_factory.mktemp("launched"))
    yield running
    for background in running.values():
        background.process.kill()


@pytest.mark.parametrize("tool", backgrounds.VARIANTS)
def test_rows(tool, begun):
    problems, kernels = begun[tool, "rows"].said
    assert not problems, "\n".join(problems)
    assert kernels == len({case.kernel for case in CASES})


@pytest.mark.parametrize("tool", ["asan", "race"])
def test_what_is_beyond_rows(tool, begun):
    output, errors = begun[tool, "tests"].output
    assert begun[tool, "tests"].process.returncode == 0, output[-4000:] + errors[-4000:]
    assert " passed" in output and "skipped" not in output


@pytest.mark.parametrize("tool", ["asan", "race"])
def test_every_kernel_is_run(tool, begun):
    launched = begun[tool, "rows"].launched() | begun[tool, "tests"].launched()
    kernels = rows.kernels_of_sources()
    assert launched <= set(kernels), "names are read wrongly"
    assert set(kernels) - launched == set(ELSEWHERE), {name: kernels[name] for name in set(kernels) - launched}


def test_the_documentation_counts_every_kernel():
    text = (Path(__file__).parents[1] / "docs" / "cuda.md").read_text()
    table = text.split("## Every `__global__` function")[1]
    rows_of_table = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows_of_table)
    documented = re.findall(r"`(\w+)`", " ".join(row[0] for row in rows_of_table))
    assert len(documented) == len(set(documented))
    assert set(documented) == set(rows.kernels_of_sources())
