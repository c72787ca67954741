"""Where float32 is treacherous: accuracy in units in the last place, huge logits, NaN and infinities."""

import math

import numpy as np
import pytest
import references
from references.activations import ACTIVATIONS, activate, derivative, saved_for_backward, sigmoid

from fastnn import _backend

LEVELS = _backend.isa_levels()
pytestmark = pytest.mark.parametrize("level", LEVELS)

# Largest error in units in the last place where |x| <= 4, and anywhere else where |f(x)| > 1e-30; both a little above
# what was measured. The long tail of gelu loses bits in the exponent of exp(-x^2 / 2), as every float32 form does.
MAX_ULP = {
    "linear": (0, 0),
    "relu": (0, 0),
    "leaky_relu": (1, 1),
    "elu": (2, 2),
    "gelu": (9, 80),
    "gelu_tanh": (26, 220),
    "silu": (3, 3),
    "sigmoid": (3, 3),
    "tanh": (5.5, 6.5),
    "softplus": (3, 3),
}
MAX_DERIVATIVE_ERROR = 3e-6  # of values that are about 1


def arguments():
    """Float32 numbers of either sign, evenly spread over [-100, 100], [-8, 8] and in their logarithm."""
    rng = np.random.default_rng(0)
    small = np.exp(rng.uniform(-80, 4, 30_000)) * rng.choice([-1, 1], 30_000)
    return np.concatenate([rng.uniform(-100, 100, 60_000), rng.uniform(-8, 8, 60_000), small]).astype(np.float32)


def accurate(x, kind, alpha):
    """The activation in float64 without the cancellation of the textbook formulas far out on the negative side."""
    if kind == "gelu":
        return x * np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2
    if kind == "gelu_tanh":
        return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    if kind == "softplus":
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return activate(x, kind, alpha)


def ulps(actual, expected):
    return np.abs(actual - expected) / np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_accuracy_of_activations(level, kind):
    kernels, x = _backend.load_level(level), arguments()
    y = np.empty_like(x)
    kernels.activation_forward(x, y, kernels.ACTIVATIONS[kind], 0.7)
    expected = accurate(x.astype(np.float64), kind, 0.7)
    normal = np.abs(expected) > 1e-30  # smaller results may be 0
    errors, near = ulps(y, expected), np.abs(x) <= 4
    assert errors[normal & near].max() <= MAX_ULP[kind][0]
    assert errors[normal].max() <= MAX_ULP[kind][1]
    assert np.abs(y[~normal]).max(initial=0.0) < 2e-30


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_accuracy_of_derivatives(level, kind):
    kernels, x = _backend.load_level(level), arguments()
    saved = saved_for_backward(x.astype(np.float64), kind, 0.7)
    saved = x if saved is None else saved.astype(np.float32)
    dx = np.empty_like(x)
    kernels.activation_backward(saved, np.ones_like(x), dx, kernels.ACTIVATIONS[kind], 0.7)
    assert np.abs(dx - derivative(saved.astype(np.float64), kind, 0.7)).max() <= MAX_DERIVATIVE_ERROR


def test_exp_and_log_through_softmax_and_its_loss(level):
    """A row (0, -t): exp(-t) to a few ulp in the gradient, log(1 + exp(-t)) in the loss."""
    kernels = _backend.load_level(level)
    t = np.linspace(0, 80, 4001).astype(np.float32)
    logits = np.stack([np.zeros_like(t), -t], axis=1)
    probabilities = np.empty_like(logits)
    kernels.softmax_forward(logits, probabilities)
    expected = sigmoid(-t.astype(np.float64))
    assert ulps(probabilities[:, 1], expected).max() <= 4
    for i in range(0, len(t), 40):
        loss = np.zeros(1)
        row = logits[i : i + 1].copy()
        kernels.sparse_softmax_cross_entropy(row, np.array([0], np.int32), None, None, loss, 1.0)
        assert abs(loss[0] - math.log1p(math.exp(-t[i]))) <= 1e-7  # of a sum 1 + exp(-t) in float32
        loss[0] = 0
        kernels.sparse_softmax_cross_entropy(row, np.array([1], np.int32), None, None, loss, 1.0)
        assert abs(loss[0] - (t[i] + math.log1p(math.exp(-t[i])))) <= 1e-7 + 1e-7 * t[i]


@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
def test_huge_logits(level, size):
    """Losses of logits up to the largest float are exact: differences of logits, no overflow."""
    kernels = _backend.load_level(level)
    logits = np.zeros((3, 5), np.float32)
    logits[0, 2], logits[1, 0], logits[2] = size, -size, [size, -size, size, 0, -size]
    labels = np.array([2, 0, 1], np.int32)
    one_hot = np.eye(5, dtype=np.float32)[labels]
    for kernel, truth in [("sparse_softmax_cross_entropy", labels), ("softmax_cross_entropy", one_hot)]:
        loss, gradient = np.zeros(1), np.empty_like(logits)
        getattr(kernels, kernel)(logits, truth, None, gradient, loss, 1.0)
        exact = references.sparse_softmax_cross_entropy(logits.astype(np.float64), labels, None, None, np.zeros(1), 1.0)
        if size < 1e38:  # the difference of two logits is a float
            assert loss[0] == pytest.approx(exact["loss"][0], rel=1e-6)
        np.testing.assert_allclose(gradient, exact["dlogits"], atol=1e-6)
    y = np.empty_like(logits)
    kernels.softmax_forward(logits, y)
    np.testing.assert_allclose(y, references.softmax_forward(logits.astype(np.float64), None)["y"], atol=1e-6)


@pytest.mark.parametrize("size", [1e4, 3e38])
def test_huge_logits_of_a_sigmoid(level, size):
    kernels = _backend.load_level(level)
    logits = np.array([[size, -size, size, -size, 0]], np.float32)
    targets = np.array([[1, 0, 0, 1, 1]], np.float32)
    loss, gradient = np.zeros(1), np.empty_like(logits)
    kernels.sigmoid_cross_entropy(logits, targets, None, gradient, loss, 1.0)
    assert loss[0] == pytest.approx((2 * float(np.float32(size)) + math.log(2)) / 5, rel=1e-6)
    np.testing.assert_allclose(gradient, [[0, 0, 0.2, -0.2, -0.1]], atol=1e-7)


# ---- NaN and infinities


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_keep_nan_and_reach_their_limits(level, kind):
    kernels = _backend.load_level(level)
    x = np.full(37, np.nan, np.float32)
    x[:20], x[20:30] = np.inf, -np.inf
    y = np.empty_like(x)
    kernels.activation_forward(x, y, kernels.ACTIVATIONS[kind], 0.5)
    above = {"sigmoid": 1.0, "tanh": 1.0}.get(kind, np.inf)
    below = {"linear": -np.inf, "leaky_relu": -np.inf, "elu": -0.5, "tanh": -1.0}.get(kind, 0.0)
    np.testing.assert_array_equal(y[:20], np.float32(above))
    np.testing.assert_array_equal(y[20:30], np.float32(below))
    assert np.isnan(y[30:]).all()
    kernels.activation_backward(y if kind not in references.activations.GRAD_FROM_INPUT else x, x, y, 0, 0.0)
    assert np.isnan(y[30:]).all()


def test_nan_gradient_goes_through(level):
    kernels = _backend.load_level(level)
    for number in kernels.ACTIVATIONS.values():
        saved, dy = np.full(19, 0.25, np.float32), np.full(19, np.nan, np.float32)
        kernels.activation_backward(saved, dy, dy, number, 0.5)
        assert np.isnan(dy).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("m, n, k", [(5, 7, 3), (17, 33, 9), (70, 90, 600)])
def test_gemm_keeps_nan(level, m, n, k, threads):
    """A NaN in a reaches its whole row of c, one in b its whole column, also against zeros; and nothing else."""
    kernels = _backend.load_level(level)
    kernels.set_num_threads(threads)
    a, b = np.zeros((m, k), np.float32), np.ones((k, n), np.float32)
    a[m - 1, k - 1], b[0, n - 2], b[1, 1] = np.nan, np.nan, np.inf
    c = np.empty((m, n), np.float32)
    kernels.gemm(a, b, c)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isnan(c), np.isnan(a @ b))
    kernels.gemm(a, b, c, activation=kernels.ACTIVATIONS["relu"], bias=np.zeros(n, np.float32))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isnan(c), np.isnan(a @ b))


@pytest.mark.parametrize("channels", [1, 5, 16, 19])
def test_max_pool_keeps_nan(level, channels):
    kernels = _backend.load_level(level)
    x = np.zeros((1, 4, 4, channels), np.float32)
    x[0, 1, 0, channels - 1] = np.nan  # in the first window, not at its beginning
    x[0, 2, 2, 0] = np.nan  # in the last one, at its beginning
    for index in (None, np.zeros((1, 2, 2, channels), np.uint8)):
        y = np.empty((1, 2, 2, channels), np.float32)
        kernels.max_pool2d_forward(x, y, index, (2, 2), (2, 2), (0, 0, 0, 0))
        expected = references.max_pool2d_forward(x, y, index, (2, 2), (2, 2))
        np.testing.assert_array_equal(y, expected["y"])
    np.testing.assert_array_equal(index, expected["index"])
    y, index = np.empty((1, channels), np.float32), np.empty((1, channels), np.int32)
    kernels.global_max_pool_forward(x, y, index)
    expected = references.global_max_pool_forward(x, y, index)
    np.testing.assert_array_equal(y, expected["y"])
    winners = np.take_along_axis(x.reshape(1, 16, channels), index[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(winners, y)  # of several NaN any one


def test_max_pool_of_minus_infinity(level):
    kernels = _backend.load_level(level)
    x, y = np.full((1, 2, 2, 17), -np.inf, np.float32), np.empty((1, 1, 1, 17), np.float32)
    index = np.full(y.shape, 9, np.uint8)
    kernels.max_pool2d_forward(x, y, index, (2, 2), (2, 2), (0, 0, 0, 0))
    assert (y == -np.inf).all() and (index == 0).all()


@pytest.mark.parametrize("columns", [3, 16, 21])
def test_softmax_and_losses_keep_nan(level, columns):
    kernels = _backend.load_level(level)
    for at in (0, columns - 1):
        x = np.zeros((3, columns), np.float32)
        x[1, at] = np.nan
        y = np.empty_like(x)
        kernels.softmax_forward(x, y)
        assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()
        loss, gradient = np.zeros(1), np.empty_like(x)
        kernels.sparse_softmax_cross_entropy(x, np.array([1, 1, 1], np.int32), None, gradient, loss, 1.0)
        assert np.isnan(loss[0]) and np.isnan(gradient[1]).all() and np.isfinite(gradient[[0, 2]]).all()
        for kernel in (
            "softmax_cross_entropy",
            "sigmoid_cross_entropy",
            "mean_squared_error",
            "mean_absolute_error",
            "huber",
        ):
            loss, gradient = np.zeros(1), np.empty_like(x)
            getattr(kernels, kernel)(x, np.ones_like(x), None, gradient, loss, 1.0)
            assert np.isnan(loss[0]) and np.isnan(gradient[1, at]) and np.isfinite(gradient[[0, 2]]).all(), kernel


@pytest.mark.parametrize("rule", ["sgd_rule", "adam_rule", "rmsprop_rule", "adagrad_rule", "lion_rule", "lamb_rule"])
def test_a_nan_gradient_spoils_only_its_own_weight(level, rule):
    kernels = _backend.load_level(level)
    param, grad = np.ones(35, np.float32), np.ones(35, np.float32)
    grad[20] = np.nan
    made = getattr(kernels, rule)()
    made.step(kernels.TensorTable([param], [grad], [[np.zeros(35, np.float32)] for _ in range(made.slots)]), 0.1, 1)
    assert np.isnan(param[20]) and np.isfinite(np.delete(param, 20)).all()


def test_sums_keep_small_terms(level):
    """Losses and counts are added up in float64: a million small terms beside a large one."""
    kernels = _backend.load_level(level)
    pred = np.full((1_000_001, 1), 1e-2, np.float32)
    pred[0] = 1e4
    loss = np.zeros(1)
    kernels.mean_squared_error(pred, np.zeros_like(pred), None, None, loss, 1.0)
    assert loss[0] == pytest.approx((pred.astype(np.float64) ** 2).sum(), rel=1e-7)
