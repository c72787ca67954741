"""Keras 3's optimizers, and optax's LARS, in float64 NumPy, transcribed."""

import numpy as np
from optimizer_runs import GRADS, START
from references.optimizers import orthogonalize

from fastnn import optimizers


def keras_run(optimizer, regularizers=(None,)):
    """What one of our optimizers is to make of GRADS: (parameters, {slot: arrays})."""
    o, params = optimizer, [start.astype(np.float64) for start in START]
    slots = {name: [np.full_like(p, o.initial_value(name)) for p in params] for name in o.slot_names()}
    for t, fresh in enumerate(GRADS, 1):
        grads = []
        for i, (p, g) in enumerate(zip(params, fresh)):
            r = regularizers[i % len(regularizers)]
            grads.append(g + (r.l1 * np.sign(p) + 2 * r.l2 * p if r else 0))
        grads = keras_clip(o, grads)
        lr = o.learning_rate(t - 1) if callable(o.learning_rate) else o.learning_rate
        for i, (p, g) in enumerate(zip(params, grads)):
            decay = o.weight_decay or 0
            if type(o) is optimizers.Muon and not in_matrices(o, i, p):
                decay = o.adam_weight_decay or 0
            if getattr(o, "decoupled_weight_decay", True):
                p = p - lr * decay * p
            elif type(o) is optimizers.LARS:
                g = g + decay * p
            own = {name: slots[name][i] for name in slots}
            params[i] = np.asarray(
                KERAS_RULES[type(o)](o, p, g, own, lr, t, i)
                if type(o) is optimizers.Muon
                else KERAS_RULES[type(o)](o, p, g, own, lr, t)
            )
    return params, slots


def keras_clip(o, grads):
    if o.clipnorm:
        return [g * o.clipnorm / max(np.sqrt((g**2).sum()), o.clipnorm) for g in grads]
    if o.global_clipnorm:
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        return [g * o.global_clipnorm / max(norm, o.global_clipnorm) for g in grads]
    return [np.clip(g, -o.clipvalue, o.clipvalue) for g in grads] if o.clipvalue else grads


def keras_sgd(o, p, g, slots, lr, t):
    if not o.momentum:
        return p - lr * g
    m = slots["momentum_buffer"]
    m[...] = o.momentum * m + lr * g  # Keras' has the other sign
    return p - (o.momentum * m + lr * g if o.nesterov else m)


def keras_adam(o, p, g, slots, lr, t):
    m, v = slots["exp_avg"], slots["exp_avg_sq"]
    m += (g - m) * (1 - o.beta_1)
    v += (g**2 - v) * (1 - o.beta_2)
    if o.amsgrad:
        slots["max_exp_avg_sq"][...] = np.maximum(slots["max_exp_avg_sq"], v)
        v = slots["max_exp_avg_sq"]
    alpha = lr * (np.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t) if o.bias_correction else 1)
    return p - m * alpha / (np.sqrt(v) + o.epsilon)


def keras_rmsprop(o, p, g, slots, lr, t):
    v = slots["square_avg"]
    v[...] = o.rho * v + (1 - o.rho) * g**2
    d = v
    if o.centered:
        a = slots["grad_avg"]
        a[...] = o.rho * a + (1 - o.rho) * g
        d = v - a**2
    u = lr * g / (np.sqrt(d + o.epsilon) if o.eps_inside_sqrt else np.sqrt(d) + o.epsilon)
    if o.momentum:
        slots["momentum_buffer"][...] = u = o.momentum * slots["momentum_buffer"] + u
    return p - u


def keras_adagrad(o, p, g, slots, lr, t):
    slots["sum"] += g**2
    return p - lr * g / (np.sqrt(slots["sum"] + o.epsilon) if o.eps_inside_sqrt else np.sqrt(slots["sum"]) + o.epsilon)


def keras_lion(o, p, g, slots, lr, t):
    m = slots["exp_avg"]
    p = p - lr * np.sign(m * o.beta_1 + g * (1 - o.beta_1))
    m[...] = m * o.beta_2 + g * (1 - o.beta_2)
    return p


def norm(x):
    return np.sqrt((x**2).sum())


def keras_lamb(o, p, g, slots, lr, t):
    m, v = slots["exp_avg"], slots["exp_avg_sq"]
    m += (g - m) * (1 - o.beta_1)
    v += (g**2 - v) * (1 - o.beta_2)
    correction1, correction2 = (1 - o.beta_1**t, 1 - o.beta_2**t) if o.bias_correction else (1, 1)
    u = m / correction1 / (np.sqrt(v / correction2) + o.epsilon)
    if not o.decoupled_weight_decay:
        u = u + (o.weight_decay or 0) * p
    ratio = norm(p) / norm(u) if norm(p) > 0 and norm(u) > 0 else 1.0
    return p - ratio * lr * u


def optax_lars(o, p, g, slots, lr, t):
    if norm(p) > 0 and norm(g) > 0:
        g = o.trust_coefficient * norm(p) / (norm(g) + o.epsilon) * g
    if not o.momentum:
        return p - lr * g
    m = slots["momentum_buffer"]
    m[...] = o.momentum * m + lr * g
    return p - (o.momentum * m + lr * g if o.nesterov else m)


def in_matrices(o, i, p):
    return p.ndim == 2 and not any(name == f"p{i}" for name in o.exclude_layers)


def keras_muon(o, p, g, slots, lr, t, i):
    if not in_matrices(o, i, p):
        m, v = slots["exp_avg"], slots["exp_avg_sq"]
        m += (g - m) * (1 - o.adam_beta_1)
        v += (g**2 - v) * (1 - o.adam_beta_2)
        alpha = o.adam_lr_ratio * lr * np.sqrt(1 - o.adam_beta_2**t) / (1 - o.adam_beta_1**t)
        return p - m * alpha / (np.sqrt(v) + o.epsilon)
    m = slots["momentum_buffer"]
    m += (g - m) * (1 - o.momentum)  # Keras' is 1 / (1 - momentum) times as large
    u = g + o.momentum * m / (1 - o.momentum) if o.nesterov else m / (1 - o.momentum)
    rate = 1 if o.rms_rate is None else o.rms_rate * np.sqrt(max(p.shape))
    return p - lr * rate * orthogonalize(u, o.muon_a, o.muon_b, o.muon_c, 1e-7, o.ns_steps, eps_added=True)


KERAS_RULES = {
    optimizers.Adagrad: keras_adagrad,
    optimizers.Lion: keras_lion,
    optimizers.Lamb: keras_lamb,
    optimizers.LARS: optax_lars,
    optimizers.Muon: keras_muon,
    optimizers.SGD: keras_sgd,
    optimizers.Adam: keras_adam,
    optimizers.AdamW: keras_adam,
    optimizers.RMSprop: keras_rmsprop,
}
