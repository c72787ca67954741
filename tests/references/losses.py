"""Losses with their gradients: loss += scale * sum_i weights[i] * l_i, and dpred = d loss / d pred."""

import numpy as np

from .activations import sigmoid, softmax

LOW = 1e-7  # Keras' epsilon: probabilities are kept in [LOW, HIGH]
HIGH = float(np.float32(1 - LOW))  # which float32 rounds to 1 - 1.19e-7


def _result(gradient_name, losses, gradients, weights, loss, scale):
    """losses: l[n]; gradients: dl_i / dpred[i], [n, c]."""
    factor = scale * (np.ones(len(losses)) if weights is None else weights)
    return {"loss": loss + (factor * losses).sum(), gradient_name: factor[:, None] * gradients}


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def _softmax_cross_entropy(logits, targets):
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    total = targets.sum(axis=1, keepdims=True)
    return (targets * (log_sum - shifted)).sum(axis=1), total * softmax(logits) - targets


def sparse_softmax_cross_entropy(logits, labels, weights, dlogits, loss, scale):
    values, gradients = _softmax_cross_entropy(logits, one_hot(labels, logits.shape[1]))
    return _result("dlogits", values, gradients, weights, loss, scale)


def softmax_cross_entropy(logits, targets, weights, dlogits, loss, scale, label_smoothing=0.0):
    values, gradients = _softmax_cross_entropy(logits, smoothed(targets, label_smoothing, logits.shape[1]))
    return _result("dlogits", values, gradients, weights, loss, scale)


def smoothed(targets, label_smoothing, classes):
    return targets * (1 - label_smoothing) + label_smoothing / classes


def _cross_entropy(probs, targets):
    """-sum_j t_j log q_j with q = p / sum(p), clipped; nothing flows back through a clipped q."""
    total = probs.sum(axis=1, keepdims=True)
    q = probs / total
    clipped = np.clip(q, LOW, HIGH)
    dq = np.where((q >= LOW) & (q <= HIGH), -targets / clipped, 0.0)
    return -(targets * np.log(clipped)).sum(axis=1), (dq - (dq * q).sum(axis=1, keepdims=True)) / total


def sparse_cross_entropy(probs, labels, weights, dprobs, loss, scale):
    values, gradients = _cross_entropy(probs, one_hot(labels, probs.shape[1]))
    return _result("dprobs", values, gradients, weights, loss, scale)


def cross_entropy(probs, targets, weights, dprobs, loss, scale, label_smoothing=0.0):
    values, gradients = _cross_entropy(probs, smoothed(targets, label_smoothing, probs.shape[1]))
    return _result("dprobs", values, gradients, weights, loss, scale)


def sigmoid_cross_entropy(logits, targets, weights, dlogits, loss, scale, label_smoothing=0.0):
    targets = smoothed(targets, label_smoothing, 2)
    values = np.logaddexp(0, logits) - targets * logits
    gradients = (sigmoid(logits) - targets) / logits.shape[1]
    return _result("dlogits", values.mean(axis=1), gradients, weights, loss, scale)


def binary_cross_entropy(probs, targets, weights, dprobs, loss, scale, label_smoothing=0.0):
    targets = smoothed(targets, label_smoothing, 2)
    p = np.clip(probs, LOW, HIGH)
    values = -(targets * np.log(p) + (1 - targets) * np.log1p(-p))
    gradients = np.where((probs >= LOW) & (probs <= HIGH), (p - targets) / (p * (1 - p)), 0.0) / probs.shape[1]
    return _result("dprobs", values.mean(axis=1), gradients, weights, loss, scale)


def mean_squared_error(pred, targets, weights, dpred, loss, scale):
    e = pred - targets
    return _result("dpred", (e**2).mean(axis=1), 2 * e / e.shape[1], weights, loss, scale)


def mean_absolute_error(pred, targets, weights, dpred, loss, scale):
    e = pred - targets
    return _result("dpred", np.abs(e).mean(axis=1), np.sign(e) / e.shape[1], weights, loss, scale)


def huber(pred, targets, weights, dpred, loss, scale, delta=1.0):
    e = pred - targets
    values = np.where(np.abs(e) <= delta, e**2 / 2, delta * (np.abs(e) - delta / 2))
    return _result("dpred", values.mean(axis=1), np.clip(e, -delta, delta) / e.shape[1], weights, loss, scale)


def regularization_penalty(param, l1, l2, loss):
    return {"loss": loss + l1 * np.abs(param).sum() + l2 * (param**2).sum()}


def first_nonfinite(x):
    bad = np.flatnonzero(~np.isfinite(x))
    return {"return": int(bad[0]) if bad.size else -1}
