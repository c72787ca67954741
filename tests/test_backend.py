"""Which kernels are chosen, how many threads, aligned arrays, the form of the messages, `fastnn info`, the import."""

import json
import re
import sys

import numpy as np
import pytest

from fastnn import _backend, _check, _devices, _threads
from fastnn.cli import info

LEVELS = _backend.isa_levels()


# instruction set levels


def test_the_best_level_is_chosen(monkeypatch):
    monkeypatch.delenv("FASTNN_ISA", raising=False)
    assert _backend.chosen_level() == LEVELS[-1]
    assert set(LEVELS) <= set(_backend.supported_levels()) & set(_backend.built_levels())


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_loads_and_names_itself(level):
    assert _backend.load_level(level).isa() == level
    assert _backend.load_level(level).__name__ == "fastnn._cpu_" + level.replace("-", "_")


@pytest.mark.parametrize("level", LEVELS)
def test_environment_overrides_the_level(run_python, level):
    code = "from fastnn import _backend; print(_backend.isa, _backend.kernels.isa())"
    result = run_python("-c", code, env={"FASTNN_ISA": level})
    assert result.stdout.split() == [level, level], result.stderr


def test_unknown_level_names_the_known_ones(monkeypatch):
    monkeypatch.setenv("FASTNN_ISA", "sse9")
    wanted = f"fastnn: FASTNN_ISA must be one of {', '.join(LEVELS)}, got 'sse9'. Unset it to use the best level."
    with pytest.raises(ValueError, match=re.escape(wanted)):
        _backend.chosen_level()


def test_unsupported_level_says_so(monkeypatch):
    monkeypatch.setattr(_backend, "supported_levels", lambda: ["x86-64-v2"])
    monkeypatch.setattr(_backend, "built_levels", lambda: ["x86-64-v2", "x86-64-v4"])
    monkeypatch.setenv("FASTNN_ISA", "x86-64-v4")
    wanted = "must be one of x86-64-v2, got 'x86-64-v4', which this CPU does not support"
    with pytest.raises(ValueError, match=wanted):
        _backend.chosen_level()


def test_level_that_was_not_built_says_so(monkeypatch):
    monkeypatch.setattr(_backend, "_loaded", {})
    monkeypatch.setattr(_backend, "supported_levels", lambda: ["x86-64-v2", "x86-64-v3"])
    monkeypatch.setattr(_backend, "built_levels", lambda: ["x86-64-v2"])
    with pytest.raises(
        ValueError, match="load_level: level must be one of x86-64-v2, got 'x86-64-v3', which was not built"
    ):
        _backend.load_level("x86-64-v3")


def test_no_kernels_at_all_is_an_import_error(monkeypatch):
    monkeypatch.delenv("FASTNN_ISA", raising=False)
    monkeypatch.setattr(_backend, "built_levels", list)
    with pytest.raises(
        ImportError, match=r"fastnn: the compiled kernels must be built for one of .*, got none in .*pip"
    ):
        _backend.chosen_level()


V3_FLAGS = "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2 avx avx2 bmi1 bmi2 f16c fma abm movbe"


@pytest.mark.parametrize(
    ("flags", "levels"),
    [
        ("", []),
        ("pni ssse3 avx2 avx512f", []),
        ("cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2", ["x86-64-v2"]),
        (V3_FLAGS, ["x86-64-v2", "x86-64-v3"]),
        (f"{V3_FLAGS} avx512f avx512bw avx512cd avx512dq", ["x86-64-v2", "x86-64-v3"]),
        (f"{V3_FLAGS} avx512f avx512bw avx512cd avx512dq avx512vl", ["x86-64-v2", "x86-64-v3", "x86-64-v4"]),
    ],
)
def test_levels_follow_the_cpu_flags(monkeypatch, flags, levels):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(_backend, "_cpu_flags", lambda: set(flags.split()))
    assert _backend.supported_levels() == levels


def test_other_architectures_run_the_baseline(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert _backend.supported_levels() == ["baseline"]


# threads


def machine(root, siblings=(), cgroup="", files=None):
    """Writes the files of /sys and /proc that the thread count is decided from."""
    contents = {"proc/self/cgroup": cgroup, **(files or {})}
    for cpu, listing in enumerate(siblings):
        contents[f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = f"{listing}\n"
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_variable_wins_over_the_machine(tmp_path):
    root = machine(tmp_path, ["0", "1"])
    assert _threads.decide({"FASTNN_NUM_THREADS": "7"}, root, {0, 1}) == (7, "FASTNN_NUM_THREADS=7")


@pytest.mark.parametrize("text", ["0", "4096", "-1", "two", "1.5", "²"])
def test_invalid_variable_is_an_error(text):
    wanted = re.escape(f"fastnn: FASTNN_NUM_THREADS must be a whole number from 1 to 4095, got {text!r}. Unset it")
    with pytest.raises(ValueError, match=wanted):
        _threads.decide({"FASTNN_NUM_THREADS": text})


def test_hardware_threads_of_one_core_count_once(tmp_path):
    root = machine(tmp_path, ["0,2", "1,3", "0,2", "1,3"])
    assert _threads.decide({}, root, {0, 1, 2, 3}) == (2, "2 physical cores in the affinity mask of 4 hardware threads")
    assert _threads.decide({}, root, {0, 2})[0] == 1
    assert _threads.decide({}, root, {2, 3})[0] == 2


def test_unknown_topology_counts_each_cpu(tmp_path):
    assert _threads.decide({}, tmp_path, {0, 5, 6}) == (3, "3 physical cores in the affinity mask")


V1 = {"cpu.cfs_quota_us": "250000\n", "cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("cgroup", "files", "count"),
    [
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 4),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "250000 100000\n"}, 2),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "300000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/a\n", {"sys/fs/cgroup/a/cpu.max": "900000 100000\n"}, 4),
        ("4:cpu,cpuacct:/x\n", {f"sys/fs/cgroup/cpu/x/{name}": text for name, text in V1.items()}, 2),
        ("4:cpu,cpuacct:/host/path\n", {f"sys/fs/cgroup/cpu/{name}": text for name, text in V1.items()}, 2),
        (
            "4:cpu:/x\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("3:memory:/x\n", {f"sys/fs/cgroup/cpu/x/{name}": text for name, text in V1.items()}, 4),
    ],
)
def test_quota_of_the_control_group(tmp_path, cgroup, files, count):
    root = machine(tmp_path, ["0", "1", "2", "3"], cgroup, files)
    threads, reason = _threads.decide({}, root, range(4))
    assert threads == count
    assert ("quota" in reason) == (count < 4)


def test_set_num_threads_reaches_every_loaded_level(run_python):
    code = f"""
import fastnn
from fastnn import _backend
levels = [_backend.load_level(level) for level in {LEVELS[:-1]}]
fastnn.set_num_threads(3)
levels.append(_backend.load_level({LEVELS[-1]!r}))
print(fastnn.get_num_threads(), *[level.num_threads() for level in levels])
"""
    result = run_python("-c", code, env={"FASTNN_NUM_THREADS": "2"})
    assert set(result.stdout.split()) == {"3"}, result.stderr


def test_variable_reaches_the_kernels(run_python):
    code = "import fastnn; from fastnn import _backend; print(_backend.kernels.num_threads(), fastnn.get_num_threads())"
    assert run_python("-c", code, env={"FASTNN_NUM_THREADS": "3"}).stdout.split() == ["3", "3"]


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-2, ValueError), (1.5, TypeError), (True, TypeError)])
def test_set_num_threads_checks_its_argument(n, error):
    with pytest.raises(error, match=rf"^set_num_threads: n must be a whole number from 1 to \d+, got {n}"):
        _backend.set_num_threads(n)


# device and memory


def test_resolve_device():
    assert _backend.resolve_device() == _backend.resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="resolve_device: device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"):
        _backend.resolve_device("tpu")


@pytest.mark.parametrize("shape", [(), 0, 5, (0, 3), (3, 0), (7,), (3, 5, 2), [2, 3], (np.int64(4), 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64, np.int64])
@pytest.mark.parametrize("allocate", [_backend.empty, _backend.zeros])
def test_arrays_are_aligned(allocate, shape, dtype):
    array = allocate(shape, dtype)
    plain = np.zeros(shape, dtype)
    assert array.shape == plain.shape and array.dtype == plain.dtype
    assert array.flags.c_contiguous and array.flags.writeable
    assert array.size == 0 or array.ctypes.data % 64 == 0
    assert allocate is _backend.empty or not array.any()


# messages


def test_fail_has_the_form():
    with pytest.raises(ValueError, match=r"^Dense: units must be at least 1, got 0$"):
        _check.fail("Dense", "units", "at least 1", 0)
    with pytest.raises(TypeError, match=r"^f: x must be y, got z\. Do this\.$"):
        _check.fail("f", "x", "y", "z", "Do this.", TypeError)


def test_describe():
    assert _check.describe(np.zeros((2, 3), np.float32)) == "float32 array of shape (2, 3)"
    assert _check.describe("a") == "'a'"
    assert len(_check.describe("a" * 1000)) == 80


def test_integer():
    assert _check.integer("f", "n", np.int64(3), 1) == 3
    assert type(_check.integer("f", "n", np.int64(3))) is int
    with pytest.raises(ValueError, match=r"f: n must be a whole number from 1 to 5, got 6"):
        _check.integer("f", "n", 6, 1, 5)
    with pytest.raises(ValueError, match=r"f: n must be a whole number of at most 5, got 6"):
        _check.integer("f", "n", 6, maximum=5)
    with pytest.raises(TypeError, match=r"f: n must be a whole number, got 2.0"):
        _check.integer("f", "n", 2.0)


def test_number():
    assert _check.number("f", "lr", np.float32(0.5), 0) == 0.5
    for value in (float("nan"), float("inf"), -1, 2):
        with pytest.raises(ValueError, match="f: rate must be a finite number of at least 0, below 1, got"):
            _check.number("f", "rate", value, minimum=0, below=1)
    with pytest.raises(ValueError, match="f: lr must be a finite number above 0, got 0.0"):
        _check.number("f", "lr", 0, above=0)
    with pytest.raises(TypeError, match="f: lr must be a finite number, got 'x'"):
        _check.number("f", "lr", "x")


def test_boolean_and_choice():
    assert _check.boolean("f", "nesterov", np.True_) is True
    with pytest.raises(TypeError, match="f: nesterov must be True or False, got 1"):
        _check.boolean("f", "nesterov", 1)
    assert _check.choice("f", "mode", "min", ("min", "max")) == "min"
    with pytest.raises(ValueError, match=r"f: mode must be one of 'min', 'max', got 'maxx'. Did you mean 'max'\?"):
        _check.choice("f", "mode", "maxx", ("min", "max"))


# fastnn info and the import


def test_info_names_everything(monkeypatch):
    monkeypatch.delenv("FASTNN_ISA", raising=False)
    rows, usable = info.report()
    rows = dict(rows)
    assert usable
    assert rows["ISA level chosen"] == f"{LEVELS[-1]} (the best one)"
    assert rows["threads"].startswith(f"{_threads.decide()[0]} (")
    assert {"fastnn", "Python", "CPU", "ISA levels supported", "ISA levels built", "CUDA", "CuPy"} <= set(rows)
    assert all(rows.values())


def test_info_reports_a_wrong_setting_and_fails(run_python):
    result = run_python("-m", "fastnn", "info", env={"FASTNN_ISA": "sse9"})
    assert result.returncode == 1
    assert "FASTNN_ISA must be one of" in result.stdout


def test_import_is_light(run_python):
    """No timing here: what makes an import slow is what it pulls in."""
    code = "import sys, json; import fastnn; print(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(run_python("-c", code).stdout))
    assert not modules & {"numpy", "fastnn._backend", "fastnn.layers", "tqdm", "safetensors"}


def test_submodules_load_on_first_use(run_python):
    code = "import fastnn; print(fastnn.schedules.__name__, 'layers' in dir(fastnn)); fastnn.nothing"
    result = run_python("-c", code)
    assert result.stdout.split() == ["fastnn.schedules", "True"]
    assert "AttributeError: module 'fastnn' has no attribute 'nothing'" in result.stderr


class Extension:
    """What `missing` asks of fastnn._cuda."""

    def __init__(self, driver, devices):
        self.driver_version, self.device_count = lambda: driver, lambda: devices
        self.runtime_version = lambda: 13000


@pytest.mark.parametrize(
    "extension, message",
    [
        (None, "fastnn._cuda, the extension for GPUs, isn't built: build it where there is an nvcc"),
        (Extension(0, 0), "There is no NVIDIA driver: install one for CUDA 13.0 or later"),
        (Extension(12080, 0), "The driver is for CUDA 12.8: install one for 13.0 or later"),
        (Extension(13010, 0), "The driver sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES"),
        (Extension(13010, 1), r"CuPy can't be imported \(no cupy here\): run `pip install 'fastnn-kernels\[cuda13\]'`"),
    ],
)
def test_resolve_device_says_what_is_missing(extension, message, monkeypatch):
    def load():
        if extension is None:
            raise ImportError("no extension", name="fastnn._cuda")
        return extension

    class NoCupy:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("no cupy here")

    monkeypatch.setattr(_devices, "load_cuda", load)
    monkeypatch.setattr(sys, "meta_path", [NoCupy(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert _backend.resolve_device("auto") == "cpu"
    with pytest.raises(ValueError, match=f"compile: device must be 'auto' or 'cpu', got 'cuda'. {message}"):
        _backend.resolve_device("cuda", "compile")


def test_static_methods_are_there_once_names_mean_what_a_device_has():
    kernels = _backend.Kernels(_backend.load_level(_backend.chosen_level()))
    kernels.dispatch()
    params, grads = [np.ones(3, np.float32)], [np.ones(3, np.float32)]
    table = kernels.TensorTable(params, grads, [])
    addresses = [np.array([array.ctypes.data], np.int64) for array in (*params, *grads)]
    assert table.matches(*addresses, [])
    assert kernels.TensorTable.of_addresses(*addresses, [], np.array([3], np.int64)).matches(*addresses, [])


def test_exceptions_can_be_caught_once_names_mean_what_a_device_has():
    kernels = _backend.Kernels(_backend.load_level(_backend.chosen_level()))
    kernels.dispatch()
    assert type(kernels.CommFailed) is type
