"""The CUDA-on-CPU emulator: its own test in every variant, and planted bugs that it must find."""

import re
import subprocess

import pytest
from emulator import build

SEEDS = range(4)
# Bug of planted.cu -> variant -> what at least one seed shows there.
PLANTED = {
    "no_barrier_before_read": {"plain": "wrong: center", "race": "race on shared memory: (read|write)"},
    "no_barrier_before_write": {"plain": "wrong: center", "race": "race on shared memory: (read|write)"},
    "reads_one_too_many": {"asan": r"heap-buffer-overflow.*\n.*READ of size 4"},
    "writes_one_too_many": {"asan": r"heap-buffer-overflow.*\n.*WRITE of size 4", "race": "race on global memory"},
    "shared_overflow": {"asan": r"heap-buffer-overflow.*\n.*WRITE of size 4"},
    "no_syncwarp": {"plain": "wrong: scan", "race": "race on shared memory"},
    "blocks_race": {"race": "race on global memory"},
    "uninitialised_shared": {"plain": "wrong: center"},
    "no_fence": {"race": "race on global memory: read"},
    "no_barrier_before_flag": {"race": "race on global memory: read"},
    "no_wait_for_copies": {"plain": "wrong: staged"},
    "divergent_barrier": {"plain": "reported: (divergent __syncthreads|deadlock)"},
    "misaligned": {"asan": "misaligned address"},
}


def run_program(path, seed=0, *arguments):
    """Runs a program of the emulator; returns the CompletedProcess with its output in text."""
    variables = {"CUEMU_SEED": str(seed), "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([path, *arguments], env=variables, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("variant", build.VARIANTS)
def test_selftest(variant):
    done = run_program(build.program("selftest", variant))
    assert done.stdout == "selftest ok\n", done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("variant", build.VARIANTS)
def test_kernels_without_a_bug_pass(variant):
    program = build.program("planted", variant)
    for seed in SEEDS:
        done = run_program(program, seed, "none")
        assert (done.stdout, done.returncode) == ("correct\n", 0), f"seed {seed}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("bug, variant", [(bug, variant) for bug, found in PLANTED.items() for variant in found])
def test_planted_bug_is_found(bug, variant):
    program = build.program("planted", variant)
    runs = [run_program(program, seed, bug) for seed in SEEDS]
    shown = [done.stdout + done.stderr for done in runs if done.returncode != 0]
    assert any(re.search(PLANTED[bug][variant], text) for text in shown), "\n".join(shown) or "nothing was found"


def test_every_planted_bug_is_expected():
    names = re.findall(r'"(\w+)"', re.search(r"kNames\[\] = \{(.*?)\}", planted_source(), re.DOTALL)[1])
    assert names == ["none", *PLANTED]


def planted_source():
    return (build.EMULATOR / "planted.cu").read_text()
