"""Batch and layer normalization."""

import numpy as np

from .dense import accumulated


def _scaled(x, gamma, beta):
    return x * (1 if gamma is None else gamma) + (0 if beta is None else beta)


def batch_norm_forward(x, gamma, beta, y, mean, inv_std, moving_mean, moving_variance, momentum, eps):
    if not len(x):
        zero = np.zeros(x.shape[1])
        kept = {"moving_mean": moving_mean, "moving_variance": moving_variance}
        return {"y": x, "mean": zero, "inv_std": zero + 1 / np.sqrt(eps), **kept}
    center, variance = x.mean(axis=0), x.var(axis=0)
    averages = (
        np.where(np.isfinite(new), momentum * old + (1 - momentum) * new, old)
        for old, new in ((moving_mean, center), (moving_variance, variance))
    )
    inverse = 1 / np.sqrt(variance + eps)
    result = {"y": _scaled((x - center) * inverse, gamma, beta), "mean": center, "inv_std": inverse}
    return result | dict(zip(("moving_mean", "moving_variance"), averages))


def batch_norm_inference(x, gamma, beta, mean, variance, y, eps):
    return {"y": _scaled((x - (0 if mean is None else mean)) / np.sqrt(variance + eps), gamma, beta)}


def _backward(x, gamma, mean, inv_std, dy, dgamma, dbeta, accumulate, axis):
    normal = (x - mean) * inv_std
    g = dy if gamma is None else dy * gamma
    count = max(x.shape[axis], 1)
    means = (g.sum(axis=axis, keepdims=True) / count, (g * normal).sum(axis=axis, keepdims=True) / count)
    result = {"dx": inv_std * (g - means[0] - normal * means[1])}
    result |= {"dgamma": (dy * normal).sum(axis=0), "dbeta": dy.sum(axis=0)}
    return accumulated(result, accumulate, dgamma=dgamma, dbeta=dbeta)


def batch_norm_backward(x, gamma, mean, inv_std, dy, dgamma, dbeta, dx, accumulate):
    return _backward(x, gamma, mean, inv_std, dy, dgamma, dbeta, accumulate, 0)


def layer_norm_forward(x, gamma, beta, y, mean, inv_std, eps):
    count = max(x.shape[1], 1)
    center = x.sum(axis=1) / count
    inverse = 1 / np.sqrt(((x - center[:, None]) ** 2).sum(axis=1) / count + eps)
    normal = (x - center[:, None]) * inverse[:, None]
    return {"y": _scaled(normal, gamma, beta), "mean": center, "inv_std": inverse}


def layer_norm_backward(x, gamma, mean, inv_std, dy, dgamma, dbeta, dx, accumulate):
    return _backward(x, gamma, mean[:, None], inv_std[:, None], dy, dgamma, dbeta, accumulate, 1)
