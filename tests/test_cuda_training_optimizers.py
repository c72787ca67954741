"""fastnn.optimizers on a GPU: the kernels run by the emulator, over arrays of a stand-in for CuPy."""

from types import SimpleNamespace

import numpy as np
import pytest
from emulated_kernels import load
from emulator import cupy_standin
from tolerances import difference

from fastnn import _backend, _devices, optimizers, regularizers

SHAPES = [(3, 11), (17,), (300,), (9, 4)]
STEPS = 4
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(0.01, amsgrad=True, weight_decay=0.1),
    "adamw with all gradients' norm": lambda: optimizers.AdamW(0.01, global_clipnorm=1.0),
    "rmsprop": lambda: optimizers.RMSprop(0.01, centered=True, momentum=0.5),
    "adagrad with each gradient's norm": lambda: optimizers.Adagrad(0.1, clipnorm=0.5),
    "lion": lambda: optimizers.Lion(0.01, clipvalue=0.3),
    "lamb": lambda: optimizers.Lamb(0.01),
    "lars": lambda: optimizers.LARS(0.1),
    "muon": lambda: optimizers.Muon(0.01),
    "muon with all gradients' norm": lambda: optimizers.Muon(0.01, global_clipnorm=1.0, skip_nonfinite=True),
    "what is skipped": lambda: optimizers.Adam(0.01, skip_nonfinite=True),
}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A GPU whose kernels the emulator runs."""
    monkeypatch.setattr(_devices, "missing", lambda: "")
    monkeypatch.setattr(_devices, "_gpu", _devices.Gpu(cupy_standin.Kernels(load()), cupy_standin))


def trained(make, device):
    """Parameters and state after some steps; in the second a gradient isn't finite where that is skipped."""
    rng, optimizer = np.random.default_rng(1), make()
    with _backend.on(device):
        size = sum(int(np.prod(shape)) for shape in SHAPES)
        flat, grad = _backend.zeros(size), _backend.zeros(size)
        parameters, begin = [], 0
        for i, shape in enumerate(SHAPES):
            end = begin + int(np.prod(shape))
            views = {"value": flat[begin:end].reshape(shape), "grad": grad[begin:end].reshape(shape)}
            regularizer = regularizers.L1L2(1e-3, 1e-2) if i == 1 else None
            parameters.append(SimpleNamespace(name=f"p{i}", regularizer=regularizer, **views))
            begin = end
        _backend.assign(flat, rng.standard_normal(size).astype(np.float32))
        optimizer.build(parameters, flat, grad)
        for t in range(STEPS):
            fresh = rng.standard_normal(size).astype(np.float32)
            if t == 1 and optimizer.skip_nonfinite:
                fresh[40] = np.inf
            _backend.assign(grad, fresh)
            optimizer.step()
        state = {name: _backend.to_host(array) for name, array in optimizer.state_arrays().items()}
        return np.array(_backend.to_host(flat)), {name: np.array(array) for name, array in state.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_cpu(name):
    (found, state), (wanted, own) = (trained(OPTIMIZERS[name], device) for device in ("cuda", "cpu"))
    assert not difference(found, wanted, "trajectory")
    assert state.keys() == own.keys()
    for key, array in state.items():
        assert not difference(array, own[key], "trajectory"), key
    assert state["iterations"][0] == STEPS - ("skip" in name or "muon with" in name)
