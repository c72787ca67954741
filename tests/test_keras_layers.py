"""Layers beside Keras' own in float64: the same arguments, weights, outputs, gradients and moving averages."""

import os

import numpy as np
import pytest
from tolerances import difference

from fastnn import layers

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS = [
    ("BatchNormalization", {}, (5, 4)),
    ("BatchNormalization", {"momentum": 0.75, "epsilon": 0.125, "center": False}, (3, 2, 4)),
    ("BatchNormalization", {"scale": False}, (6,)),
    ("BatchNormalization", {"trainable": False}, (3, 4)),
    ("Embedding", {"input_dim": 5, "output_dim": 4}, (3, 2)),
    *[
        (name, {"units": 4, "return_sequences": sequences, "go_backwards": back}, (3, 5))
        for name in ("SimpleRNN", "LSTM", "GRU")
        for sequences in (False, True)
        for back in (False, True)
    ],
    *[(name, {"units": 3, "use_bias": False, "activation": "relu"}, (4, 2)) for name in ("SimpleRNN", "LSTM", "GRU")],
    ("LSTM", {"units": 3, "activation": "sigmoid", "recurrent_activation": "tanh", "unit_forget_bias": False}, (4, 2)),
    ("GRU", {"units": 3, "reset_after": False}, (4, 2)),
    ("GRU", {"units": 3, "reset_after": False, "go_backwards": True, "return_sequences": True}, (4, 2)),
    ("LayerNormalization", {}, (5, 7)),
    ("LayerNormalization", {"epsilon": 0.125, "scale": False}, (9,)),
    ("LayerNormalization", {"center": False}, (2, 3, 6)),
]


DEFAULTS = [row for row in ROWS if row[0] == "Embedding" or not row[1]]
DEFAULTS += [(name, {"units": 3}, ()) for name in ("SimpleRNN", "LSTM", "GRU")]


def samples(name, shape, rng):
    if name == "Embedding":
        return rng.integers(0, 5, (6, *shape), dtype=np.int32)
    return rng.standard_normal((6, *shape)).astype(np.float32)


def of_keras(layer, weights, x, make_dy):
    """(y, dx, gradients of the trainable weights, all weights afterwards)"""
    torch = pytest.importorskip("torch")
    layer.build(x.shape)
    layer.set_weights(weights)
    given = torch.tensor(x.astype(np.float64) if x.dtype == np.float32 else x, requires_grad=x.dtype == np.float32)
    y = layer(given, training=True)
    dy = make_dy(tuple(y.shape))
    (y * torch.tensor(dy.astype(np.float64))).sum().backward()
    gradients = [variable.value.grad.numpy() for variable in layer.trainable_variables]
    dx = None if given.grad is None else given.grad.numpy()
    return y.detach().numpy(), dx, gradients, [np.asarray(weight) for weight in layer.get_weights()]


@pytest.mark.parametrize("name, options, shape", ROWS, ids=lambda item: "-".join(map(str, item)) if item else "none")
def test_layers_are_keras(name, options, shape):
    rng = np.random.default_rng(3)
    x = samples(name, shape, rng)
    layer = getattr(layers, name)(**options)
    layer.ensure_built(shape)
    for parameter in layer.parameters:  # moving variances and all that are squares must stay positive
        values = 0.5 * rng.standard_normal(parameter.shape)
        parameter.value[...] = values**2 + 0.5 if "variance" in parameter.name else values
    before = layer.get_weights()

    def make_dy(output_shape):
        return np.random.default_rng(4).standard_normal(output_shape).astype(np.float32)

    theirs = getattr(keras.layers, name)(**options, dtype="float64")
    y, dx, gradients, weights = of_keras(theirs, before, x, make_dy)
    assert [w.shape for w in weights] == [p.shape for p in layer.parameters]
    assert not difference(layer.forward(x, True), y, "sum")
    found = layer.backward(make_dy(y.shape), dx is not None, False)
    if dx is not None:
        assert not difference(found, dx, "sum")
    for parameter, gradient in zip(layer.trainable_parameters, gradients, strict=True):
        assert not difference(parameter.grad, gradient, "sum"), parameter.name
    for parameter, weight in zip(layer.parameters, weights):
        assert not difference(parameter.value, weight, "sum"), parameter.name
    assert not difference(layer(x), theirs(x if x.dtype == np.int32 else x.astype(np.float64)).detach().numpy(), "sum")


@pytest.mark.parametrize("name, options, _", DEFAULTS, ids=[row[0] for row in DEFAULTS])
def test_defaults_are_keras(name, options, _):
    ours, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
    known = theirs.get_config()
    for key, value in ours.get_config().items():
        if key == "name":
            continue
        wanted = known[key]
        if isinstance(wanted, dict):  # an initializer
            value, wanted = value["class_name"], wanted["class_name"]
        assert value == wanted, key
