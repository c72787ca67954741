"""functional: new arrays of the right shape, arguments that reach the kernels, messages."""

import numpy as np
import pytest

import fastnn
from fastnn import activations, layers
from fastnn import functional as F  # noqa: N812

GENERATOR = np.random.default_rng(0)


def normal(*shape):
    return GENERATOR.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_gemm(transpose_a, transpose_b):
    a, b = normal(5, 7), normal(7, 4)
    expected = a @ b
    left = np.ascontiguousarray(a.T) if transpose_a else a
    right = np.ascontiguousarray(b.T) if transpose_b else b
    options = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    np.testing.assert_allclose(F.gemm(left, right, **options), expected, rtol=1e-5, atol=1e-6)
    c, bias = normal(5, 4), normal(4)
    wanted = c + expected + bias
    result = F.gemm(left, right, c, accumulate=True, bias=bias, **options)
    assert result is c
    np.testing.assert_allclose(c, wanted, rtol=1e-5, atol=1e-5)
    result = F.gemm(left, right, bias=bias, activation="relu", **options)
    np.testing.assert_allclose(result, np.maximum(expected + bias, 0), rtol=1e-5, atol=1e-5)


def test_dense_and_images_equal_the_layers():
    x, sequences = normal(3, 8, 7, 4), normal(3, 6, 4)
    cases = [
        (layers.Dense(5, "softmax"), lambda k, b: F.dense(x.reshape(3, -1), k, b, "softmax"), x.reshape(3, -1)),
        (layers.Conv2D(6, 3, 2, "same", groups=2), lambda k, b: F.conv2d(x, k, b, 2, "same", 1, 2), x),
        (layers.Conv2D(6, 3, activation="gelu"), lambda k, b: F.conv2d(x, k, b, activation="gelu"), x),
        (layers.Conv2D(6, 3, dilation_rate=2), lambda k, b: F.conv2d(x, k, b, dilation_rate=2), x),
        (layers.Conv2D(6, 3, 1, 1, activation="softmax"), lambda k, b: F.conv2d(x, k, b, 1, 1, 1, 1, "softmax"), x),
        (layers.DepthwiseConv2D(3, 1, "same", 2), lambda k, b: F.depthwise_conv2d(x, k, b, 1, "same"), x),
        (layers.DepthwiseConv2D(2, activation="elu"), lambda k, b: F.depthwise_conv2d(x, k, b, activation="elu"), x),
        (layers.SimpleRNN(5, "relu"), lambda *weights: F.simple_rnn(sequences, *weights, activation="relu"), sequences),
        (layers.LSTM(5, return_sequences=True), lambda *w: F.lstm(sequences, *w, return_sequences=True), sequences),
        (layers.LSTM(5, None, "tanh"), lambda *w: F.lstm(sequences, *w, None, "tanh"), sequences),
        (layers.GRU(5, go_backwards=True), lambda *w: F.gru(sequences, *w, go_backwards=True), sequences),
        (layers.GRU(5, reset_after=False), lambda *w: F.gru(sequences, *w, reset_after=False), sequences),
        (layers.BatchNormalization(), lambda *weights: F.batch_norm(x, *weights), x),
        (layers.LayerNormalization(epsilon=0.1), lambda *weights: F.layer_norm(x, *weights, epsilon=0.1), x),
        (layers.MaxPooling2D(3, 2, "same"), lambda: F.max_pool2d(x, 3, 2, "same"), x),
        (layers.AveragePooling2D(2), lambda: F.average_pool2d(x), x),
        (layers.GlobalAveragePooling2D(), lambda: F.global_average_pool2d(x), x),
        (layers.GlobalMaxPooling2D(), lambda: F.global_max_pool2d(x), x),
    ]  # fmt: skip
    for layer, function, given in cases:
        np.testing.assert_array_equal(layer(given), function(*[p.value for p in layer.parameters]))


def test_batch_norm_by_its_own_statistics():
    layer, x = layers.BatchNormalization(epsilon=0.2), normal(5, 3, 4)
    np.testing.assert_array_equal(layer(x, training=True), F.batch_norm(x, *layer.get_weights()[:2], epsilon=0.2))
    assert F.batch_norm(x[:0], mean=np.zeros(4, np.float32), variance=np.ones(4, np.float32)).shape == (0, 3, 4)
    assert F.layer_norm(x[:0]).shape == (0, 3, 4) and F.layer_norm(x[..., :0].copy()).shape == (5, 3, 0)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: F.batch_norm([1.0]), TypeError, "batch_norm: x must be a NumPy array, got"),
        (lambda: F.layer_norm(np.ones((), np.float32)), ValueError, "layer_norm: x must be an array with at least"),
        (lambda: F.layer_norm(normal(2, 3), epsilon=-1), ValueError, "layer_norm: epsilon must be .*, got -1"),
        (lambda: F.batch_norm(normal(2, 3), mean=normal(3)), ValueError, "both given or both None, got one of them"),
        (
            lambda: F.lstm(normal(2, 3), normal(3, 8), normal(2, 8)),
            ValueError,
            "lstm: x must be an array with 3 axes, got",
        ),
        (
            lambda: F.gru(normal(2, 3, 1), normal(1, 6), normal(2, 6), activation="gelu"),
            ValueError,
            "gru: activation must be",
        ),
        (lambda: F.batch_norm(normal(0, 3)), ValueError, "batch_norm: x must be an array with elements, where"),
    ],
)
def test_messages_of_normalization_and_recurrence(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", activations.names())
def test_activations(name):
    x = normal(3, 5, 7)
    layer = layers.Activation(name)
    np.testing.assert_array_equal(F.activation(x, name), layer(x))
    own = {
        "gelu_tanh": lambda v: F.gelu(v, approximate=True),
        "linear": lambda v: v,
        "swish": F.silu,
        "leakyrelu": F.leaky_relu,
    }
    np.testing.assert_array_equal((own.get(name) or getattr(F, name))(x), layer(x))


def test_parameters_of_activations():
    x = np.array([-1.0, 2.0], np.float32)
    np.testing.assert_allclose(F.leaky_relu(x, 0.5), [-0.5, 2.0])
    np.testing.assert_allclose(F.elu(x, 2.0), [2 * np.expm1(-1.0), 2.0], rtol=1e-6)
    assert F.softmax(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_dropout():
    fastnn.set_seed(0)
    x = np.ones((30, 40), np.float32)
    assert (F.dropout(x, 0.5) != F.dropout(x, 0.5)).any()
    np.testing.assert_array_equal(F.dropout(x, 0.5, seed=3), F.dropout(x, 0.5, seed=3))
    assert set(np.unique(F.dropout(x, 0.2))) == {np.float32(0), np.float32(1.25)}


P, T, L = np.exp(normal(6, 3)), np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 1, 0]], np.array([0, 1, 2, 2, 1, 0], np.int32)
P /= P.sum(axis=1, keepdims=True)
E, Z, W = np.abs(P - T), np.log(P) + 0.3, GENERATOR.uniform(0, 2, 6).astype(np.float32)


@pytest.mark.parametrize(
    "function, pred, target, options, rows",
    [
        (F.softmax_cross_entropy, Z, T, {}, -np.log(P[np.arange(6), L])),
        (F.softmax_cross_entropy, Z, T, {"label_smoothing": 0.3}, -((0.7 * T + 0.1) * np.log(P)).sum(1)),
        (F.sparse_softmax_cross_entropy, Z, L, {}, -np.log(P[np.arange(6), L])),
        (F.cross_entropy, P, T, {}, -np.log(P[np.arange(6), L])),
        (F.sparse_cross_entropy, P, L, {}, -np.log(P[np.arange(6), L])),
        (F.binary_cross_entropy, P, T, {}, -np.where(T > 0, np.log(P), np.log1p(-P)).mean(1)),
        (F.sigmoid_cross_entropy, Z, T, {}, (np.logaddexp(0, Z) - T * Z).mean(1)),
        (F.mean_squared_error, P, T, {}, ((P - T) ** 2).mean(1)),
        (F.mean_absolute_error, P, T, {}, np.abs(P - T).mean(1)),
        (F.huber, P, T, {"delta": 0.2}, np.where(E < 0.2, E**2 / 2, 0.2 * (E - 0.1)).mean(1)),
    ],
)  # fmt: skip
def test_losses(function, pred, target, options, rows):
    pred = pred.astype(np.float32)
    assert function(pred, target, **options) == pytest.approx(rows.mean(), rel=1e-5)
    value, gradient = function(pred, target, W, gradient=True, **options)
    assert value == pytest.approx((W * rows).mean(), rel=1e-5)
    assert gradient.shape == pred.shape
    step = np.zeros_like(pred)
    step[2, 1] = 1e-3
    slope = (function(pred + step, target, W, **options) - function(pred - step, target, W, **options)) / 2e-3
    assert gradient[2, 1] == pytest.approx(slope, rel=1e-2, abs=1e-4)


A, B = normal(4, 3), normal(3, 2)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: F.dense(A[0], B), ValueError, r"dense: x must be an array with 2 axes, got float32 array of"),
        (lambda: F.dense(A.astype(float), B), (ValueError, TypeError), "x must be .*float32"),
        (lambda: F.dense(A.tolist(), B), ValueError, "dense: x must be an array with 2 axes"),
        (lambda: F.dense(A, B, activation="x"), ValueError, "dense: activation must be one of"),
        (lambda: F.gemm(A, B, A @ B, accumulate=True, activation="relu"), ValueError, "gemm: activation must be None"),
        (lambda: F.gemm(A, B, accumulate=True), ValueError, "gemm: c must be given with accumulate=True"),
        (lambda: F.gemm(A, B, activation="softmax"), ValueError, "gemm: activation must be an elementwise one"),
        (lambda: F.conv2d(A, B), ValueError, "conv2d: x must be an array with 4 axes"),
        (lambda: F.max_pool2d(normal(1, 2, 2, 1), 3), ValueError, "max_pool2d: window must be at most the padded"),
        (lambda: F.relu([1.0]), TypeError, r"relu: x must be a NumPy array, got \[1.0\]"),
        (lambda: F.softmax(np.float32(1) * np.ones((), np.float32)), (ValueError, TypeError), "softmax: x must be"),
        (lambda: F.dropout(A, 1.0), ValueError, "dropout: rate must be"),
        (lambda: F.mean_squared_error(A[0], A[0]), ValueError, "mean_squared_error: predictions must be an array"),
    ],
)  # fmt: skip
def test_messages(make, error, message):
    with pytest.raises(error, match=message):
        make()
