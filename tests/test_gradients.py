"""Gradients of every layer and loss against central differences of a float64 forward pass."""

import inspect

import numpy as np
import pytest
import references
from references.activations import ACTIVATIONS, activate, softmax
from references.conv import conv2d, depthwise_conv2d, same_padding
from tolerances import difference

from fastnn import layers, losses
from fastnn.layers import ActivatedLayer, Layer

STEP = 1e-5  # of the differences: an error of STEP^2 and of float64's epsilon / STEP


def central_differences(value, x):
    """Gradient of the scalar function `value` at x, float64."""
    x = x.copy()
    gradient = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        middle = x[i]
        x[i] = middle + STEP
        above = value(x)
        x[i] = middle - STEP
        gradient[i] = (above - value(x)) / (2 * STEP)
        x[i] = middle
    return gradient


# ---- what each layer computes, from its constructor's arguments


def activated(layer, z):
    if layer.rule.name == "softmax":
        return softmax(z.reshape(-1, z.shape[-1])).reshape(z.shape)
    return activate(z, layer.rule.name, layer.rule.alpha)


def padding(layer, x, window, dilations=(1, 1)):
    if layer.padding == "valid":
        return 0, 0, 0, 0
    if layer.padding != "same":
        return layer.padding
    axes = zip(x.shape[1:3], window, layer.strides, dilations)
    return sum((same_padding(*axis) for axis in axes), ())


def pooled(layer, x, kernel):
    amounts = padding(layer, x, layer.pool_size)
    options = {"window": layer.pool_size, "strides": layer.strides, "padding": amounts}
    arguments = {"index": None} if kernel.startswith("max") else {}
    return getattr(references, kernel)(x=x, y=None, **arguments, **options)["y"]


def convolved(layer, x, w, bias, multiply, *groups):
    amounts = padding(layer, x, layer.kernel_size, layer.dilation_rate)
    return activated(layer, multiply(x, w, layer.strides, amounts, layer.dilation_rate, *groups) + sum(bias))


def dropped(layer, x):
    return references.dropout(x, None, layer.rate, layer.random_state, layer.stream)["y"]


def normalized(layer, x, weights, axes):
    gamma, beta = (weights.pop(0) if given else 1 - i for i, given in enumerate((layer.scale, layer.center)))
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta


def batch_normalized(layer, x, *weights):
    return normalized(layer, x, list(weights), tuple(range(x.ndim - 1)))


def recurrent(layer, x, kernel, recurrent_kernel, *bias):
    keys = ("go_backwards", "return_sequences", "reset_after")
    options = {key: getattr(layer, key) for key in keys if hasattr(layer, key)}
    options |= {"activation": layer.rule.name, "alpha": layer.rule.alpha}
    kept = {}
    if not isinstance(layer, layers.SimpleRNN):
        rule = layer.recurrent_rule
        options |= {"recurrent_activation": rule.name, "recurrent_alpha": rule.alpha}
        kept = {"gates": None} | ({"c": None} if isinstance(layer, layers.LSTM) else {})
    kind = "simple_rnn" if isinstance(layer, layers.SimpleRNN) else type(layer).__name__.lower()
    run = getattr(references, f"{kind}_forward")
    return run(x, kernel, recurrent_kernel, bias[0] if bias else None, None, None, **kept, **options)["y"]


def globally(layer, x, y):
    return y.reshape(x.shape[0], 1, 1, -1) if layer.keepdims else y


FORWARD = {
    layers.Dense: lambda layer, x, w, *bias: activated(layer, x @ w + sum(bias)),
    layers.Conv2D: lambda layer, x, w, *bias: convolved(layer, x, w, bias, conv2d, layer.groups),
    layers.DepthwiseConv2D: lambda layer, x, w, *bias: convolved(layer, x, w, bias, depthwise_conv2d),
    layers.MaxPooling2D: lambda layer, x: pooled(layer, x, "max_pool2d_forward"),
    layers.AveragePooling2D: lambda layer, x: pooled(layer, x, "average_pool2d_forward"),
    layers.GlobalMaxPooling2D: lambda layer, x: globally(layer, x, x.max(axis=(1, 2))),
    layers.GlobalAveragePooling2D: lambda layer, x: globally(layer, x, x.mean(axis=(1, 2))),
    layers.BatchNormalization: batch_normalized,
    layers.LayerNormalization: lambda layer, x, *weights: normalized(layer, x, list(weights), -1),
    layers.SimpleRNN: recurrent,
    layers.LSTM: recurrent,
    layers.GRU: recurrent,
    layers.Flatten: lambda layer, x: x.reshape(x.shape[0], -1),
    layers.Reshape: lambda layer, x: x.reshape(x.shape[0], *layer.target_shape),
    layers.Dropout: dropped,
    layers.Activation: activated,
    layers.ReLU: activated,
    layers.LeakyReLU: activated,
    layers.ELU: activated,
    layers.Softmax: activated,
    layers.InputLayer: lambda layer, x: x,
}
NOT_HERE = {Layer, ActivatedLayer, layers.RandomCrop, layers.RandomFlip}  # bases; layers in front of every weight
NOT_HERE |= {layers.Recurrent, layers.Embedding}  # takes ids: tests/test_embedding.py

RECURRENT = (layers.SimpleRNN, layers.LSTM, layers.GRU)
KINDS = [*ACTIVATIONS, "softmax"]
LAYERS = [
    *[(layers.Dense(4, activation=kind), (3,)) for kind in KINDS],
    (layers.Dense(3, use_bias=False, activation="gelu"), (5,)),
    (layers.Dense(3, activation="softmax"), (2, 3)),
    *[(layers.Conv2D(2, 3, activation=kind), (4, 4, 2)) for kind in KINDS],
    (layers.Conv2D(3, (3, 2), padding="same"), (5, 4, 2)),
    (layers.Conv2D(3, 3, strides=(2, 1), padding="same", use_bias=False), (5, 6, 2)),
    (layers.Conv2D(2, 2, strides=3, padding="valid", activation="tanh"), (7, 6, 1)),
    (layers.Conv2D(2, (2, 3), dilation_rate=(2, 1), padding="same", activation="silu"), (5, 4, 2)),
    (layers.Conv2D(2, 3, padding=((2, 0), (1, 2))), (4, 3, 2)),
    (layers.Conv2D(4, 3, groups=2, padding="same", activation="relu"), (4, 3, 4)),
    (layers.Conv2D(3, 5, padding="same"), (2, 3, 2)),
    *[(layers.DepthwiseConv2D(2, activation=kind), (3, 3, 2)) for kind in KINDS],
    (layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2), (5, 4, 3)),
    (layers.DepthwiseConv2D((1, 2), dilation_rate=(1, 3), use_bias=False, activation="elu"), (3, 5, 2)),
    *[(cls(2), (4, 5, 3)) for cls in (layers.MaxPooling2D, layers.AveragePooling2D)],
    *[(cls(3, strides=2, padding="same"), (4, 5, 3)) for cls in (layers.MaxPooling2D, layers.AveragePooling2D)],
    *[(cls((2, 3), strides=1), (4, 5, 2)) for cls in (layers.MaxPooling2D, layers.AveragePooling2D)],
    (layers.GlobalMaxPooling2D(), (3, 4, 3)),
    (layers.GlobalMaxPooling2D(keepdims=True), (3, 2, 3)),
    (layers.GlobalAveragePooling2D(), (3, 4, 3)),
    (layers.GlobalAveragePooling2D(keepdims=True), (3, 2, 3)),
    *[(cls(center=c, scale=s, epsilon=0.5), (4, 5)) for cls in (layers.BatchNormalization, layers.LayerNormalization)
      for c in (False, True) for s in (False, True)],
    (layers.BatchNormalization(), (3, 2, 4)),
    (layers.LayerNormalization(), (3, 2, 6)),
    *[(cls(4, return_sequences=sequences, go_backwards=back), (3, 2)) for cls in RECURRENT
      for sequences in (False, True) for back in (False, True)],
    *[(cls(3, use_bias=False), (3, 4)) for cls in RECURRENT],
    *[(layers.GRU(3, use_bias=bias, reset_after=False), (3, 4)) for bias in (False, True)],
    (layers.LSTM(2, "elu", "tanh"), (3, 2)),
    (layers.Flatten(), (3, 2, 2)),
    (layers.Reshape((4, -1)), (3, 2, 2)),
    (layers.Dropout(0.4, seed=5), (6, 7)),
    *[(layers.Activation(kind), (5, 4)) for kind in KINDS],
    (layers.ReLU(), (7,)),
    (layers.ReLU(negative_slope=0.1), (7,)),
    (layers.LeakyReLU(0.4), (7,)),
    (layers.ELU(0.6), (7,)),
    (layers.Softmax(), (3, 4)),
    (layers.Input((4,)), (4,)),
]  # fmt: skip


def layer_name(row):
    layer, shape = row
    words = [type(layer).__name__, "x".join(map(str, shape))]
    if isinstance(layer, ActivatedLayer):
        words.append(layer.rule.name)
    return "-".join(words)


@pytest.mark.parametrize("row", LAYERS, ids=layer_name)
def test_layer(row):
    layer, shape = row
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, *shape)).astype(np.float32)
    layer.ensure_built(shape)
    for parameter in layer.trainable_parameters:
        parameter.value[...] = rng.standard_normal(parameter.shape)
    weights = [parameter.value.astype(np.float64) for parameter in layer.parameters]
    forward = FORWARD[type(layer)]

    y = layer.forward(x, training=True)
    expected = forward(layer, x.astype(np.float64), *weights)
    assert not difference(y, expected, "sum")

    dy = rng.standard_normal(y.shape).astype(np.float32)
    dx = layer.backward(dy.copy(), need_dx=True, accumulate=False)
    wanted = central_differences(lambda value: (forward(layer, value, *weights) * dy).sum(), x.astype(np.float64))
    assert not difference(dx, wanted, "sum")
    for i, parameter in enumerate(layer.trainable_parameters):
        before, after = weights[:i], weights[i + 1 :]

        def value(w, before=before, after=after):
            return (forward(layer, x.astype(np.float64), *before, w, *after) * dy).sum()

        assert not difference(parameter.grad, central_differences(value, weights[i]), "sum"), parameter.name

    once = [parameter.grad.copy() for parameter in layer.trainable_parameters]
    layer.backward(dy.copy(), need_dx=False, accumulate=True)
    for parameter, gradient in zip(layer.trainable_parameters, once):
        assert not difference(parameter.grad, 2 * gradient, "sum"), f"{parameter.name}, accumulated"


def test_every_layer_is_here():
    public = {value for value in vars(layers).values() if inspect.isclass(value) and issubclass(value, Layer)}
    assert {type(layer) for layer, _ in LAYERS} == public - NOT_HERE


# ---- losses

LOSSES = [
    losses.CategoricalCrossentropy(),
    losses.CategoricalCrossentropy(label_smoothing=0.2),
    losses.CategoricalCrossentropy(from_logits=True),
    losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.SparseCategoricalCrossentropy(),
    losses.SparseCategoricalCrossentropy(from_logits=True),
    losses.BinaryCrossentropy(),
    losses.BinaryCrossentropy(label_smoothing=0.3),
    losses.BinaryCrossentropy(from_logits=True),
    losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.MeanSquaredError(),
    losses.MeanAbsoluteError(),
    losses.Huber(),
    losses.Huber(delta=0.4),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
def test_loss(loss, weighted):
    n, c = 5, 4
    rng = np.random.default_rng(2)
    pred = rng.standard_normal((n, c))
    if not loss.from_logits and loss.activation == "softmax":
        pred = softmax(pred)
    elif not loss.from_logits and loss.activation == "sigmoid":
        pred = 0.1 + 0.8 * rng.random((n, c))
    pred = pred.astype(np.float32)
    truth = rng.integers(0, c, n) if loss.target_form == "labels" else softmax(rng.standard_normal((n, c)))
    target = loss.prepare_targets(truth, (c,))
    weights = rng.random(n).astype(np.float32) if weighted else None
    kernel = loss.logits_kernel if loss.from_logits else loss.kernel

    def value(x):
        exact = target.astype(np.float64) if loss.target_form == "dense" else target
        return getattr(references, kernel)(x, exact, weights, None, np.zeros(1), 0.5, **loss.options())["loss"][0]

    total, dpred = np.zeros(1), np.empty_like(pred)
    loss.compute(target, pred, weights, dpred, total, 0.5)
    assert not difference(total[0], value(pred.astype(np.float64)), "sum")
    assert not difference(dpred, central_differences(value, pred.astype(np.float64)), "sum")


def test_every_loss_is_here():
    assert {type(loss) for loss in LOSSES} == set(losses.KNOWN.values())
