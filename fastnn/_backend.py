"""Which compiled kernels run, on which device, with how many threads; and arrays aligned for them.

The kernels are built once per instruction set level, as `fastnn._cpu_x86_64_v3` and so on. The best level that was
built and that the CPU supports is loaded on the first use of `_backend.kernels`; FASTNN_ISA names another. In
`with on("cuda"):` the same names are those of `fastnn._cuda` and arrays are CuPy's (see `_devices.py`).
"""

import importlib
import importlib.util
import math
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fastnn import _check, _devices, _threads

# From the most general to the best, with what each needs of /proc/cpuinfo's flags beyond the level before it.
_X86_FLAGS = {
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
COMPUTE = ("float32", "tf32", "bfloat16", "float16")  # what a GPU's products may round their operands to
_ALIGNMENT = 64  # bytes: a cache line, and a vector of AVX-512

_loaded: dict[str, ModuleType] = {}
_num_threads: int | None = None

kernels: Any  # set by __getattr__ on first use
isa: str


def __getattr__(name: str) -> Any:
    if name not in ("kernels", "isa"):
        raise AttributeError(f"module 'fastnn._backend' has no attribute {name!r}")
    level = chosen_level()
    globals()["kernels"] = Kernels(load_level(level))
    globals()["isa"] = level
    return globals()[name]


class Kernels:
    """What a module of kernels has, under the same names. From `dispatch` on a name means what the device that the
    calling thread is on has under it; before, there is nothing in between."""

    def __init__(self, module: ModuleType):
        self.__dict__.update({name: value for name, value in vars(module).items() if not name.startswith("__")})
        self._dispatches = False

    def dispatch(self) -> None:
        """To be called before the first thread is on a GPU."""
        if not self._dispatches:
            for name, value in list(vars(self).items()):
                if callable(value) and not (isinstance(value, type) and issubclass(value, BaseException)):
                    self.__dict__[name] = _Dispatched(name, value)
            self._dispatches = True

    def __getattr__(self, name: str) -> Any:
        gpu = _devices.current()
        if gpu is None:
            raise AttributeError(f"there is no kernel {name!r}")
        return getattr(gpu.kernels, name)


class _Dispatched:
    """A kernel, or a class with its static methods: that of the device that the calling thread is on."""

    def __init__(self, name: str, on_cpu: Callable[..., Any]):
        self._name, self._on_cpu = name, on_cpu

    def _chosen(self) -> Callable[..., Any]:
        gpu = _devices.current()
        if gpu is None:
            return self._on_cpu
        kernel = getattr(gpu.kernels, self._name, None)
        if kernel is None:
            raise NotImplementedError(f"{self._name}: there is no kernel for GPUs in this version; train on the CPU.")
        return kernel

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._chosen()(*args, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen(), name)


def supported_levels() -> list[str]:
    """The levels that this CPU can run, from the most general to the best."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ["baseline"]
    flags = _cpu_flags()
    levels: list[str] = []
    for level, needed in _X86_FLAGS.items():
        if not needed <= flags:
            break
        levels.append(level)
    return levels


def _cpu_flags() -> set[str]:
    """What /proc/cpuinfo says the CPU and the system can do; where there is no such file, only what x86-64-v2 needs."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return _X86_FLAGS["x86-64-v2"]
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def built_levels() -> list[str]:
    """The levels whose extension module is installed, from the most general to the best."""
    return [level for level in (*_X86_FLAGS, "baseline") if importlib.util.find_spec(_module_name(level))]


def isa_levels() -> list[str]:
    """The levels that are both built and supported by this CPU, from the most general to the best."""
    supported = supported_levels()
    return [level for level in built_levels() if level in supported]


def _module_name(level: str) -> str:
    return "fastnn._cpu_" + level.replace("-", "_")


def chosen_level() -> str:
    """The level that FASTNN_ISA names, otherwise the best one there is."""
    wanted = os.environ.get("FASTNN_ISA", "").strip()
    if wanted:
        _check_level("fastnn", "FASTNN_ISA", wanted, "Unset it to use the best level.")
        return wanted
    levels = isa_levels()
    if not levels:
        _check.fail(
            "fastnn",
            "the compiled kernels",
            f"built for one of {', '.join(supported_levels()) or 'the levels from x86-64-v2 on'} for this CPU",
            f"{', '.join(built_levels()) or 'none'} in {Path(__file__).parent}",
            "Run `pip install .` in the source folder, and import fastnn from outside of it.",
            ImportError,
        )
    return levels[-1]


def _check_level(function: str, argument: str, level: str, remedy: str) -> None:
    usable = isa_levels()
    if level in usable:
        return
    given = repr(level)
    if level in supported_levels():
        given += ", which was not built"
    elif level in (*_X86_FLAGS, "baseline"):
        given += ", which this CPU does not support"
    wanted = f"one of {', '.join(usable)}" if usable else "a level that was built (none was)"
    _check.fail(function, argument, wanted, given, remedy)


def load_level(level: str) -> ModuleType:
    """Returns the kernels compiled for `level`; several levels can be loaded side by side."""
    if level not in _loaded:
        _check_level("load_level", "level", level, "")
        module = importlib.import_module(_module_name(level))
        module.set_num_threads(_num_threads or _threads.decide()[0])
        _loaded[level] = module
    return _loaded[level]


def cuda_kernels(function: str, argument: str, device: str = "cuda") -> ModuleType:
    """Returns the kernels for an argument of a call that is on a GPU; fails where they weren't built or there is none.

    Args:
        function, argument: for the message.
        device: what the argument says of itself.
    """
    try:
        kernels = _devices.load_cuda()
        if kernels.device_count() > 0:
            return kernels
        remedy = "Without a driver that sees a GPU the CUDA kernels can't run."
    except ImportError:
        remedy = "This version has no CUDA kernels: build it where there is an nvcc."
    _check.fail(function, argument, "on the CPU", f"an array on device {device}", remedy)


def set_num_threads(n: int) -> None:
    """Sets how many threads the kernels use from now on.

    Args:
        n: from 1 to 4095; more than there are physical cores is slower.
    """
    global _num_threads
    _num_threads = _check.integer("set_num_threads", "n", n, 1, _threads.MAXIMUM)
    for module in _loaded.values():
        module.set_num_threads(_num_threads)


def is_thread_count_chosen() -> bool:
    """Whether the user has said how many threads the kernels use."""
    return _num_threads is not None or bool(os.environ.get("FASTNN_NUM_THREADS", "").strip())


def get_num_threads() -> int:
    """Returns how many threads the kernels use."""
    return _num_threads or _threads.decide()[0]


def resolve_device(device: str = "auto", function: str = "resolve_device") -> str:
    """Returns the device to use for "auto", "cpu" or "cuda"; fails if it isn't there, saying what is missing.

    "auto" is the CPU: the kernels for GPUs have to be asked for.

    Args:
        device: what the caller asked for.
        function: whose argument it is, for the message.
    """
    _check.choice(function, "device", device, ("auto", "cpu", "cuda"))
    if device != "cuda":
        return "cpu"
    missing = _devices.missing()
    if missing:
        _check.fail(function, "device", "'auto' or 'cpu'", repr(device), missing)
    return "cuda"


def on(device: str, compute: str | None = None) -> Any:
    """`with on(device):` kernels and arrays are those of "cpu" or "cuda", which `resolve_device` has returned.

    Args:
        compute: one of `COMPUTE` for what is enqueued on a GPU meanwhile; None: as it was.
    """
    if device == "cpu":
        return _devices.ON_CPU
    gpu = _devices.gpu()
    (globals().get("kernels") or __getattr__("kernels")).dispatch()
    return gpu if compute is None else gpu.computing(compute)


def empty(shape: int | Sequence[int], dtype: Any = np.float32) -> Any:
    """Returns a C-contiguous array of undefined content that starts at a multiple of 64 bytes, on the thread's
    device."""
    gpu = _devices.current()
    return _aligned(np.empty, shape, dtype) if gpu is None else gpu.empty(shape, dtype)


def zeros(shape: int | Sequence[int], dtype: Any = np.float32) -> Any:
    """Returns a C-contiguous array of zeros that starts at a multiple of 64 bytes, on the thread's device."""
    gpu = _devices.current()
    return _aligned(np.zeros, shape, dtype) if gpu is None else gpu.zeros(shape, dtype)


def host_empty(shape: int | Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """As `empty`, but always on the CPU."""
    return _aligned(np.empty, shape, dtype)


def to_device(array: np.ndarray) -> Any:
    """The array on the thread's device: itself on the CPU."""
    gpu = _devices.current()
    return array if gpu is None else gpu.xp.asarray(array)


def to_host(array: Any) -> np.ndarray:
    """The array on the CPU: itself if it is there, else a copy."""
    if not lies_on_gpu(array):
        return array
    with _devices.gpu():  # what is enqueued for it is on that stream
        return array.get()


def assign(target: Any, values: Any) -> None:
    """target[...] = values, wherever either of them lies."""
    if not lies_on_gpu(target):
        target[...] = to_host(values)
        return
    with _devices.gpu() as gpu:
        target[...] = gpu.xp.asarray(values)


def address(array: Any) -> int:
    """Where the array's memory begins."""
    interface = array.__cuda_array_interface__ if lies_on_gpu(array) else array.__array_interface__
    return interface["data"][0]


def lies_on_gpu(array: Any) -> bool:
    """Whether it is an array on a GPU, of whatever framework."""
    return hasattr(array, "__cuda_array_interface__")


def _aligned(allocate: Any, shape: int | Sequence[int], dtype: Any) -> np.ndarray:
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    dtype = np.dtype(dtype)
    size = math.prod(sizes) * dtype.itemsize
    raw = allocate(size + _ALIGNMENT, np.uint8)
    offset = -raw.__array_interface__["data"][0] % _ALIGNMENT
    return raw[offset : offset + size].view(dtype).reshape(sizes)
