"""Optimizer steps that look at a whole tensor at a time; what all have in common is at the head of ``updates.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastnn._check import boolean, choice, describe, fail, integer
from fastnn.functional.stepping import Arrays, Shared, bound, common_options, need_pair, need_state, option, run

if TYPE_CHECKING:
    from fastnn.functional.stepping import Unpack


@bound
def _lamb(
    kernels: Any, name: str, weight_decay: Any, common: Any, beta1: Any, beta2: Any, eps: Any, bias_correction: Any
) -> Any:
    return kernels.lamb_rule(
        beta1=option(name, "betas[0]", beta1, minimum=0.0, below=1.0),
        beta2=option(name, "betas[1]", beta2, minimum=0.0, below=1.0),
        eps=option(name, "eps", eps, minimum=0.0),
        bias_correction=boolean(name, "bias_correction", bias_correction),
        **common_options(name, weight_decay, common),
    )


def lamb_(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    exp_avg_sq: Arrays,
    *,
    step: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    weight_decay: Any = 0.0,
    bias_correction: bool = True,
    adapts: Sequence[bool] | None = None,
    **shared: Unpack[Shared],
) -> bool | None:
    """m and v as in ``adam_``; u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p; p -= lr |p| /
    |u| u, where the ratio is 1 if a norm is 0.

    Args:
        params, grads, exp_avg (m), exp_avg_sq (v): lists of arrays.
        adapts: for each tensor whether it takes the ratio, which is 1 otherwise; None: all do.
        decoupled: p *= 1 - lr * weight_decay instead of weight_decay p in u.

    Reference: You et al. 2020, algorithm 2.
    """
    lists = {"params": params, "grads": grads, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    own = (*need_pair("lamb_", "betas", betas), eps, bias_correction)
    return run("lamb_", _lamb, own, lists, step, lr, weight_decay, shared, adapts=adapts)


@bound
def _lars(
    kernels: Any,
    name: str,
    weight_decay: Any,
    common: Any,
    momentum: Any,
    trust: Any,
    eps: Any,
    nesterov: Any,
    lr_in_momentum: Any,
) -> Any:
    if nesterov and momentum == 0:
        fail(name, "momentum", "above 0 with nesterov=True", repr(momentum))
    return kernels.lars_rule(
        momentum=option(name, "momentum", momentum, minimum=0.0),
        trust_coefficient=option(name, "trust_coefficient", trust, minimum=0.0),
        eps=option(name, "eps", eps, minimum=0.0),
        nesterov=boolean(name, "nesterov", nesterov),
        lr_in_momentum=boolean(name, "lr_in_momentum", lr_in_momentum),
        **common_options(name, weight_decay, common),
    )


def lars_(
    params: Arrays,
    grads: Arrays,
    momentum_buffer: Arrays | None = None,
    *,
    lr: float,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    nesterov: bool = False,
    lr_in_momentum: bool = True,
    weight_decay: Any = 0.0,
    adapts: Sequence[bool] | None = None,
    **shared: Unpack[Shared],
) -> bool | None:
    """d = g + weight_decay p; u = trust_coefficient |p| / (|d| + eps) d, where the ratio is 1 if a norm is 0;
    b = momentum b + lr u; p -= b, or p -= lr u + momentum b if ``nesterov``.

    Args:
        params, grads: lists of arrays.
        momentum_buffer: b, needed if ``momentum`` isn't 0.
        lr_in_momentum: False: b = momentum b + u, p -= lr b.
        adapts: for each tensor whether it takes the ratio, which is 1 otherwise; None: all do.

    Reference: You et al. 2017, Large Batch Training of Convolutional Networks.
    """
    need_state("lars_", "momentum_buffer", momentum_buffer, momentum != 0.0, "momentum isn't 0")
    lists = {"params": params, "grads": grads}
    if momentum_buffer is not None:
        lists["momentum_buffer"] = momentum_buffer
    own = (momentum, trust_coefficient, eps, nesterov, lr_in_momentum)
    return run("lars_", _lars, own, lists, 1, lr, weight_decay, shared, adapts=adapts)


@bound
def _muon(
    kernels: Any,
    name: str,
    weight_decay: Any,
    common: Any,
    momentum: Any,
    nesterov: Any,
    factors: Any,
    eps: Any,
    ns_steps: Any,
) -> Any:
    return kernels.muon_rule(
        momentum=option(name, "momentum", momentum, minimum=0.0, below=1.0),
        nesterov=boolean(name, "nesterov", nesterov),
        **{key: option(name, f"ns_coefficients[{i}]", factor) for i, (key, factor) in enumerate(zip("abc", factors))},
        eps=option(name, "eps", eps, minimum=0.0),
        ns_steps=integer(name, "ns_steps", ns_steps, 0, 99),
        **common_options(name, weight_decay, common),
    )


def muon_(
    params: Arrays,
    grads: Arrays,
    momentum_buffer: Arrays,
    *,
    lr: float = 1e-3,
    weight_decay: Any = 0.1,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    **shared: Unpack[Shared],
) -> bool | None:
    """b = momentum b + (1 - momentum) g; X = b, or momentum b + (1 - momentum) g if ``nesterov``, over its norm;
    ``ns_steps`` times X = a X + (b A + c A A) X with A = X X^T; p *= 1 - lr weight_decay; p -= lr r X.

    For matrices, an array of m x n each; biases, embeddings and the like go through ``adamw_``.

    Args:
        params, grads, momentum_buffer (b): lists of matrices.
        ns_coefficients: a, b, c.
        eps: least norm that X is divided by.
        adjust_lr_fn: r is sqrt(max(1, m / n)) with "original" or None, 0.2 sqrt(max(m, n)) with "match_rms_adamw".

    Reference: Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks; Liu et al. 2025, Muon is
    scalable for LLM training, for "match_rms_adamw".
    """
    if not isinstance(ns_coefficients, (tuple, list)) or len(ns_coefficients) != 3:
        fail("muon_", "ns_coefficients", "three numbers", describe(ns_coefficients))
    adjusted = choice("muon_", "adjust_lr_fn", adjust_lr_fn, (None, "original", "match_rms_adamw")) or "original"
    lists = {"params": params, "grads": grads, "momentum_buffer": momentum_buffer}
    own = (momentum, nesterov, tuple(ns_coefficients), eps, ns_steps)
    return run("muon_", _muon, own, lists, 1, lr, weight_decay, shared, decoupled=True, matrices=adjusted)
