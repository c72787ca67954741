"""Layers: gradients by differences, shapes, buffers that stay, configs, messages."""

import json

import numpy as np
import pytest

import fastnn
from fastnn import activations, layers, regularizers
from fastnn.layers.base import snake_case

# (layer, shape of a sample)
SMOOTH = [
    (lambda: layers.Dense(5), (7,)),
    (lambda: layers.Dense(5, use_bias=False, activation="tanh"), (7,)),
    (lambda: layers.Dense(4, activation="softmax"), (3, 7)),
    (lambda: layers.Dense(4, activation="gelu"), (2, 3, 5)),
    (lambda: layers.Dense(6, activation="softplus"), (7,)),
    (lambda: layers.Activation("silu"), (3, 4)),
    (lambda: layers.Activation("gelu_tanh"), (3, 4)),
    (lambda: layers.Activation("sigmoid"), (9,)),
    (lambda: layers.Activation("linear"), (9,)),
    (lambda: layers.Softmax(), (3, 6)),
    (lambda: layers.Conv2D(5, 3, padding="same", activation="tanh"), (6, 7, 3)),
    (lambda: layers.Conv2D(4, (2, 3), strides=(2, 1), dilation_rate=(1, 2), groups=2), (7, 9, 4)),
    (lambda: layers.Conv2D(4, 3, padding=((1, 2), (0, 1)), use_bias=False, activation="silu"), (5, 6, 2)),
    (lambda: layers.Conv2D(3, 1, activation="softmax"), (4, 4, 2)),
    (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="sigmoid"), (5, 6, 3)),
    (lambda: layers.DepthwiseConv2D(2, strides=2, use_bias=False), (6, 6, 3)),
    (lambda: layers.AveragePooling2D(2), (6, 5, 3)),
    (lambda: layers.AveragePooling2D(3, strides=2, padding="same"), (6, 5, 3)),
    (lambda: layers.GlobalAveragePooling2D(), (4, 5, 3)),
    (lambda: layers.GlobalAveragePooling2D(keepdims=True), (4, 5, 3)),
    (lambda: layers.BatchNormalization(), (4, 5)),
    (lambda: layers.BatchNormalization(momentum=0.5, epsilon=0.1, center=False), (2, 2, 3)),
    (lambda: layers.BatchNormalization(scale=False, beta_regularizer="l2"), (9, 17)),
    (lambda: layers.LayerNormalization(), (7,)),
    (lambda: layers.LayerNormalization(axis=2, epsilon=0.1, scale=False, gamma_initializer="he_normal"), (3, 5)),
    (lambda: layers.LayerNormalization(center=False), (2, 3, 6)),
    (lambda: layers.SimpleRNN(5), (4, 3)),
    (lambda: layers.SimpleRNN(3, "sigmoid", use_bias=False, go_backwards=True, return_sequences=True), (4, 2)),
    (lambda: layers.LSTM(5), (4, 3)),
    (lambda: layers.LSTM(17, return_sequences=True, unit_forget_bias=False, kernel_regularizer="l1"), (3, 2)),
    (lambda: layers.LSTM(3, "sigmoid", "tanh", use_bias=False, go_backwards=True), (4, 2)),
    (lambda: layers.GRU(5), (4, 3)),
    (lambda: layers.GRU(17, return_sequences=True, go_backwards=True, bias_initializer="ones"), (3, 2)),
    (lambda: layers.GRU(5, reset_after=False), (4, 3)),
    (lambda: layers.GRU(3, None, "tanh", use_bias=False, reset_after=False, return_sequences=True), (3, 2)),
    (lambda: layers.Flatten(), (2, 3, 4)),
    (lambda: layers.Reshape((4, -1)), (2, 6)),
]
KINKED = [
    (lambda: layers.Dense(5, activation="relu"), (7,)),
    (lambda: layers.Dense(5, activation=layers.LeakyReLU(0.3)), (7,)),
    (lambda: layers.ELU(0.7), (4, 3)),
    (lambda: layers.ReLU(), (4, 3)),
    (lambda: layers.LSTM(4, layers.ELU(0.6), recurrent_initializer="he_normal"), (3, 4)),
    (lambda: layers.SimpleRNN(4, activation=layers.LeakyReLU(0.3), recurrent_regularizer="l2"), (3, 4)),
    (lambda: layers.Conv2D(3, 3, activation="relu"), (6, 6, 2)),
    (lambda: layers.MaxPooling2D(2), (6, 5, 3)),
    (lambda: layers.MaxPooling2D(3, strides=1, padding="same"), (4, 4, 2)),
    (lambda: layers.GlobalMaxPooling2D(), (4, 5, 3)),
    (lambda: layers.Dropout(0.4), (4, 3)),
]
N = 3


def ready(make, shape):
    """A built layer, a batch and a gradient."""
    fastnn.set_seed(1)
    generator = np.random.default_rng(2)
    layer = make()
    layer.ensure_built(shape)
    x = generator.standard_normal((N, *shape)).astype(np.float32)
    for parameter in layer.trainable_parameters:
        parameter.value[...] = generator.standard_normal(parameter.shape) * 0.5
    dy = generator.standard_normal((N, *layer.output_shape)).astype(np.float32)
    return layer, x, dy


def slopes(layer, x, dy, target, direction, step):
    """d/dt sum(dy * layer(x)) along a direction of ``target``, to the right and to the left; sums in float64."""
    start, values = target.copy(), []
    for sign in (-1, 0, 1):
        target[...] = start + sign * step * direction
        values.append((layer.forward(x, True).astype(np.float64) * dy).sum())
    target[...] = start
    return (values[2] - values[1]) / step, (values[1] - values[0]) / step


@pytest.mark.parametrize("make, shape, kinked", [(*c, False) for c in SMOOTH] + [(*c, True) for c in KINKED])
def test_gradients_by_differences(make, shape, kinked):
    layer, x, dy = ready(make, shape)
    y = layer.forward(x, True)
    assert y.shape == dy.shape and y.dtype == np.float32 and y.flags.c_contiguous
    dx = layer.backward(dy.copy(), True, False)
    assert dx.shape == x.shape
    gradients = [(x, dx.copy())] + [(p.value, p.grad.copy()) for p in layer.trainable_parameters]
    generator = np.random.default_rng(3)
    for target, gradient in gradients:
        compared = 0
        for _ in range(60 if kinked else 3):
            direction = generator.standard_normal(target.shape).astype(np.float32)
            right, left = slopes(layer, x, dy, target, direction, 1e-3 if kinked else 1e-2)
            found = (gradient.astype(np.float64) * direction).sum()
            scale = np.linalg.norm(gradient) * np.linalg.norm(direction) / np.sqrt(gradient.size) + 1e-3
            if kinked and abs(right - left) > 5e-3 * scale:
                continue  # a kink lies on the way: no difference quotient is the derivative
            compared += 1
            assert abs(found - (right + left) / 2) < 5e-3 * scale
        assert compared >= 3


@pytest.mark.parametrize("make, shape", SMOOTH + KINKED)
def test_accumulate_adds_and_dx_can_be_left_out(make, shape):
    layer, x, dy = ready(make, shape)
    layer.forward(x, True)
    layer.backward(dy.copy(), True, False)
    once = [p.grad.copy() for p in layer.trainable_parameters]
    assert layer.backward(dy.copy(), False, True) is None
    for parameter, gradient in zip(layer.trainable_parameters, once):
        np.testing.assert_allclose(parameter.grad, 2 * gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make, shape", SMOOTH + KINKED)
def test_buffers_stay_and_small_batches_use_their_beginning(make, shape):
    layer, x, dy = ready(make, shape)

    def run(n):
        y = layer.forward(x[:n], True)
        return y, layer.backward(dy[:n].copy(), True, False)

    run(N)
    kept = layer._buffers._bases, layer.gradients._buffers._bases
    before = [dict(bases) for bases in kept]
    for n in (N, 1, 2, N):
        y, _ = run(n)
        assert len(y) == n
    for now, then in zip(kept, before):
        assert now.keys() == then.keys() and all(now[name] is then[name] for name in then)


@pytest.mark.parametrize("make, shape", SMOOTH + KINKED)
def test_config_round_trip(make, shape):
    layer, x, _ = ready(make, shape)
    config = json.loads(json.dumps(layers.serialize(layer)))
    copy = layers.deserialize(config)
    assert type(copy) is type(layer) and not copy.built
    assert layers.serialize(copy) == layers.serialize(layer)
    copy.ensure_built(shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), layer(x))


def test_dense_is_a_matrix_product():
    layer, x, _ = ready(lambda: layers.Dense(5, activation="relu"), (7,))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(layer(x), np.maximum(x @ kernel + bias, 0), rtol=1e-5, atol=1e-6)
    assert layer.count_params() == 40
    assert [p.name for p in layer.parameters] == ["dense/kernel", "dense/bias"]


def test_a_call_returns_a_new_array():
    layer, x, _ = ready(lambda: layers.Dense(5), (7,))
    first = layer(x)
    kept = first.copy()
    layer(2 * x)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", [n for n in activations.names() if n != "softmax"])
def test_activation_inside_a_layer_equals_one_behind_it(name):
    inside, x, dy = ready(lambda: layers.Dense(6, activation=name), (7,))
    plain, _, _ = ready(lambda: layers.Dense(6), (7,))
    behind = layers.Activation(name)
    behind.ensure_built((6,))
    np.testing.assert_allclose(inside(x), behind(plain(x)), rtol=1e-5, atol=1e-6)
    inside.forward(x, True)
    dx = inside.backward(dy.copy(), True, False)
    behind.forward(plain.forward(x, True), True)
    np.testing.assert_allclose(
        plain.backward(behind.backward(dy.copy(), True, False), True, False), dx, rtol=1e-4, atol=1e-5
    )


def test_emit_logits_leaves_the_activation_out():
    layer, x, dy = ready(lambda: layers.Dense(4, activation="softmax"), (7,))
    full = layer(x)
    layer.emit_logits = True
    logits = layer.forward(x, True)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(logits, x @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.activate(logits), full, rtol=1e-6)
    layer.backward(dy, False, False)
    np.testing.assert_allclose(layer.parameters[1].grad, dy.sum(axis=0), rtol=1e-5, atol=1e-6)


def test_dropout_mask():
    fastnn.set_seed(5)
    layer = layers.Dropout(0.25)
    x = np.ones((40, 500), np.float32)
    assert (layer(x) == 1).all()  # not in training
    y = layer(x, training=True)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(layer.backward(x.copy(), True, False), y)  # the same mask again
    assert (layer(x, training=True) != y).any()
    fastnn.set_seed(5)
    np.testing.assert_array_equal(layer(x, training=True), y)
    other = layers.Dropout(0.25)
    other.stream = 1
    fastnn.set_seed(5)
    assert (other(x, training=True) != y).any()


def test_dropout_with_a_seed_of_its_own():
    x = np.ones((10, 50), np.float32)
    first = layers.Dropout(0.5, seed=9)(x, training=True)
    fastnn.set_seed(123)
    np.testing.assert_array_equal(layers.Dropout(0.5, seed=9)(x, training=True), first)


def test_shapes():
    def shape_after(layer, shape):
        layer.ensure_built(shape)
        return layer.output_shape

    assert shape_after(layers.Conv2D(8, 3), (28, 28, 1)) == (26, 26, 8)
    assert shape_after(layers.Conv2D(8, 3, strides=2, padding="same"), (28, 27, 1)) == (14, 14, 8)
    for padding in (1, (1, 1), ((1, 1), (1, 1)), ((2, 0), (0, 2)), [1, 1, 1, 1], "same"):
        assert shape_after(layers.Conv2D(8, np.int64(3), padding=padding), (5, 6, 1)) == (5, 6, 8)
    assert shape_after(layers.Conv2D(8, 3, padding=(0, 2)), (5, 6, 1)) == (3, 8, 8)
    assert shape_after(layers.Conv2D(8, 3, dilation_rate=2), (9, 9, 1)) == (5, 5, 8)
    assert shape_after(layers.MaxPooling2D(), (7, 7, 3)) == (3, 3, 3)
    assert shape_after(layers.MaxPooling2D(3, 2, "same"), (7, 7, 3)) == (4, 4, 3)
    assert shape_after(layers.Dense(9), (4, 5)) == (4, 9)
    assert shape_after(layers.Reshape((-1, 2)), (4, 5)) == (10, 2)


@pytest.mark.parametrize(
    "name, expected",
    [("Dense", "dense"), ("MaxPooling2D", "max_pooling2d"), ("DepthwiseConv2D", "depthwise_conv2d")]
    + [
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("Conv2D", "conv2d"),
        ("SimpleRNN", "simple_rnn"),
        ("LSTM", "lstm"),
        ("BatchNormalization", "batch_normalization"),
    ],
)
def test_names(name, expected):
    assert snake_case(name) == expected


def test_aliases_are_keras():
    assert layers.MaxPool2D is layers.MaxPooling2D and layers.AvgPool2D is layers.AveragePooling2D
    assert layers.Dense(3, input_dim=5).input_shape == layers.Dense(3, input_shape=(5,)).input_shape == (5,)


def test_regularizers():
    assert repr(layers.Dense(3, kernel_regularizer="l2").kernel_regularizer) == "L1L2(l1=0.0, l2=0.01)"
    assert repr(regularizers.get("l1")) == "L1L2(l1=0.01, l2=0.0)"
    w = np.array([1, -2], np.float32)
    assert regularizers.L1L2(0.5, 0.25)(w) == pytest.approx(0.5 * 3 + 0.25 * 5)


MESSAGES = [
    (lambda: layers.Dense(0), ValueError, "Dense: units must be a whole number of at least 1, got 0"),
    (lambda: layers.Dense(2.5), TypeError, "Dense: units must be a whole number"),
    (lambda: layers.Dense(3, activation="rellu"), ValueError, "Dense: activation must be one of elu, .*'rellu'"),
    (lambda: layers.Dense(3, units_=1), TypeError, "every argument must be known, got units_. Dense takes: units"),
    (lambda: layers.Dense(3, kernel_initializer="x"), ValueError, "Dense: kernel_initializer must be one of .*got 'x'"),
    (lambda: layers.Dense(3, kernel_regularizer="x"), ValueError, "Dense: kernel_regularizer must be None, 'l1',.*'x'"),
    (lambda: layers.Dense(3, input_shape=(0,)), ValueError, r"input_shape must be a tuple of integers >= 1.*\(0,\)"),
    (lambda: layers.Dense(3, input_dim=2, input_shape=(2,)), ValueError, "Dense: input_dim must be left out"),
    (lambda: layers.Dense(3, name=3), ValueError, "Dense: name must be a string or None, got 3"),
    (lambda: layers.Dense(3, name="optimizer"), ValueError, "name must be neither empty nor 'optimizer', without"),
    (lambda: layers.Dense(3).ensure_built(()), ValueError, "dense: input_shape must be at least one feature axis"),
    (lambda: layers.Conv2D(3, 0), ValueError, "Conv2D: kernel_size must be .*>= 1, got 0"),
    (lambda: layers.Conv2D(3, (1, 2, 3)), ValueError, r"Conv2D: kernel_size must be .*two integers.*\(1, 2, 3\)"),
    (lambda: layers.Conv2D(3, 3, strides=0), ValueError, "Conv2D: strides must be"),
    (lambda: layers.Conv2D(3, 3, padding="sane"), ValueError, "Conv2D: padding must be 'valid', 'same', .*got 'sane'"),
    (lambda: layers.Conv2D(3, 3, data_format="channels_first"), ValueError, "must be 'channels_last'.*transpose"),
    (lambda: layers.Conv2D(3, 3, groups=2), ValueError, "Conv2D: groups must be a divisor of the 3 filters, got 2"),
    (lambda: layers.Conv2D(4, 3, groups=2).ensure_built((5, 5, 3)), ValueError, "a divisor of the 3 input"),
    (lambda: layers.Conv2D(3, 3).ensure_built((5, 5)), ValueError, r"must be \(height, .*axis of one channel"),
    (lambda: layers.Conv2D(3, 7).ensure_built((5, 5, 1)), ValueError, "at most the padded input of 5x5, got 7x7"),
    (lambda: layers.MaxPooling2D(2, padding=-1), ValueError, "MaxPooling2D: padding must be .*got -1"),
    (lambda: layers.Reshape((2, -1, -1)), ValueError, "target_shape must be integers >= 1, at most one of"),
    (lambda: layers.Reshape((5,)).ensure_built((2, 3)), ValueError, "Reshape: target_shape must be of 6 elements"),
    (lambda: layers.BatchNormalization(momentum=1.5), ValueError, "BatchNormalization: momentum must be .*got 1.5"),
    (lambda: layers.LayerNormalization(epsilon=-1), ValueError, "LayerNormalization: epsilon must be .*got -1"),
    (lambda: layers.LayerNormalization(center=2), TypeError, "LayerNormalization: center must be True or False, got 2"),
    (lambda: layers.BatchNormalization(1).ensure_built((4, 5, 3)), ValueError, r"must be -1, the last axis of \(N.*1"),
    (lambda: layers.LayerNormalization().ensure_built(()), ValueError, "input_shape must be at least one feature axis"),
    (lambda: layers.LSTM(0), ValueError, "LSTM: units must be a whole number of at least 1, got 0"),
    (lambda: layers.GRU(3, "gelu"), ValueError, "GRU: activation must be one of elu, .*tanh, got 'gelu'"),
    (lambda: layers.LSTM(3, "tanh", "softmax"), ValueError, "LSTM: recurrent_activation must be one of elu,.*softmax"),
    (lambda: layers.SimpleRNN(3, dropout=0.1), TypeError, "every argument must be known, got dropout. SimpleRNN takes"),
    (lambda: layers.LSTM(3, return_sequences=1), TypeError, "LSTM: return_sequences must be True or False, got 1"),
    (lambda: layers.GRU(3).ensure_built((4,)), ValueError, r"gru: input_shape must be \(steps, features\), got \(4,\)"),
    (lambda: layers.Dropout(1.0), ValueError, "Dropout: rate must be .*got 1.0"),
    (lambda: layers.Input(()).ensure_built((3,)), ValueError, "input_shape must be the shape of what comes before it"),
    (lambda: layers.InputLayer(), ValueError, "Input: shape must be given"),
    (lambda: regularizers.L1L2(l2=-1), ValueError, "L1L2: l2 must be a finite number >= 0, got -1"),
    (lambda: layers.deserialize({"class_name": "Dens"}), ValueError, "must be one of .*'Dens'. Pass custom_objects"),
]  # fmt: skip


@pytest.mark.parametrize("make, error, message", MESSAGES)
def test_messages(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_set_weights_checks_everything_first():
    layer, _, _ = ready(lambda: layers.Dense(5), (7,))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"dense.set_weights: weights must be a list of 2 arrays, got 1"):
        layer.set_weights(before[:1])
    with pytest.raises(
        ValueError, match=r"weights\[1\] must be numbers of shape \(5,\) \(dense/bias\), got float32 of"
    ):
        layer.set_weights([before[0] + 1, before[1][:3]])
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])


def test_a_built_layer_keeps_its_shape():
    layer, _, _ = ready(lambda: layers.Dense(5), (7,))
    with pytest.raises(ValueError, match=r"dense: input_shape must be \(7,\), for which it was built, got \(8,\)"):
        layer(np.zeros((2, 8), np.float32))
