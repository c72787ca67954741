"""cuBLASLt, found or not, by a stand-in on host memory that checks what it is given (tests/emulator/cublaslt)."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from emulator.cublaslt import build as cublaslt

TESTS = ROOT / "tests"
API = ROOT / "csrc" / "cuda" / "cublaslt_api.h"
PRODUCT = """
import sys, numpy
sys.path.insert(0, {tests!r})
from emulator import rows
from emulator.device_arrays import on_device
kernels = rows.load("plain")
kernels.set_gemm_backend("cublaslt")
x = on_device([numpy.ones((4, 4), numpy.float32), numpy.full((4, 4), 9, numpy.float32)])
kernels.gemm(x[0], x[0], x[1])
print(x[1].sum(), kernels.gemm_backend())
"""


@pytest.fixture
def product(run_python):
    """A function that multiplies two 4x4 matrices of ones in a fresh process: (their sum and the library, errors)."""

    def run(**env):
        done = run_python("-c", PRODUCT.format(tests=str(TESTS)), env={"CUEMU_SEED": "0", **env})
        return done.stdout, done.stderr.strip().splitlines()[-1:] if done.returncode else []

    return run


@pytest.mark.parametrize("compute", ["float32"])
def test_every_product_passes_through_it(run_python, compute):
    path = TESTS / "emulator" / "cublaslt" / "build.py"
    done = run_python(path, compute, env={"FASTNN_CUBLASLT": str(cublaslt.standin()), "CUEMU_SEED": "1"}, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert not found["problems"], "\n".join(found["problems"][:20])
    assert found["matmuls"] > found["rows"] * 0.6 and found["gradients"] > 0
    assert found["heuristics"] <= found["matmuls"]


def test_it_is_found_by_its_path(product):
    path = str(cublaslt.standin())
    output, error = product(FASTNN_CUBLASLT=path)
    assert not error
    assert output.startswith("64.0 ") and f"'cublaslt': '{path}', 'version': 130002, 'why_not': ''" in output


def test_without_it_our_kernels_do_it(product):
    output, error = product(FASTNN_CUBLASLT="0")
    assert not error
    assert output.startswith("64.0 ") and "'cublaslt': '', 'version': 0, 'why_not': 'FASTNN_CUBLASLT is 0'" in output


def test_what_it_does_not_support_our_kernels_do(product):
    fails = {"STANDIN_FAIL": "MatmulAlgoGetHeuristic", "STANDIN_STATUS": "15"}
    output, error = product(FASTNN_CUBLASLT=str(cublaslt.standin()), **fails)
    assert not error and output.startswith("64.0 ")


@pytest.mark.parametrize("function", [
    "Create", "MatmulDescCreate", "MatrixLayoutCreate", "MatmulPreferenceCreate", "MatmulAlgoGetHeuristic", "Matmul",
])  # fmt: skip
def test_a_call_that_fails_is_named(product, function):
    error = product(FASTNN_CUBLASLT=str(cublaslt.standin()), STANDIN_FAIL=function)[1]
    assert error == [f"RuntimeError: cuBLASLt: cublasLt{function} failed: CUBLAS_STATUS_EXECUTION_FAILED"]


def test_a_library_that_lacks_a_function_is_refused(product):
    path = cublaslt.standin("STANDIN_INCOMPLETE")
    error = product(FASTNN_CUBLASLT=str(path))[1]
    wanted = f"FASTNN_CUBLASLT must be 0 or the path of libcublasLt.so, got '{path}': {path} lacks cublasLtMatmul"
    assert error == [f"RuntimeError: {wanted}"]


def test_a_library_of_another_version_is_refused(product):
    path = cublaslt.standin()
    error = product(FASTNN_CUBLASLT=str(path), STANDIN_VERSION="110502")[1]
    assert len(error) == 1 and error[0].endswith(f"{path} is of version 110502, not 12 or 13")


def test_a_path_of_nothing_is_refused(product):
    error = product(FASTNN_CUBLASLT="/nowhere/libcublasLt.so")[1]
    assert len(error) == 1 and "got '/nowhere/libcublasLt.so': /nowhere/libcublasLt.so: cannot open" in error[0]


# ---- the values of its header


def header():
    """NVIDIA's cublasLt.h and cublas_api.h as text, where a wheel or a toolkit has them, else None."""
    spec = find_spec("nvidia")
    folders = [Path(place) / wheel / "include" for place in (spec.submodule_search_locations if spec else [])
               for wheel in ("cu13", "cublas")]  # fmt: skip
    for folder in [*folders, Path("/usr/local/cuda/include")]:
        if (folder / "cublasLt.h").is_file():
            return (folder / "cublasLt.h").read_text() + (folder / "cublas_api.h").read_text()
    return None


def value_of(name, written):
    """The number of an enumerator, which may be written as others combined by |."""
    parts = [part.strip() for part in written[name].strip("() ").split("|")]
    return sum({int(part) if part.isdigit() else value_of(part, written) for part in parts})


def test_our_values_are_those_of_the_header():
    text = header()
    if text is None:
        pytest.skip("NVIDIA's header isn't installed: pip install nvidia-cublas")
    written = dict(re.findall(r"^\s*(CUBLAS\w+)\s*=\s*([\w |()]+)", text, re.MULTILINE))
    ours = {}
    for enumerators, prefix in re.findall(r"enum \w+ : [\w:]+ \{([^}]*)\};\s+// (\w+)", API.read_text()):
        ours |= {prefix + name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", enumerators)}
    assert ours.pop("CUDA_R_32F") == 0 and len(ours) == 24
    assert {name: value_of(name, written) for name in ours} == ours
