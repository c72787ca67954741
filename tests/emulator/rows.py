"""Rows of tests/cases.py on the emulated extension: which, in which order of threads, and what goes wrong.

python tests/emulator/rows.py asan exact    # some rows of every kernel with AddressSanitizer; JSON, a line each
python tests/emulator/rows.py plain hidden  # likewise, and host code may not touch the arrays
"""

import functools
import json
import os
import re
import subprocess
import sys
import zlib
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))

from case import arrays_in  # noqa: E402
from cases import CASES  # noqa: E402
from emulator import build  # noqa: E402
from emulator.device_arrays import Exact, Hidden, on_device  # noqa: E402
from placement import Placed  # noqa: E402
from tolerances import difference  # noqa: E402

MANY = 20_000  # operations above which a row runs in one order of threads only
TOO_MANY = 200_000  # operations above which a row is left to a GPU
SEEDS = range(4)


@functools.cache
def load(variant):
    """The extension `_cuda_emulated` of a variant, built if need be. NVIDIA's libraries can't take its arrays."""
    os.environ.setdefault("FASTNN_CUBLASLT", "0")
    variant = os.environ.get("CUEMU_PLAIN", variant) if variant == "plain" else variant  # see coverage.py
    path = str(build.extension(variant))
    loader = ExtensionFileLoader(build.MODULE, path)
    module = module_from_spec(spec_from_file_location(build.MODULE, path, loader=loader))
    loader.exec_module(module)
    return module


@functools.cache
def operations(case):
    """About how much work a row is: what it computes, or the elements that it touches."""
    return max(case.flops, sum(array.size for array in arrays_in(case.arguments())))


@functools.cache
def rows_of(kernel):
    """The rows of a kernel that are small enough for the emulator."""
    return [case for case in CASES if case.kernel == kernel and not case.bench and operations(case) <= TOO_MANY]


def longest_axis(case):
    return max(max(array.shape, default=0) for array in arrays_in(case.arguments()))


def some_rows_of(kernel, count=4):
    """Rows from the smallest that does something to the largest, and the longest: what the slow variants run."""
    cases = sorted((case for case in rows_of(kernel) if operations(case) >= 100), key=operations)
    chosen = [cases[number * (len(cases) - 1) // max(count - 1, 1)] for number in range(min(count, len(cases)))]
    return list(dict.fromkeys([*chosen, max(cases, key=longest_axis)]))


def places_of(case):
    """(order of threads, whether arrays are aligned): two orders each for small rows, else one and both."""
    if operations(case) <= MANY:
        return [(0, False), (1, False), (2, True), (3, True)]
    return [(zlib.crc32(case.name.encode()) % len(SEEDS), aligned) for aligned in (False, True)]


def in_order(seed):
    """Sets the order of threads."""
    os.environ["CUEMU_SEED"] = str(seed)


def outputs_of(case, kernels, arguments):
    """Runs the row; returns {output: its arrays or the number returned}."""
    returned = case.call(kernels, on_device(arguments))()
    return {name: returned if name == "return" else arguments[name] for name in case.outputs}


def computes_of(case, kernels):
    """What the products of the row can be made of; "float32" for rows without products."""
    products = case.kernel == "gemm" or case.kernel.startswith(("dense_", "conv2d_"))
    return ("float32", "tf32", "bfloat16", "float16") if products and hasattr(kernels, "set_compute") else ("float32",)


def run_in(compute, run, case, kernels, expected, aligned):
    """What is wrong with a row whose products are made of rounded operands; "" if nothing is."""
    if compute == "float32":
        return run(case, kernels, expected, aligned)[1]
    kernels.set_compute(compute)
    try:
        return run(case, kernels, expected, aligned, "rounded operands")[1]
    finally:
        kernels.set_compute("float32")


def disagreement(case, outputs, expected, tolerance=None):
    """A sentence on the first output that isn't as the reference says, or ""."""
    for name in case.outputs:
        actual, wanted = outputs[name], expected[name]
        pairs = [(actual, wanted)] if name == "return" else zip(arrays_in(actual), arrays_in(wanted), strict=True)
        for one, other in pairs:
            found = difference(one, other, tolerance or case.tolerance)
            if found:
                return f"{name}: {found}"
    return ""


def bits(outputs):
    """The outputs as bytes, to be compared exactly."""
    return [array.tobytes() for array in arrays_in(outputs)] + [v for v in outputs.values() if isinstance(v, int)]


def run_guarded(case, kernels, expected, aligned=False):
    """Runs the row between guards, at awkward addresses or aligned ones; returns (outputs, what is wrong)."""
    placed = Placed(case.arguments(), case.outputs, case.alias, aligned)
    outputs = outputs_of(case, kernels, placed.arguments)
    return outputs, placed.damage() or disagreement(case, outputs, expected)


def run_exact(case, kernels, expected, aligned=False, tolerance=None):
    """Runs the row in memory of the exact size; returns (outputs, what is wrong)."""
    outputs = outputs_of(case, kernels, Exact(case.arguments(), case.alias, aligned).arguments)
    return outputs, disagreement(case, outputs, expected, tolerance)


def run_hidden(case, kernels, expected, aligned=True, tolerance=None):
    """Runs the row in memory that host code can't touch; returns (outputs, what is wrong)."""
    hidden = Hidden(case.arguments(), kernels, case.alias)
    outputs = outputs_of(case, hidden.kernels, hidden.arguments)
    return outputs, disagreement(case, outputs, expected, tolerance)


def kernels_of_sources():
    """{name: file} of every `__global__` function in csrc/cuda."""
    pattern = r"__global__\s+void\s+(?:__launch_bounds__\([^;{]*?\)\s+)?(\w+)\("
    found = {}
    for path in sorted((build.ROOT / "csrc" / "cuda").glob("*.cu*")):
        text = path.read_text()
        names = re.findall(pattern, text)
        if len(names) != text.count("__global__"):
            raise ValueError(f"kernels_of_sources: {path.name} has a kernel that the pattern doesn't read")
        for name in names:
            if name in found:
                raise ValueError(f"kernels_of_sources: {found[name]} and {path.name} both have a kernel {name}")
            found[name] = path.name
    return found


def kernels_in(notes, library):
    """The names of kernels from what the emulator noted of launches: a line each with where it lies in the library."""
    symbols = subprocess.run(["nm", "-C", library], capture_output=True, text=True, check=True).stdout
    by_place = {}
    for line in symbols.splitlines():
        place = re.match(r"([0-9a-f]+) \w .*?fnn::cuda::(?:\(anonymous namespace\)::)?(\w+)[<(]", line)
        if place:
            by_place.setdefault(int(place[1], 16), place[2])
    return sorted({by_place.get(int(line, 16), f"at {line}") for line in notes.split()})


def main(variant, mode):
    """Runs some rows of every kernel; prints {"row", "seed"} before and {"error"} after each.

    Arrays are aligned or not in turn, with another order of threads each time.
    """
    kernels = load(variant)
    run = {"exact": run_exact, "hidden": run_hidden}[mode]
    names = sorted({case.kernel for case in CASES if hasattr(kernels, case.kernel)})
    for number, case in enumerate(case for name in names for case in some_rows_of(name)):
        seed, expected = number // 2 % len(SEEDS), case.expected()
        in_order(seed)
        for compute in computes_of(case, kernels):
            print(json.dumps({"row": case.name, "seed": seed, "compute": compute}), flush=True)
            try:
                error = run_in(compute, run, case, kernels, expected, aligned=number % 2 == 1)
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            print(json.dumps({"error": error}), flush=True)
    print(json.dumps({"done": len(names)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
