"""Optimizer steps over lists of arrays, changed in place: one kernel call for all of them.

Formulas, names and defaults are torch's; ``fastnn.optimizers`` has Keras'. The lists belong together entry by entry.
Arrays are float32 on the CPU, of NumPy, torch or anything else with DLPack or the buffer protocol, and dense in any
order of their axes that a parameter, its gradient and its states share. ``step`` counts from 1. Shared arguments:

    weight_decay: adds weight_decay * p to the gradient (adamw_: multiplies p by 1 - lr * weight_decay instead).
    maximize: go up instead of down.
    grad_scale: multiplies the gradients first, e.g. 1 / loss_scale.
    clip_norm: largest norm of all gradients together, 0 is off.
    clip_value: largest absolute value in a gradient, 0 is off.
"""

from collections.abc import Sequence
from typing import Any

from fastnn import _arrays
from fastnn._backend import kernels
from fastnn._check import describe, fail, integer, number

Arrays = Sequence[Any]
# The rules' defaults. To pass one more by its name takes 0.15 microseconds, of 5 in all for a small array.
_USUAL = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "alpha": 0.99, "bias_correction": True, "grad_scale": 1.0}
_USUAL |= dict.fromkeys(("momentum", "dampening", "weight_decay", "clip_norm", "clip_value"), 0.0)
_USUAL |= dict.fromkeys(("nesterov", "amsgrad", "centered", "eps_inside_sqrt", "decoupled", "maximize"), False)


def _run(
    function: str,
    rule: str,
    params: Arrays,
    grads: Arrays,
    slots: dict[str, Arrays | None],
    step: int,
    lr: float,
    **options: Any,
) -> None:
    used = {name: arrays for name, arrays in slots.items() if arrays is not None}
    count, rate = integer(function, "step", step, 1), number(function, "lr", lr)
    table = _arrays.table(function, params, grads, used)
    given = {name: value for name, value in options.items() if value != _USUAL.get(name)}
    getattr(kernels, rule)(**given).step(table, rate, count)
    _arrays.note_changes(params, *used.values())


def sgd_(
    params: Arrays,
    grads: Arrays,
    momentum_buffer: Arrays | None = None,
    *,
    lr: float,
    step: int = 1,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: float = 1.0,
    clip_norm: float = 0.0,
    clip_value: float = 0.0,
) -> None:
    """b = momentum b + (1 - dampening) g (g at step 1); p -= lr b, or p -= lr (g + momentum b) if ``nesterov``.

    Args:
        params, grads: lists of arrays.
        momentum_buffer: b, needed if ``momentum`` isn't 0.
        step: only whether it's 1 counts.
    """
    _need_slot("sgd_", "momentum_buffer", momentum_buffer, momentum != 0.0, "momentum isn't 0")
    _run(
        "sgd_", "sgd_rule", params, grads, {"momentum_buffer": momentum_buffer}, step, lr,
        momentum=momentum, dampening=dampening, nesterov=nesterov, weight_decay=weight_decay,
        maximize=maximize, grad_scale=grad_scale, clip_norm=clip_norm, clip_value=clip_value,
    )  # fmt: skip


def adam_(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    exp_avg_sq: Arrays,
    max_exp_avg_sq: Arrays | None = None,
    *,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    bias_correction: bool = True,
    grad_scale: float = 1.0,
    clip_norm: float = 0.0,
    clip_value: float = 0.0,
    decoupled: bool = False,
) -> None:
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) * m / (sqrt(v / (1 -
    beta2^t)) + eps).

    Args:
        params, grads, exp_avg (m), exp_avg_sq (v): lists of arrays.
        max_exp_avg_sq: the largest v so far, needed with ``amsgrad``, which divides by it.
        bias_correction: False leaves the factors in t out.
        decoupled: weight decay as in ``adamw_``.

    Reference: Kingma and Ba 2015, algorithm 1.
    """
    name = "adamw_" if decoupled else "adam_"
    slots: dict[str, Arrays | None] = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    if amsgrad or max_exp_avg_sq is not None:
        _need_slot(name, "max_exp_avg_sq", max_exp_avg_sq, amsgrad, "amsgrad=True")
        slots["max_exp_avg_sq"] = max_exp_avg_sq
    _run(
        name, "adam_rule", params, grads, slots, step, lr,
        beta1=betas[0], beta2=betas[1], eps=eps, amsgrad=amsgrad, bias_correction=bias_correction, decoupled=decoupled,
        weight_decay=weight_decay, maximize=maximize, grad_scale=grad_scale, clip_norm=clip_norm, clip_value=clip_value,
    )  # fmt: skip


def adamw_(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    exp_avg_sq: Arrays,
    max_exp_avg_sq: Arrays | None = None,
    *,
    step: int,
    weight_decay: float = 1e-2,
    **adam: Any,
) -> None:
    """p *= 1 - lr * weight_decay, then ``adam_``; arguments as there.

    Reference: Loshchilov and Hutter 2019, algorithm 2.
    """
    adam_(
        params, grads, exp_avg, exp_avg_sq, max_exp_avg_sq,
        step=step, weight_decay=weight_decay, decoupled=True, **adam,
    )  # fmt: skip


def rmsprop_(
    params: Arrays,
    grads: Arrays,
    square_avg: Arrays,
    grad_avg: Arrays | None = None,
    momentum_buffer: Arrays | None = None,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    eps_inside_sqrt: bool = False,
    weight_decay: float = 0.0,
    maximize: bool = False,
    grad_scale: float = 1.0,
    clip_norm: float = 0.0,
    clip_value: float = 0.0,
) -> None:
    """v = alpha v + (1 - alpha) g^2; u = g / (sqrt(v) + eps); p -= lr u, or with momentum b = momentum b + u, p -= lr
    b.

    Args:
        params, grads, square_avg (v): lists of arrays.
        grad_avg: a, needed with ``centered``: a = alpha a + (1 - alpha) g, and v - a^2 takes v's place in u.
        momentum_buffer: b, needed if ``momentum`` isn't 0.
        eps_inside_sqrt: sqrt(v + eps), as in Keras and TensorFlow.

    Reference: Tieleman and Hinton 2012; Graves 2013 for the centered form.
    """
    _need_slot("rmsprop_", "grad_avg", grad_avg, centered, "centered=True")
    _need_slot("rmsprop_", "momentum_buffer", momentum_buffer, momentum != 0.0, "momentum isn't 0")
    slots = {"square_avg": square_avg, "grad_avg": grad_avg, "momentum_buffer": momentum_buffer}
    _run(
        "rmsprop_", "rmsprop_rule", params, grads, slots, 1, lr,
        alpha=alpha, eps=eps, momentum=momentum, centered=centered, eps_inside_sqrt=eps_inside_sqrt,
        weight_decay=weight_decay, maximize=maximize, grad_scale=grad_scale, clip_norm=clip_norm, clip_value=clip_value,
    )  # fmt: skip


def _need_slot(function: str, name: str, arrays: Arrays | None, needed: bool, reason: str) -> None:
    """A state that is needed is there, one that would be ignored isn't."""
    if needed and arrays is None:
        fail(function, name, f"a list of arrays where {reason}", "None")
    if not needed and arrays is not None:
        fail(function, name, f"None unless {reason}", describe(arrays))
