"""The CUDA-on-CPU emulator: its own test in every variant, and planted bugs that it must find."""

import subprocess

import pytest
from emulator import build


def run_program(path, seed=0, *arguments, **environment):
    """Runs a program of the emulator; returns the CompletedProcess with its output in text."""
    variables = {"CUEMU_SEED": str(seed), "ASAN_OPTIONS": "detect_leaks=0", **environment}
    return subprocess.run([path, *arguments], env=variables, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("variant", build.VARIANTS)
def test_selftest(variant):
    done = run_program(build.program("selftest", variant))
    assert done.stdout == "selftest ok\n", done.stdout + done.stderr
    assert done.returncode == 0
