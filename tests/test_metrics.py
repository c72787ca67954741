"""Metrics as objects: Keras' documented results, batches, targets in all forms, AUC against its definition, arguments.

The kernels' counts against float64 are rows of cases.py.
"""

import inspect
import json

import numpy as np
import pytest

from fastnn import losses, metrics

rng = np.random.default_rng(11)
LABELS = rng.integers(0, 7, 50)
SCORES = rng.standard_normal((50, 7)).astype(np.float32)
SCORES[np.arange(50), LABELS] += 0.7
WEIGHTS = rng.random(50).astype(np.float32)
ONE_HOT = np.eye(7, dtype=np.float32)[LABELS]
TRUTH = rng.integers(0, 2, (50, 1)).astype(np.float32)
CHANCES = np.clip(0.3 * TRUTH + 0.6 * rng.random((50, 1)), 0, 1).astype(np.float32)

# (metric, y_true, y_pred, sample_weight, result): the examples of Keras' documentation
KERAS = [
    (metrics.SparseCategoricalAccuracy(), [[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]], None, 0.5),
    (metrics.SparseCategoricalAccuracy(), [[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]], [0.7, 0.3], 0.3),
    (metrics.CategoricalAccuracy(), [[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]], [0.7, 0.3], 0.3),
    (metrics.BinaryAccuracy(), [[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]], None, 0.75),
    (metrics.BinaryAccuracy(), [[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]], [1, 0, 0, 1], 0.5),
    (metrics.TopKCategoricalAccuracy(k=1), [[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]], None, 0.5),
    (metrics.SparseTopKCategoricalAccuracy(k=1), [2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]], [0.7, 0.3], 0.3),
    (metrics.MeanAbsoluteError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], None, 0.25),
    (metrics.MeanSquaredError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.5),
    (metrics.RootMeanSquaredError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], None, 0.5),
    (metrics.RootMeanSquaredError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.5**0.5),
    (metrics.Precision(), [0, 1, 1, 1], [1, 0, 1, 1], None, 2 / 3),
    (metrics.Precision(), [0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0], 1.0),
    (metrics.Recall(), [0, 1, 1, 1], [1, 0, 1, 1], None, 2 / 3),
    (metrics.Recall(), [0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0], 1.0),
    (metrics.AUC(num_thresholds=3), [0, 0, 1, 1], [0, 0.5, 0.3, 0.9], None, 0.75),
    (metrics.AUC(num_thresholds=3), [0, 0, 1, 1], [0, 0.5, 0.3, 0.9], [1, 0, 0, 1], 1.0),
]


@pytest.mark.parametrize("metric, y_true, y_pred, weights, result", KERAS, ids=lambda item: getattr(item, "name", ""))
def test_examples_of_keras(metric, y_true, y_pred, weights, result):
    assert metric.result() == 0.0
    assert metric(y_true, y_pred, weights) == pytest.approx(result, rel=1e-6)
    metric.reset_state()
    assert metric.result() == 0.0


def every_metric():
    """(class, y_true, y_pred) for each metric."""
    labelled = {"sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy"}
    binary = {"binary_accuracy", "precision", "recall", "auc"}
    rows = []
    for name, cls in metrics.KNOWN.items():
        truth, pred = (TRUTH, CHANCES) if name in binary else (LABELS if name in labelled else ONE_HOT, SCORES)
        rows.append(pytest.param(cls, truth, pred, id=name))
    return rows


@pytest.mark.parametrize("cls, truth, pred", every_metric())
def test_batches_add_up(cls, truth, pred):
    whole, parts = cls(), cls()
    whole.update_state(truth, pred, WEIGHTS)
    for batch in (slice(0, 1), slice(1, 33), slice(33, 33), slice(33, 50)):
        parts.update_state(truth[batch], pred[batch], WEIGHTS[batch])
    assert parts.result() == pytest.approx(whole.result(), rel=1e-6)
    assert whole.result() not in (0.0, 1.0)


CHANGES = {
    "binary_accuracy": {"threshold": 0.7},
    "top_k_categorical_accuracy": {"k": 2},
    "sparse_top_k_categorical_accuracy": {"k": 2},
    "precision": {"thresholds": 0.7, "class_id": 0},
    "recall": {"thresholds": 0.7, "class_id": 0},
    "auc": {"num_thresholds": 4, "curve": "PR", "summation_method": "minoring", "thresholds": [0.3]},
}


@pytest.mark.parametrize("cls, truth, pred", every_metric())
def test_every_argument_changes_the_result_and_is_saved(cls, truth, pred):
    changes = CHANGES.get(cls.default_name, {})
    assert set(changes) == set(inspect.signature(cls.__init__).parameters) - {"self", "name"}
    if "class_id" in changes:
        truth, pred = np.hstack([TRUTH, TRUTH]), np.hstack([CHANCES, CHANCES**2])
    for argument, value in {**changes, "name": "own"}.items():
        changed = cls(**{argument: value})
        result = changed(truth, pred)
        assert changed.name == "own" if argument == "name" else result != pytest.approx(cls()(truth, pred), rel=1e-3)
        loaded = metrics.deserialize(json.loads(json.dumps(metrics.serialize(changed))))
        assert type(loaded) is cls and loaded.name == changed.name and loaded(truth, pred) == result


@pytest.mark.parametrize("k", [1, 3, 7, 9])
def test_top_k_against_a_sort(k):
    best = np.argsort(-SCORES, axis=1)[:, :k]
    expected = (best == LABELS[:, None]).any(axis=1).mean()
    assert metrics.SparseTopKCategoricalAccuracy(k=k)(LABELS, SCORES) == pytest.approx(expected)
    assert metrics.TopKCategoricalAccuracy(k=k)(ONE_HOT, SCORES) == pytest.approx(expected)


def test_ties_and_nan():
    accuracy = metrics.SparseCategoricalAccuracy()
    tie = np.array([[1, 1, 0]], np.float32)
    assert accuracy([0], tie) == 1.0  # the first of equal ones, as argmax
    accuracy.reset_state()
    assert accuracy([1], tie) == 0.0
    for label in range(3):
        accuracy.reset_state()
        assert accuracy([label], np.full((1, 3), np.nan)) == 0.0
    assert metrics.SparseTopKCategoricalAccuracy(k=3)([0], np.full((1, 3), np.nan)) == 0.0
    assert metrics.Recall()([1, 1], [np.nan, 0.9]) == 0.5


def test_area_under_roc_is_the_chance_to_rank_right():
    """With the thresholds fine enough it is the Mann-Whitney statistic; ties count half."""
    truth = rng.integers(0, 2, 400)
    scores = np.round(np.clip(0.5 + 0.2 * (truth - 0.5) + 0.2 * rng.standard_normal(400), 0, 1), 2)
    positive, negative = scores[truth == 1][:, None], scores[truth == 0][None, :]
    expected = ((positive > negative) + 0.5 * (positive == negative)).mean()
    assert metrics.AUC(num_thresholds=2001)(truth, scores) == pytest.approx(expected, abs=1e-6)


def test_area_under_precision_recall_is_the_integral_between_thresholds():
    """Davis & Goadrich: between two thresholds the counts are interpolated, here in 20,000 steps."""
    area = metrics.AUC(num_thresholds=12, curve="PR")
    area.update_state(TRUTH, CHANCES, WEIGHTS)
    tp, fp, _, fn = area.state
    expected, t = 0.0, np.linspace(0, 1, 20_001)
    for i in range(11):
        found, wrong = tp[i + 1] + t * (tp[i] - tp[i + 1]), fp[i + 1] + t * (fp[i] - fp[i + 1])
        precision = np.divide(found, found + wrong, out=np.zeros_like(found), where=found + wrong > 0)
        expected += np.sum((precision[1:] + precision[:-1]) / 2) * (tp[i] - tp[i + 1]) / 20_000 / (tp[0] + fn[0])
    assert area.result() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("curve", ["ROC", "PR"])
def test_minoring_and_majoring_enclose_the_curve(curve):
    low, middle, high = (
        metrics.AUC(num_thresholds=30, curve=curve, summation_method=method)(TRUTH, CHANCES)
        for method in ("minoring", "interpolation", "majoring")
    )
    assert low < middle < high


def test_several_thresholds_and_classes():
    precision, recall = metrics.Precision([0.2, 0.5, 0.8]), metrics.Recall([0.2, 0.5, 0.8])
    expected = [[], []]
    for threshold in (0.2, 0.5, 0.8):
        found = CHANCES > threshold
        expected[0].append((found & (TRUTH == 1)).sum() / max(found.sum(), 1))
        expected[1].append((found & (TRUTH == 1)).sum() / (TRUTH == 1).sum())
    assert precision(TRUTH, CHANCES) == pytest.approx(expected[0])
    assert recall(TRUTH, CHANCES) == pytest.approx(expected[1])
    probabilities = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
    found = probabilities[:, 3] > 0.2
    expected = (found & (LABELS == 3)).sum() / (LABELS == 3).sum()
    assert metrics.Recall(0.2, class_id=3)(LABELS, probabilities) == pytest.approx(expected)
    assert metrics.Recall(0.2, class_id=3)(ONE_HOT, probabilities) == pytest.approx(expected)


def test_sequences():
    labels, scores = LABELS[:48].reshape(16, 3), SCORES[:48].reshape(16, 3, 7)
    expected = (scores.argmax(axis=-1) == labels).mean(axis=1)
    accuracy = metrics.SparseCategoricalAccuracy()
    assert accuracy(labels, scores) == pytest.approx(expected.mean())
    accuracy.reset_state()
    assert accuracy(labels, scores, WEIGHTS[:16]) == pytest.approx(np.average(expected, weights=WEIGHTS[:16]))


ACCURACY = [
    ("sparse_categorical_crossentropy", (7,), metrics.SparseCategoricalAccuracy),
    ("categorical_crossentropy", (7,), metrics.CategoricalAccuracy),
    ("binary_crossentropy", (1,), metrics.BinaryAccuracy),
    ("binary_crossentropy", (7,), metrics.BinaryAccuracy),
    ("mse", (7,), metrics.CategoricalAccuracy),
    ("mse", (1,), metrics.BinaryAccuracy),
]


@pytest.mark.parametrize("loss, output_shape, expected", ACCURACY)
@pytest.mark.parametrize("name", ["accuracy", "acc"])
def test_accuracy_is_chosen_by_loss_and_output(name, loss, output_shape, expected):
    metric = metrics.get(name, losses.get(loss), output_shape)
    assert type(metric) is expected and metric.name == name


def test_accuracy_of_binary_logits_has_its_threshold_at_0():
    assert metrics.get("accuracy", losses.BinaryCrossentropy(from_logits=True), (1,)).threshold == 0.0
    assert metrics.get("accuracy", losses.BinaryCrossentropy(), (1,)).threshold == 0.5


def test_names():
    assert [metrics.get(name).name for name in ("mse", "rmse", "recall", "AUC")] == ["mse", "rmse", "recall", "auc"]
    assert type(metrics.get("RootMeanSquaredError")) is metrics.RootMeanSquaredError
    assert metrics.get(metrics.Precision).name == "precision"
    own = metrics.Recall(name="found")
    assert metrics.get(own) is own and repr(own) == "Recall(name='found', thresholds=0.5, class_id=None)"


def test_logits_will_do_where_only_the_order_counts():
    needing = {name for name, cls in metrics.KNOWN.items() if cls.needs_probabilities}
    errors = {"mean_absolute_error", "mean_squared_error", "root_mean_squared_error"}
    assert needing == {"binary_accuracy", "precision", "recall", "auc", *errors}


def test_a_function_as_metric():
    def largest_error(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=1)

    metric = metrics.get(largest_error)
    expected = np.abs(ONE_HOT - SCORES).max(axis=1)
    assert metric.name == "largest_error"
    assert metric(ONE_HOT, SCORES) == pytest.approx(expected.mean(), rel=1e-6)
    metric.reset_state()
    assert metric(ONE_HOT, SCORES, WEIGHTS) == pytest.approx(np.average(expected, weights=WEIGHTS), rel=1e-6)


BAD = [
    (
        lambda: metrics.get("acuracy"),
        "metrics.get: metric must be one of 'accuracy'.*got 'acuracy'. Did you mean 'accuracy",
    ),
    (lambda: metrics.AUC(curve="PQ"), "auc: curve must be one of 'ROC', 'PR', got 'PQ'"),
    (lambda: metrics.AUC(num_thresholds=1), "auc: num_thresholds must be a whole number of at least 2, got 1"),
    (lambda: metrics.AUC(thresholds=[0.5, 0.4]), "auc: thresholds must be finite numbers in ascending order, got"),
    (
        lambda: metrics.AUC(50, thresholds=[0.5]),
        "auc: num_thresholds must be left out where thresholds are given, got 50",
    ),
    (lambda: metrics.Precision([0.5, 0.5]), "precision: thresholds must be finite numbers in ascending order"),
    (lambda: metrics.Precision([]), "precision: thresholds must be finite numbers in ascending order"),
    (
        lambda: metrics.Recall(class_id=9)(ONE_HOT, SCORES),
        "recall: class_id must be below 7, the number of outputs, got 9",
    ),
    (lambda: metrics.SparseTopKCategoricalAccuracy(k=0), "k must be a whole number of at least 1, got 0"),
    (lambda: metrics.BinaryAccuracy(threshold="x"), "binary_accuracy: threshold must be a finite number, got 'x'"),
    (lambda: metrics.MeanAbsoluteError()(ONE_HOT[:3], SCORES), "y_true must be as many as the 50 predictions, got 3"),
    (lambda: metrics.SparseCategoricalAccuracy()([7], SCORES[:1]), r"y must be integers in \[0, 7\), got 7 at index 0"),
    (
        lambda: metrics.get(lambda t, p: 1.0)(ONE_HOT, SCORES),
        "the function's result must be of shape .50,., got float64",
    ),
    (
        lambda: metrics.serialize(metrics.get(len)),
        "metrics.serialize: metric must be one of fastnn.metrics to be saved",
    ),
]


@pytest.mark.parametrize("make, message", BAD)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_the_border(kernels):
    pred, state = np.zeros((2, 3), np.float32), np.zeros(2)
    with pytest.raises(ValueError, match="top_k_matches: k must be at least 1, got 0"):
        kernels.top_k_matches(pred, np.zeros(2, np.int32), None, 0, state)
    with pytest.raises(ValueError, match=r"sparse_categorical_matches: labels must be in \[0, 3\), got 3 at index 1"):
        kernels.sparse_categorical_matches(pred, np.array([0, 3], np.int32), None, state)
    falling = np.array([0.5, 0.4], np.float32)
    with pytest.raises(ValueError, match="confusion_counts: thresholds must be ascending, got 0.400000 after 0.500000"):
        kernels.confusion_counts(pred, pred.copy(), None, falling, np.zeros((4, 2)))
    with pytest.raises(ValueError, match="binary_matches: pred must be an array with at least one column, got none"):
        kernels.binary_matches(pred[:, :0].copy(), pred[:, :0].copy(), None, 0.5, state)
