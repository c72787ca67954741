"""Losses as objects: values against torch, targets in all forms, names, saving, every argument, bad input.

The kernels' values and gradients against float64 are rows of cases.py.
"""

import inspect
import json

import numpy as np
import pytest
import torch

from fastnn import _backend, losses

F = torch.nn.functional
rng = np.random.default_rng(5)
LOGITS = (3 * rng.standard_normal((7, 5))).astype(np.float32)
LABELS = rng.integers(0, 5, 7)
ONE_HOT = np.eye(5, dtype=np.float32)[LABELS]
UNIT = rng.random((7, 5), np.float32)
TARGETS = rng.standard_normal((7, 5)).astype(np.float32)
BITS = rng.integers(0, 2, (7, 5)).astype(np.float32)
PROBS = torch.softmax(torch.tensor(LOGITS), 1).numpy()


def tensor(array):
    return torch.tensor(np.asarray(array))


TORCH = [
    (losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, LOGITS, lambda t, p: F.cross_entropy(p, t)),
    (losses.SparseCategoricalCrossentropy(), LABELS, PROBS, lambda t, p: F.nll_loss(torch.log(p), t)),
    (losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, LOGITS, lambda t, p: F.cross_entropy(p, t)),
    (losses.CategoricalCrossentropy(), ONE_HOT, PROBS, lambda t, p: -(t * torch.log(p)).sum(1).mean()),
    (
        losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3),
        ONE_HOT,
        LOGITS,
        lambda t, p: F.cross_entropy(p, t, label_smoothing=0.3),
    ),
    (losses.BinaryCrossentropy(), BITS, UNIT, lambda t, p: F.binary_cross_entropy(p, t)),
    (
        losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
        BITS,
        LOGITS,
        lambda t, p: F.binary_cross_entropy_with_logits(p, 0.8 * t + 0.1),
    ),
    (losses.MeanSquaredError(), TARGETS, LOGITS, lambda t, p: F.mse_loss(p, t)),
    (losses.MeanAbsoluteError(), TARGETS, LOGITS, lambda t, p: F.l1_loss(p, t)),
    (losses.Huber(delta=0.7), TARGETS, LOGITS, lambda t, p: F.huber_loss(p, t, delta=0.7)),
]


def compute(loss, y_true, y_pred, weights=None, scale=None, from_logits=False):
    """(value, gradient) as training gets them."""
    target = loss.prepare_targets(y_true, y_pred.shape[1:])
    total, dpred = np.zeros(1), np.full_like(y_pred, np.nan)
    loss.compute(target, y_pred, weights, dpred, total, scale or 1 / len(y_pred), from_logits)
    return total[0], dpred


@pytest.mark.parametrize("loss, target, pred, reference", TORCH, ids=lambda item: getattr(item, "name", ""))
def test_value_and_gradient_are_torchs(loss, target, pred, reference):
    leaf = tensor(pred).double().requires_grad_()
    truth = tensor(target)
    expected = reference(truth if truth.dtype == torch.int64 else truth.double(), leaf)
    expected.backward()
    value, gradient = compute(loss, target, pred)
    assert value == pytest.approx(expected.item(), rel=2e-6)
    if loss.from_logits or loss.activation != "softmax":
        np.testing.assert_allclose(gradient, leaf.grad, rtol=3e-6, atol=1e-7)
    assert loss(target, pred) == pytest.approx(expected.item(), rel=2e-6)


def test_probabilities_are_divided_by_their_sum():
    """As in Keras, so the gradient is that of the quotient: no part of it points along the probabilities."""
    for loss, target in [(losses.get("categorical_crossentropy"), ONE_HOT), (losses.get("mse"), TARGETS)]:
        value, gradient = compute(loss, target, PROBS)
        scaled, _ = compute(loss, target, 3 * PROBS)
        if loss.name == "categorical_crossentropy":
            assert scaled == pytest.approx(value, rel=1e-6)
            np.testing.assert_allclose((gradient * PROBS).sum(axis=1), 0, atol=1e-6)
        else:
            assert scaled != pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("size", [1e4, -1e4, 3e38])
def test_huge_logits(size, kernels):
    """log(softmax) and log(sigmoid) without overflow: the loss is the distance from the largest logit."""
    logits = np.zeros((2, 3), np.float32)
    logits[:, 1] = size
    total, gradient = np.zeros(1), np.empty_like(logits)
    kernels.sparse_softmax_cross_entropy(logits, np.array([1, 0], np.int32), None, gradient, total, 1.0)
    wins = size > 0
    assert total[0] == pytest.approx(np.float32(size) if wins else 2 * np.log(2) - np.float32(size), rel=1e-6)
    expected = [[0, 0, 0], [-1, 1, 0]] if wins else [[0.5, -1, 0.5], [-0.5, 0, 0.5]]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    total[0] = 0
    kernels.sigmoid_cross_entropy(logits, np.zeros_like(logits), None, gradient, total, 1.0)
    assert total[0] / 2 == pytest.approx((2 * np.log(2) + max(np.float32(size), 0)) / 3, rel=1e-6)
    assert np.isfinite(gradient).all()


def test_nan_shows():
    for loss in (losses.SparseCategoricalCrossentropy(from_logits=True), losses.SparseCategoricalCrossentropy()):
        pred = PROBS.copy()
        pred[3, 2] = np.nan
        value, gradient = compute(loss, LABELS, pred)
        assert np.isnan(value) and np.isnan(gradient[3]).any() and np.isfinite(gradient[:3]).all()


@pytest.mark.parametrize("loss, target, pred, reference", TORCH, ids=lambda item: getattr(item, "name", ""))
def test_weights(loss, target, pred, reference):
    weights = rng.random(7).astype(np.float32)
    each = [compute(loss, target[i : i + 1], pred[i : i + 1]) for i in range(7)]
    value, gradient = compute(loss, target, pred, weights, scale=0.5)
    assert value == pytest.approx(0.5 * sum(w * v for w, (v, _) in zip(weights, each)), rel=1e-6)
    expected = [0.5 * w * g[0] for w, (_, g) in zip(weights, each)]
    np.testing.assert_allclose(gradient, expected, rtol=2e-6, atol=1e-7)
    assert loss(target, pred, weights) == pytest.approx(2 / 7 * value, rel=1e-6)


def test_sequences_are_means_over_their_positions():
    logits = rng.standard_normal((4, 3, 5)).astype(np.float32)
    labels, weights = rng.integers(0, 5, (4, 3)), rng.random(4).astype(np.float32)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    value, gradient = compute(loss, labels, logits, weights)
    steps = [compute(loss, labels[:, i], logits[:, i].copy(), weights) for i in range(3)]
    assert value == pytest.approx(sum(v for v, _ in steps) / 3, rel=1e-6)
    np.testing.assert_allclose(gradient, np.stack([g for _, g in steps], axis=1) / 3, rtol=1e-5, atol=1e-7)
    squares = losses.MeanSquaredError()
    assert squares(np.zeros((4, 3, 5)), logits) == pytest.approx((logits**2).mean(), rel=1e-6)


def test_the_fused_activation():
    assert losses.get("sparse_categorical_crossentropy").fused_activation == "softmax"
    assert losses.get("binary_crossentropy").fused_activation == "sigmoid"
    assert losses.BinaryCrossentropy(from_logits=True).fused_activation is None
    assert losses.get("mse").fused_activation is None
    loss = losses.CategoricalCrossentropy()
    value, gradient = compute(loss, ONE_HOT, LOGITS, from_logits=True)
    expected, wanted = compute(losses.CategoricalCrossentropy(from_logits=True), ONE_HOT, LOGITS)
    assert value == expected and (gradient == wanted).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_labels_of_any_kind(dtype, shape):
    prepared = losses.get("sparse_categorical_crossentropy").prepare_targets(LABELS.astype(dtype).reshape(shape), (5,))
    assert prepared.dtype == np.int32 and prepared.shape == (7,) and (prepared == LABELS).all()


def test_targets_of_any_kind():
    loss = losses.get("binary_crossentropy")
    for y in (BITS[:, 0], BITS[:, :1], BITS[:, 0].astype(bool), BITS[:, 0].tolist(), BITS[:, 0].astype(np.int8)):
        prepared = loss.prepare_targets(y, (1,))
        assert prepared.dtype == np.float32 and prepared.flags.c_contiguous
        assert (prepared == BITS[:, :1]).all()


CHANGES = {
    losses.CategoricalCrossentropy: {"from_logits": True, "label_smoothing": 0.1},
    losses.SparseCategoricalCrossentropy: {"from_logits": True},
    losses.BinaryCrossentropy: {"from_logits": True, "label_smoothing": 0.1},
    losses.MeanSquaredError: {},
    losses.MeanAbsoluteError: {},
    losses.Huber: {"delta": 0.4},
}


@pytest.mark.parametrize("cls", losses.KNOWN.values())
def test_every_argument_changes_the_value_and_is_saved(cls):
    assert set(CHANGES[cls]) == set(inspect.signature(cls.__init__).parameters) - {"self", "args", "kwargs"}
    target = LABELS if cls.target_form == "labels" else ONE_HOT
    for argument, value in CHANGES[cls].items():
        changed = cls(**{argument: value})
        assert changed(target, PROBS) != pytest.approx(cls()(target, PROBS), rel=1e-4), argument
        loaded = losses.deserialize(json.loads(json.dumps(losses.serialize(changed))))
        assert type(loaded) is cls and loaded(target, PROBS) == changed(target, PROBS)


@pytest.mark.parametrize("name", ["mse", "mean_squared_error", "MeanSquaredError", losses.MeanSquaredError])
def test_names(name):
    assert type(losses.get(name)) is losses.MeanSquaredError
    assert type(losses.get("mae")) is losses.MeanAbsoluteError
    assert type(losses.get("bce")) is losses.BinaryCrossentropy
    loss = losses.Huber(delta=3)
    assert losses.get(loss) is loss
    assert repr(loss) == "Huber(delta=3.0)"


def test_a_function_as_loss():
    def fourth_power(y_true, y_pred):
        error = y_pred - y_true
        return (error**4).sum(axis=1), 4 * error**3

    weights = rng.random(7).astype(np.float32)
    value, gradient = compute(losses.get(fourth_power), TARGETS, LOGITS, weights)
    error = (LOGITS - TARGETS).astype(np.float64)
    assert value == pytest.approx((weights * (error**4).sum(axis=1)).mean(), rel=1e-5)
    np.testing.assert_allclose(gradient, weights[:, None] / 7 * 4 * error**3, rtol=1e-5)
    with pytest.raises(ValueError, match="fourth_power|losses.serialize: loss must be a loss of fastnn.losses"):
        losses.serialize(losses.get(fourth_power))
    with pytest.raises(ValueError, match="must be a pair"):
        compute(losses.get(lambda t, p: 1.0), TARGETS, LOGITS)


SPARSE, DENSE, BINARY = "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"
BAD_TARGETS = [
    (SPARSE, [0, 1, 5], (5,), r"y must be integers in \[0, 5\), got 5 at index 2. The model's output has 5 classes"),
    (SPARSE, [0, -1, 5], (5,), r"y must be integers in \[0, 5\), got -1 at index 1"),
    (SPARSE, [0.0, 1.5], (5,), r"y must be integers in \[0, 5\), got 1.5 at index 1"),
    (SPARSE, [0.0, np.nan], (5,), r"y must be integers in \[0, 5\), got nan at index 1"),
    (SPARSE, ONE_HOT, (5,), r"indices of shape \(n,\), got shape \(7, 5\). One-hot targets go with categorical_cross"),
    (SPARSE, np.zeros((2, 3, 5)), (3, 5), r"class indices of shape \(n, 3\), got shape \(2, 3, 5\)"),
    (SPARSE, 3, (5,), r"y must be class indices of shape \(n,\), got shape \(\)"),
    (SPARSE, ["cat", "dog"], (5,), "y must be an array of numbers, got dtype <U3"),
    (
        DENSE,
        LABELS,
        (5,),
        r"targets of shape \(n, 5\), got shape \(7,\). Class indices go with sparse_categorical_cross",
    ),
    (DENSE, 2 * ONE_HOT, (5,), r"y must be in \[0, 1\], got 2.0 at index \(0, \d\)"),
    (BINARY, [[0.0], [-0.5]], (1,), r"y must be in \[0, 1\], got -0.5 at index \(1, 0\)"),
    (BINARY, [[0.0], [np.nan]], (1,), r"y must be in \[0, 1\], got nan at index \(1, 0\)"),
    ("mean_squared_error", np.zeros((3, 2)), (3,), r"y must be targets of shape \(n, 3\), got shape \(3, 2\)"),
]


@pytest.mark.parametrize("name, y, output_shape, message", BAD_TARGETS)
def test_bad_targets(name, y, output_shape, message):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        losses.get(name).prepare_targets(y, output_shape)


BAD = [
    (lambda: losses.get("mes"), "losses.get: loss must be one of .*'mse'.*, got 'mes'. Did you mean 'mse'?"),
    (lambda: losses.get(3), "losses.get: loss must be a name, a loss of fastnn.losses or a function, got 3"),
    (lambda: losses.Huber(0), "huber: delta must be a finite number above 0, got 0.0"),
    (lambda: losses.BinaryCrossentropy(from_logits=1), "binary_crossentropy: from_logits must be True or False, got 1"),
    (
        lambda: losses.CategoricalCrossentropy(label_smoothing=1.0),
        "categorical_crossentropy: label_smoothing must be a finite number of at least 0, below 1, got 1.0",
    ),
    (lambda: losses.get("mse")(TARGETS[:3], LOGITS), "mean_squared_error: y_true must be as many as the 7 predictions"),
]


@pytest.mark.parametrize("make, message", BAD)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def call(name, **changes):
    """A kernel call with one argument replaced."""
    n = 4
    second = {"labels": np.zeros(n, np.int32)} if "sparse" in name else {"targets": np.zeros((n, 3), np.float32)}
    first = {"logits": "softmax" in name or "sigmoid" in name, "probs": "cross_entropy" in name}
    pred = next((key for key, fits in first.items() if fits), "pred")
    arguments = {pred: np.zeros((n, 3), np.float32), **second, "weights": None, f"d{pred}": None, "loss": np.zeros(1)}
    getattr(_backend.kernels, name)(**{**arguments, "scale": 1.0, **changes})


BORDER = [
    (
        "sparse_softmax_cross_entropy",
        {"labels": np.array([0, 1, 3, 0], np.int32)},
        r"labels must be in \[0, 3\), got 3",
    ),
    ("sparse_cross_entropy", {"labels": np.array([0, -1, 0, 0], np.int32)}, r"in \[0, 3\), got -1 at index 1"),
    (
        "sparse_cross_entropy",
        {"labels": np.zeros(4, np.int64)},
        "labels must be an? int32 array of shape .4,., got int64",
    ),
    (
        "softmax_cross_entropy",
        {"logits": np.zeros((4, 0), np.float32)},
        "logits must be an array with at least one col",
    ),
    ("softmax_cross_entropy", {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, got 1.0"),
    ("binary_cross_entropy", {"label_smoothing": -0.1}, "label_smoothing must be at least 0 and below 1, got -0.1"),
    ("mean_squared_error", {"pred": np.zeros((4, 3))}, "pred must be a float32 array of shape .*, got float64"),
    (
        "mean_squared_error",
        {"weights": np.ones(3, np.float32)},
        r"weights must be a float32 array of shape \(4,\), got",
    ),
    ("mean_squared_error", {"dpred": np.zeros((4, 2), np.float32)}, r"dpred must be a float32 array of shape \(4, 3\)"),
    (
        "mean_squared_error",
        {"loss": np.zeros(1, np.float32)},
        "loss must be a float64 array of shape .1,., got float32",
    ),
    ("huber", {"delta": 0.0}, "huber: delta must be finite and above 0, got 0.0"),
]


@pytest.mark.parametrize("name, changes, message", BORDER)
def test_the_border(name, changes, message):
    call(name)
    with pytest.raises(ValueError, match=f"{name}: .*{message}|{message}"):
        call(name, **changes)


def test_a_gradient_that_overlaps_in_part():
    block = np.zeros(16, np.float32)
    with pytest.raises(
        ValueError, match="mean_absolute_error: dpred must be memory apart from pred, got arrays that ov"
    ):
        call("mean_absolute_error", pred=block[:12].reshape(4, 3), dpred=block[3:15].reshape(4, 3))
