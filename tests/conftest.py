"""What all tests share: which fastnn is tested, the kernels of every instruction set level, Python in a fresh process.

`.venv/bin/pytest` tests the installed package. `python -m pytest` in the source folder tests the package built there in
place, and where none was built, the installed one.
"""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's products crawl where its threads and ours share the cores

ROOT = Path(__file__).resolve().parents[1]

if not any((ROOT / "fastnn").glob("_cpu_*.so")):  # the source folder has no kernels: never import it
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

from fastnn import _backend, _devices, random  # noqa: E402

PACKAGE = Path(_backend.__file__).resolve().parent


def gpus():
    """How many GPUs the CUDA extension sees; 0 where it wasn't built."""
    try:
        return import_module("fastnn._cuda").device_count()
    except ImportError:
        return 0


def pytest_report_header():
    header = f"fastnn: {PACKAGE}, levels {', '.join(_backend.isa_levels()) or 'none'}"
    return header + f"; {gpus() or 'no'} GPUs{'' if gpus() else ': tests marked gpu are left out'}"


def pytest_collection_modifyitems(config, items):
    """Without a GPU the tests marked gpu are deselected, which pytest says at the end."""
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_gpu and not gpus():
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=for_gpu)


def pytest_configure():
    if not _backend.isa_levels():  # otherwise every kernel test would be skipped
        raise pytest.UsageError(f"no kernels that this CPU can run in {PACKAGE}: install or build fastnn first")


@pytest.fixture(params=_backend.isa_levels(), scope="session")
def kernels(request):
    """The extension module of each level that was built and that this CPU supports, one after the other."""
    return _backend.load_level(request.param)


@pytest.fixture
def stand_in_gpu(monkeypatch):
    """A GPU that isn't one: the kernels of the CPU, and arrays that refuse what CuPy's would."""
    from emulator import cupy_standin
    from emulator.cpu_in_disguise import Module

    gpu = _devices.Gpu(cupy_standin.Kernels(Module(_backend.load_level(_backend.chosen_level()))), cupy_standin)
    monkeypatch.setattr(_devices, "missing", lambda: "")
    monkeypatch.setattr(_devices, "_gpu", gpu)
    monkeypatch.setattr(random, "_dropout_state_on_gpu", None)
    return gpu


@pytest.fixture
def bench_script(monkeypatch):
    """Loads a script of bench/."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    for name in ("report", "steps"):  # bench/ and bench/gpu/ have scripts of the same names
        monkeypatch.delitem(sys.modules, name, raising=False)
    return import_module


@pytest.fixture
def run_python(tmp_path):
    """A function that runs Python in an empty folder, with the fastnn under test: run_python("-c", "...").

    Returns the CompletedProcess, with text. `env` adds or (None) removes environment variables.
    """

    def run(*arguments, env=None, timeout=120):
        variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **(env or {})}
        variables = {name: value for name, value in variables.items() if value is not None}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=timeout
        )

    return run
