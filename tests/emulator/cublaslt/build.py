"""Builds the stand-in for libcublasLt, and runs the rows of matrix products through it.

python tests/emulator/cublaslt/build.py float32   # every product by the stand-in, at this precision; prints JSON
"""

import ctypes
import json
import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

from emulator import build  # noqa: E402

SOURCE = Path(__file__).resolve().parent / "standin.cpp"
KERNELS = ("gemm", "dense_forward", "dense_backward", "dense_input_gradient")


def standin(*definitions):
    """Builds the shared library, with macros defined. Returns its path."""
    path = build.OUTPUT / "cublaslt" / f"{'-'.join(['standin', *definitions])}.so"
    flags = [*build.FLAGS, *build.WARNINGS, "-shared", *(f"-D{name}" for name in definitions)]
    build.run(path, [*build.CXX, *flags, SOURCE, "-o", path], [SOURCE])
    return path


def main(compute):
    """Runs the rows; prints what went wrong, the products that the stand-in did and the plans that were made."""
    from emulator import rows

    kernels = rows.load("plain")
    kernels.set_gemm_backend("cublaslt")
    kernels.set_compute(compute)
    problems = []
    cases = [case for name in KERNELS for case in rows.rows_of(name)]
    for case in cases:
        expected = case.expected()
        problem = rows.run_guarded(case, kernels, expected)[1]
        if problem:
            problems.append(f"{case.name}: {problem}")
    library = ctypes.CDLL(os.environ["FASTNN_CUBLASLT"])
    counts = {name: getattr(library, f"standin_{name}")() for name in ("matmuls", "heuristics", "gradients")}
    print(json.dumps({"problems": problems, "rows": len(cases), **counts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
