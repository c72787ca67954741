"""Metrics: state += (sum_i w_i * value_i, sum_i w_i). A row of predictions with a NaN matches nothing."""

import numpy as np


def _add(state, values, weights):
    weights = np.ones(len(values)) if weights is None else weights
    return {"state": state + np.array([(weights * values).sum(), weights.sum()])}


def sparse_categorical_matches(pred, labels, weights, state):
    return _add(state, (pred.argmax(axis=1) == labels) & ~np.isnan(pred).any(axis=1), weights)


def categorical_matches(pred, targets, weights, state):
    return sparse_categorical_matches(pred, targets.argmax(axis=1), weights, state)


def top_k_matches(pred, labels, weights, k, state):
    """A label counts if fewer than k classes have a larger score than its own; NaN is larger than any number."""
    own = pred[np.arange(len(labels)), labels][:, None]
    return _add(state, ((pred > own) | np.isnan(pred)).sum(axis=1) + np.isnan(own[:, 0]) * pred.shape[1] < k, weights)


def binary_matches(pred, targets, weights, threshold, state):
    return _add(state, ((pred > threshold) == (targets > 0.5)).mean(axis=1), weights)


def absolute_error(pred, targets, weights, state):
    return _add(state, np.abs(pred - targets).mean(axis=1), weights)


def squared_error(pred, targets, weights, state):
    return _add(state, ((pred - targets) ** 2).mean(axis=1), weights)


def confusion_counts(pred, targets, weights, thresholds, counts, first=0, step=1):
    """Rows of the result: true positives, false positives, true negatives, false negatives."""
    w = np.ones(len(pred)) if weights is None else weights
    pred, targets = pred[:, first::step], targets[:, first::step]
    weight = np.broadcast_to(w[:, None], pred.shape)
    result = counts.copy()
    for column, threshold in enumerate(thresholds):
        positive, truth = pred > threshold, targets > 0.5
        cells = (positive & truth, positive & ~truth, ~positive & ~truth, ~positive & truth)
        result[:, column] += [weight[cell].sum() for cell in cells]
    return {"counts": result}
