"""Whether and for what setup.py builds fastnn._cuda, and that the extension can be imported where there is no GPU."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODES = "sm_75 sm_80 sm_90 sm_90a sm_120"
HAS_SETUP = (ROOT / "setup.py").exists()
pytestmark = pytest.mark.skipif(not HAS_SETUP, reason="needs the source tree")


def build_cuda(code, **environment):
    """What a script with `import build_cuda` prints; PATH is empty unless it is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FASTNN_", "CUDA_"))}
    variables = {**kept, "PATH": "", **environment}
    script = f"import build_cuda, sys\nbuild_cuda.nvcc_of_wheels = lambda: None\n{code}"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=variables, capture_output=True, text=True)


@pytest.fixture
def toolkit(tmp_path):
    """A folder with a bin/nvcc that knows some architectures."""
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text(f"#!{shutil.which('sh')}\nfor code in {CODES}; do echo $code; done\n")
    nvcc.chmod(0o755)
    return tmp_path


def test_without_nvcc_one_line_says_that_it_is_left_out():
    done = build_cuda("print(build_cuda.extensions('m.cpp')); build_cuda.say_if_left_out()")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "[]" and len(lines) == 2
    assert "fastnn._cuda" in lines[1] and "no nvcc" in lines[1] and "nvidia-cuda-nvcc" in lines[1]


def test_nothing_is_said_where_it_is_not_wanted():
    done = build_cuda("print(build_cuda.extensions('m.cpp')); build_cuda.say_if_left_out()", FASTNN_CUDA="0")
    assert done.stdout == "[]\n"


def test_wanted_without_nvcc_is_an_error():
    done = build_cuda("build_cuda.extensions('m.cpp')", FASTNN_CUDA="1")
    assert done.returncode != 0
    assert "FASTNN_CUDA=1 needs nvcc, and there is none: install" in done.stderr


@pytest.mark.parametrize("value", ["yes", "2", "AUTO"])
def test_other_values_are_refused(value):
    done = build_cuda("build_cuda.extensions('m.cpp')", FASTNN_CUDA=value)
    assert f"FASTNN_CUDA must be 0, 1 or auto, got {value!r}." in done.stderr


def test_a_home_without_nvcc_is_an_error(tmp_path):
    done = build_cuda("build_cuda.extensions('m.cpp')", CUDA_HOME=str(tmp_path))
    assert f"CUDA_HOME must be a CUDA toolkit, with bin/nvcc in it, got {str(tmp_path)!r}." in done.stderr


def test_home_goes_before_path(toolkit, tmp_path):
    on_path = tmp_path / "other"
    shutil.copytree(toolkit / "bin", on_path)
    found = build_cuda("print(build_cuda.find_nvcc())", CUDA_HOME=str(toolkit), PATH=str(on_path))
    assert found.stdout.strip() == str(toolkit / "bin" / "nvcc")
    assert build_cuda("print(build_cuda.find_nvcc())", PATH=str(on_path)).stdout.strip() == str(on_path / "nvcc")


@pytest.mark.parametrize(
    "archs, flags",
    [
        (None, ["80,code=sm_80", "90,code=sm_90", "90,code=compute_90"]),
        ("75", ["75,code=sm_75", "75,code=compute_75"]),
        ("75+PTX; 90 ;120+PTX", ["75,code=sm_75", "90,code=sm_90", "120,code=sm_120"]
         + ["75,code=compute_75", "120,code=compute_120"]),
        ("90a", ["90a,code=sm_90a", "90a,code=compute_90a"]),
    ],
)  # fmt: skip
def test_architectures(toolkit, archs, flags):
    named = {} if archs is None else {"FASTNN_CUDA_ARCHS": archs}
    done = build_cuda("print(*build_cuda.arch_flags(build_cuda.find_nvcc()))", CUDA_HOME=str(toolkit), **named)
    assert done.stdout.split() == [word for flag in flags for word in ("-gencode", f"arch=compute_{flag}")]


@pytest.mark.parametrize("archs", ["12", "sm_90", "80;native", "90+ptx"])
def test_unknown_architectures_are_refused(toolkit, archs):
    done = build_cuda("build_cuda.extensions('m.cpp')", CUDA_HOME=str(toolkit), FASTNN_CUDA_ARCHS=archs)
    wanted = "FASTNN_CUDA_ARCHS must be a list of 75, 80, 90, 90a, 120, separated by semicolons, each perhaps with +PTX"
    assert f"{wanted}, got {archs.split(';')[-1]!r}." in done.stderr


def test_each_binding_file_is_in_one_of_the_modules():
    """And those that are for GPUs alone in that one only."""
    done = build_cuda("print(build_cuda.binding_files(False)); print(build_cuda.binding_files(True))")
    cpu, cuda = (eval(line) for line in done.stdout.splitlines())
    every = {f"csrc/bindings/{path.name}" for path in (ROOT / "csrc" / "bindings").glob("*.cpp")}
    assert {*cpu, *cuda, "csrc/bindings/module.cpp"} == every
    assert "csrc/bindings/bind_device.cpp" in cuda and "csrc/bindings/bind_device.cpp" not in cpu
    assert "csrc/bindings/bind_activations.cpp" in cuda and "csrc/bindings/bind_activations.cpp" in cpu


@pytest.mark.skipif(importlib.util.find_spec("fastnn._cuda") is None, reason="fastnn._cuda isn't built here")
def test_import_without_a_gpu(run_python):
    script = "from fastnn import _cuda; print(_cuda.device_count(), _cuda.runtime_version(), _cuda.current_stream())"
    done = run_python("-c", script, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    count, runtime, stream = done.stdout.split()
    assert count == "0" and int(runtime) >= 12000 and stream == "0"
