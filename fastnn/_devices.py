"""GPUs: the extension for them, CuPy, which owns memory, streams and graphs there, and which device a thread is on.

A thread is on the CPU unless it is inside of `with gpu:`. There `_backend.kernels` are those for GPUs and what
`_backend.empty` and `zeros` give are CuPy's arrays, so that layers, losses, metrics and optimizers are the same code on
both.
"""

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_gpu: "Gpu | None" = None
_state = threading.local()


def current() -> "Gpu | None":
    """The GPU that the calling thread is on; None on the CPU."""
    return getattr(_state, "gpu", None)


def _enter(device: "Gpu | None") -> None:
    _state.__dict__.setdefault("outer", []).append(current())
    _state.gpu = device


def _leave() -> None:
    _state.gpu = _state.outer.pop()


class Gpu:
    """A GPU: `with gpu:` what the thread does is enqueued on its stream.

    Args:
        kernels: the extension module.
        xp: CuPy.
    """

    def __init__(self, kernels: Any, xp: Any):
        self.kernels, self.xp = kernels, xp
        self.stream = xp.cuda.Stream(non_blocking=True)
        self.allocations = 0  # made by `empty` and `zeros`
        kernels.set_stream_source(lambda: xp.cuda.get_current_stream().ptr)

    def __enter__(self) -> "Gpu":
        _enter(self)
        self.stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stream.__exit__(*error)
        _leave()

    @contextlib.contextmanager
    def computing(self, compute: str) -> Iterator["Gpu"]:
        """`with gpu.computing("tf32"):` the same, and products round their operands to that (docs/cuda.md)."""
        before = self.kernels.compute()
        self.kernels.set_compute(compute)
        try:
            with self:
                yield self
        finally:
            self.kernels.set_compute(before)

    def empty(self, shape: Any, dtype: Any) -> Any:
        """CuPy's array of undefined content."""
        self.allocations += 1
        return self.xp.empty(shape, dtype)

    def zeros(self, shape: Any, dtype: Any) -> Any:
        """CuPy's array of zeros."""
        self.allocations += 1
        return self.xp.zeros(shape, dtype)

    def free_memory(self) -> int:
        """Bytes that nothing takes up."""
        return self.xp.cuda.runtime.memGetInfo()[0]

    def capture(self, work: Callable[[], Any]) -> "Graph":
        """What `work` enqueues, as a graph; it isn't run. `work` must have run before, so that all memory is there."""
        kept: list[Any] = []
        with self.kernels.keep_arrays(kept):
            self.stream.begin_capture()
            try:
                work()
            finally:
                graph = self.stream.end_capture()
        return Graph(graph, kept)


class Graph:
    """Kernels that are launched together.

    Args:
        graph: CuPy's.
        arrays: what its kernels read and write.
    """

    def __init__(self, graph: Any, arrays: list[Any]):
        self._graph, self._arrays = graph, arrays

    def launch(self) -> None:
        """Enqueues it on the thread's stream."""
        self._graph.launch()


class _OnCpu:
    """`with ON_CPU:` the thread is on the CPU."""

    def __enter__(self) -> None:
        _enter(None)

    def __exit__(self, *error: Any) -> None:
        _leave()


ON_CPU = _OnCpu()


def missing() -> str:
    """What there isn't that a GPU needs, and the remedy, as a sentence; "" if all is there."""
    try:
        kernels = load_cuda()
    except ImportError as error:
        if error.name not in ("fastnn._cuda", None):
            raise
        return "fastnn._cuda, the extension for GPUs, isn't built: build it where there is an nvcc (docs/cuda.md)."
    version = _version(kernels.runtime_version())
    if kernels.driver_version() == 0:
        return f"There is no NVIDIA driver: install one for CUDA {version} or later."
    if kernels.device_count() == 0:
        if kernels.driver_version() // 1000 < kernels.runtime_version() // 1000:
            return f"The driver is for CUDA {_version(kernels.driver_version())}: install one for {version} or later."
        return "The driver sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES."
    try:
        importlib.import_module("cupy")
    except ImportError as error:
        name = f"cuda{kernels.runtime_version() // 1000}"
        return f"CuPy can't be imported ({error}): run `pip install 'fastnn-kernels[{name}]'`."
    return ""


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def load_cuda() -> ModuleType:
    """The extension for GPUs.

    Raises:
        ImportError: it isn't built.
    """
    return importlib.import_module("fastnn._cuda")


def gpu() -> Gpu:
    """The GPU, to be called only where nothing is `missing`."""
    global _gpu
    if _gpu is None:
        _gpu = Gpu(load_cuda(), importlib.import_module("cupy"))
    return _gpu
