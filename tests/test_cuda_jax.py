"""fastnn.jax's handlers for GPUs, called by XLA on the CPU, run by the emulator: XLA's buffers stand for a GPU's."""

import ctypes

import numpy as np
import pytest
from emulated_kernels import load

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

import fastnn.jax  # noqa: E402
from fastnn.jax import handlers  # noqa: E402

_PREFIX = "fastnn_emulated."
_HANDLER = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_API, _GET_STREAM = 16, 80  # where csrc/xla/ffi.h has CallFrame::api, and Api::get_stream
_kept = []  # what XLA calls as long as the process lives


@_HANDLER
def _give_stream(arguments):
    """On the CPU XLA has no streams; the emulator needs none."""
    ctypes.c_void_p.from_address(arguments + 24).value = None
    return None


def _with_streams(capsule):
    """The handler as it's called on a GPU, where XLA hands over a stream."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    handler = _HANDLER(get_pointer(capsule, None))

    @_HANDLER
    def call(frame):
        place = ctypes.c_void_p.from_address(frame + _API)
        own = place.value
        size = ctypes.c_size_t.from_address(own).value
        functions = ctypes.create_string_buffer(ctypes.string_at(own, size), size)
        address = ctypes.cast(_give_stream, ctypes.c_void_p).value
        ctypes.memmove(ctypes.addressof(functions) + _GET_STREAM, ctypes.byref(ctypes.c_void_p(address)), 8)
        place.value = ctypes.addressof(functions)
        try:
            return handler(frame)
        finally:
            place.value = own

    _kept.append((call, handler))
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return make(ctypes.cast(call, ctypes.c_void_p), None, None)


@pytest.fixture(scope="module")
def registered():
    for name, capsule in load().xla_handlers().items():
        jax.ffi.register_ffi_target(_PREFIX + name, _with_streams(capsule), platform="cpu")


SHAPES = [(3, 5), (17,), (), (0, 2), (40, 33)]
OPTIMIZERS = {
    "sgd": lambda: fastnn.jax.sgd(0.1, momentum=0.9),
    "adamw": lambda: fastnn.jax.adamw(0.01, weight_decay=0.1),
    "adamw with a schedule": lambda: fastnn.jax.adamw(lambda count: 0.1 / (1 + count)),
    "rmsprop": lambda: fastnn.jax.rmsprop(0.01, centered=True, momentum=0.5),
    "adagrad": lambda: fastnn.jax.adagrad(0.1),
    "lion": lambda: fastnn.jax.lion(0.01),
    "lamb": lambda: fastnn.jax.lamb(0.01, weight_decay=0.1),
}
OPTIONS = [{}, {"clip_norm": 0.5, "grad_scale": 0.5}, {"skip_nonfinite": True}]


def tree(seed, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def trained(make, options, method, dtype=jnp.float32):
    """Parameters and state after some steps; in one of them a gradient isn't finite where that is to be skipped."""
    optimizer, params = make(), tree(1, dtype)
    state = optimizer.init(params)
    for t in range(3):
        grads = tree(10 + t, dtype)
        if t == 1 and options.get("skip_nonfinite"):
            grads[1] = grads[1].at[3].set(jnp.nan)
        if method == "update":
            updates, state = jax.jit(optimizer.update)(grads, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        else:
            params, state = optimizer.fused_apply(params, grads, state, **options)
    return jax.tree.leaves((params, state))


def assert_same_run(make, options, method, monkeypatch, dtype=jnp.float32, rtol=2e-5):
    wanted = [np.asarray(leaf, np.float32) for leaf in trained(make, options, method, dtype)]
    monkeypatch.setattr(handlers, "_PREFIX", _PREFIX)
    found = [np.asarray(leaf, np.float32) for leaf in trained(make, options, method, dtype)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_steps_are_those_of_the_cpu(name, options, registered, monkeypatch):
    assert_same_run(OPTIMIZERS[name], options, "fused_apply", monkeypatch)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_the_cpu(name, registered, monkeypatch):
    assert_same_run(OPTIMIZERS[name], {}, "update", monkeypatch)


def test_parameters_of_16_bits(registered, monkeypatch):
    assert_same_run(OPTIMIZERS["adamw"], {}, "fused_apply", monkeypatch, jnp.bfloat16, 1e-2)


def test_numbers_that_are_traced(registered, monkeypatch):
    """All that a step may be told by an array, on the GPU then."""

    def run():
        @jax.jit
        def step(lr, b1, scale, params, grads):
            optimizer = fastnn.jax.adamw(lr, b1=b1, weight_decay=0.1)
            return optimizer.fused_apply(params, grads, optimizer.init(params), grad_scale=scale, clip_norm=0.3)

        numbers = (jnp.float32(0.05), jnp.float32(0.8), jnp.float32(0.25))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(step(*numbers, tree(1), tree(2)))]

    wanted = run()
    monkeypatch.setattr(handlers, "_PREFIX", _PREFIX)
    for one, other in zip(run(), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
