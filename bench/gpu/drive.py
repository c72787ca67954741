"""Calls kernels of fastnn._cuda, for tools that watch a program: compute-sanitizer and Nsight Compute.

python bench/gpu/drive.py        # some rows of every kernel, checked against their references
python bench/gpu/drive.py --hot  # the five main kernels at real sizes, three times each
"""

import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cases import CASES  # noqa: E402
from emulator import rows  # noqa: E402
from gpu_arrays import OnGpu, run_on_gpu  # noqa: E402

HOT = ("adam_rule", "sparse_softmax_cross_entropy", "gemm", "conv2d_forward", "max_pool2d_forward")


def main_row(kernel):
    """The largest benchmark of a kernel."""
    return max((case for case in CASES if case.kernel == kernel and case.bench), key=lambda case: case.flops)


def main(hot):
    """Runs the rows; returns the exit code."""
    kernels = import_module("fastnn._cuda")
    names = [name for name in sorted({case.kernel for case in CASES}) if hasattr(kernels, name)]
    if hot:
        for name in HOT:
            if name in names:
                placed = OnGpu(main_row(name).arguments(), main_row(name).outputs, main_row(name).alias)
                call = main_row(name).call(kernels, placed.arguments)
                for _ in range(3):
                    call()
                placed.on_host()
        return 0
    problems = []
    for number, case in enumerate(case for name in names for case in rows.some_rows_of(name)):
        expected = case.expected()
        for compute in rows.computes_of(case, kernels):
            outputs, damage = run_on_gpu(case, kernels, compute, aligned=number % 2 == 1)
            tolerance = None if compute == "float32" else "rounded operands"
            problem = damage or rows.disagreement(case, outputs, expected, tolerance)
            if problem:
                problems.append(f"{case.name} in {compute}: {problem}")
    print("\n".join(problems) or f"{len(names)} kernels, all as their references")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main("--hot" in sys.argv))
