#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one call of at most nine minutes: builds for the card, runs the tests marked
# gpu, compute-sanitizer's four tools, the benchmarks beside PyTorch, and Nsight Compute on the main kernels.
#
#     bash bench/gpu.sh                  # results to $OUT, else to bench/results/
#     bash bench/gpu.sh build tests      # only these parts; they are listed in bench/gpu/parts.py
#
# A part that fails or takes too long doesn't stop the others. Exits with 0 if all went well, 1 if a part did not, 3 if
# there is no GPU. Needs python3 with setuptools, pybind11, cython, numpy, ml_dtypes, pytest, CuPy and PyTorch, and nvcc.
set -u
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" bench/gpu/run.py "$@"
