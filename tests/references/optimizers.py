"""Optimizers, tensor by tensor, over several steps: `grads` holds one list of gradients a step.

Order: scale and sign of the gradient, regularizers, clipping by norm, clipping by value, weight decay, the rule.
"""

import numpy as np


def _gradients(params, grads, l1, l2, common):
    """The gradients of one step, after regularizers and clipping."""
    sign = -1.0 if common.get("maximize") else 1.0
    scale = sign * common.get("grad_scale", 1.0)
    result = [scale * g + a * np.sign(p) + b * p for p, g, a, b in zip(params, grads, l1, l2)]
    limit = common.get("clip_norm", 0.0)
    if limit > 0:
        squares = [(g**2).sum() for g in result]
        if not common.get("clip_norm_per_tensor"):
            squares = [sum(squares)] * len(result)
        norms = np.sqrt(squares)
        result = [g * (limit / norm if norm > limit else 1.0) for g, norm in zip(result, norms)]
    limit = common.get("clip_value", 0.0)
    return [np.clip(g, -limit, limit) if limit > 0 else g for g in result]


def _run(rule, params, grads, states, lr, step, l1=None, l2=None, decay=None, lr_scale=None, adapts=None,
         rows=None, decays_direction=None, **common):  # fmt: skip
    """Calls rule(p, g, slots, lr, t) -> p for each tensor in each step, after weight decay; slots change in place.

    Args:
        rows: of matrices, for rule(p, g, slots, lr, t, rows) -> p.
        decays_direction: not None for rules that go by tensor, rule(p, g, slots, lr, t, decay, adapt) -> p; whether
            weight decay that isn't decoupled is left to the rule.
    """
    count = len(params)
    l1, l2 = (np.zeros(count) if value is None else value for value in (l1, l2))
    decay, lr_scale, adapts = (np.ones(count) if value is None else value for value in (decay, lr_scale, adapts))
    params, states = list(params), [list(slot) for slot in states]
    for t, current in enumerate(grads, int(step[0])):
        if common.get("skip_nonfinite") and not all(np.isfinite(g).all() for g in current):
            continue
        for i, g in enumerate(_gradients(params, current, l1, l2, common)):
            p, rate, factor = params[i], lr[0] * lr_scale[i], common.get("weight_decay", 0.0) * decay[i]
            more = () if decays_direction is None else (factor if not common.get("decoupled") else 0.0, adapts[i])
            if rows is not None:
                more = (int(rows[i]),)
            if common.get("decoupled"):
                p = p * (1 - rate * factor)
            elif not decays_direction:
                g = g + factor * p
            slots = [slot[i] for slot in states]
            params[i] = np.asarray(rule(p, g, slots, rate, t, *more))
            for slot, value in zip(states, slots):
                slot[i] = np.asarray(value)
    return {"params": params, "states": states}


def sgd_rule(params, grads, states, lr, step, momentum=0.0, dampening=0.0, nesterov=False, lr_in_momentum=False,
             **rest):  # fmt: skip
    def rule(p, g, slots, rate, t):
        scaled = rate * g if lr_in_momentum else g
        if momentum:
            slots[0] = momentum * slots[0] + (1.0 if t == 1 else 1 - dampening) * scaled
            scaled = scaled + momentum * slots[0] if nesterov else slots[0]
        return p - scaled if lr_in_momentum else p - rate * scaled

    return _run(rule, params, grads, states, lr, step, **rest)


def adam_rule(params, grads, states, lr, step, beta1=0.9, beta2=0.999, eps=1e-8, bias_correction=True, eps_hat=False,
              amsgrad=False, **rest):  # fmt: skip
    def rule(p, g, slots, rate, t):
        m = slots[0] = beta1 * slots[0] + (1 - beta1) * g
        v = slots[1] = beta2 * slots[1] + (1 - beta2) * g**2
        if amsgrad:
            v = slots[2] = np.maximum(slots[2], v)
        correction1, correction2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
        if eps_hat:
            return p - rate * np.sqrt(correction2) / correction1 * m / (np.sqrt(v) + eps)
        return p - rate / correction1 * m / (np.sqrt(v / correction2) + eps)

    return _run(rule, params, grads, states, lr, step, **rest)


def rmsprop_rule(params, grads, states, lr, step, alpha=0.99, eps=1e-8, momentum=0.0, centered=False,
                 eps_inside_sqrt=False, lr_in_momentum=False, **rest):  # fmt: skip
    def rule(p, g, slots, rate, t):
        v = slots[0] = alpha * slots[0] + (1 - alpha) * g**2
        if centered:
            average = slots[1] = alpha * slots[1] + (1 - alpha) * g
            v = v - average**2
        update = g / (np.sqrt(v + eps) if eps_inside_sqrt else np.sqrt(v) + eps)
        if lr_in_momentum:
            update = rate * update
        if momentum:
            update = slots[-1] = momentum * slots[-1] + update
        return p - update if lr_in_momentum else p - rate * update

    return _run(rule, params, grads, states, lr, step, **rest)


def adagrad_rule(params, grads, states, lr, step, lr_decay=0.0, eps=1e-10, eps_inside_sqrt=False, **rest):
    def rule(p, g, slots, rate, t):
        total = slots[0] = slots[0] + g**2
        root = np.sqrt(total + eps) if eps_inside_sqrt else np.sqrt(total) + eps
        return p - rate / (1 + (t - 1) * lr_decay) * g / root

    return _run(rule, params, grads, states, lr, step, **rest)


def lion_rule(params, grads, states, lr, step, beta1=0.9, beta2=0.99, **rest):
    def rule(p, g, slots, rate, t):
        direction = np.sign(beta1 * slots[0] + (1 - beta1) * g)
        slots[0] = beta2 * slots[0] + (1 - beta2) * g
        return p - rate * direction

    return _run(rule, params, grads, states, lr, step, **rest)


def _ratio(adapt, p, direction, coefficient=1.0, eps=0.0):
    norms = np.sqrt((p**2).sum()), np.sqrt((direction**2).sum())
    return coefficient * norms[0] / (norms[1] + eps) if adapt and norms[0] > 0 and norms[1] > 0 else 1.0


def lamb_rule(params, grads, states, lr, step, beta1=0.9, beta2=0.999, eps=1e-6, bias_correction=True, **rest):
    def rule(p, g, slots, rate, t, decay, adapt):
        m = slots[0] = beta1 * slots[0] + (1 - beta1) * g
        v = slots[1] = beta2 * slots[1] + (1 - beta2) * g**2
        correction1, correction2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
        direction = m / correction1 / (np.sqrt(v / correction2) + eps) + decay * p
        return p - rate * _ratio(adapt, p, direction) * direction

    return _run(rule, params, grads, states, lr, step, decays_direction=True, **rest)


def lars_rule(params, grads, states, lr, step, momentum=0.9, trust_coefficient=0.001, eps=0.0, nesterov=False,
              lr_in_momentum=False, **rest):  # fmt: skip
    def rule(p, g, slots, rate, t, decay, adapt):
        g = _ratio(adapt, p, g, trust_coefficient, eps) * g
        scaled = rate * g if lr_in_momentum else g
        if momentum:
            slots[0] = momentum * slots[0] + scaled
            scaled = scaled + momentum * slots[0] if nesterov else slots[0]
        return p - scaled if lr_in_momentum else p - rate * scaled

    return _run(rule, params, grads, states, lr, step, decays_direction=False, **rest)


def orthogonalize(x, a, b, c, eps, ns_steps, eps_added=False):
    """Newton and Schulz's iteration, as in Muon."""
    if x.shape[0] > x.shape[1]:
        return orthogonalize(x.T, a, b, c, eps, ns_steps, eps_added).T
    norm = np.sqrt((x**2).sum())
    x = x / (norm + eps if eps_added else max(norm, eps))
    for _ in range(ns_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon_rule(params, grads, states, lr, step, rows, momentum=0.95, nesterov=True, a=3.4445, b=-4.775, c=2.0315,
              eps=1e-7, ns_steps=5, eps_added=False, **rest):  # fmt: skip
    def rule(p, g, slots, rate, t, rows):
        m = slots[0] = momentum * slots[0] + (1 - momentum) * g
        direction = momentum * m + (1 - momentum) * g if nesterov else m
        if p.size == 0:
            return p
        update = orthogonalize(direction.reshape(rows, -1), a, b, c, eps, ns_steps, eps_added)
        return p - rate * update.reshape(p.shape)

    return _run(rule, params, grads, states, lr, step, rows=rows, **rest)
