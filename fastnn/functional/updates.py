"""Optimizer steps over lists of arrays, changed in place: one kernel call for all of them.

Formulas, names and defaults are torch's; ``fastnn.optimizers`` has Keras'. The lists belong together entry by entry.
Arrays are of NumPy, CuPy, torch or anything else with DLPack, ``__cuda_array_interface__`` or the buffer protocol, all
on the CPU or all on one GPU, and dense in any order of their axes that a parameter, its gradient and its states share
(channels_last, say). ``step`` counts from 1. On a GPU a step is enqueued in the current stream of the parameters'
framework.

Parameters are float32, bfloat16 (torch's or ml_dtypes') or float16, gradients of the same dtype or float32, states of
any of these or, with ``scales``, of 8 bits; each list has one dtype. Arithmetic is in float32 throughout.

Options of every step, by name:

    weight_decay: adds weight_decay * p to the gradient; a number, or a list with one for each tensor.
    decoupled: multiplies p by 1 - lr * weight_decay instead. True for adamw_ and lion_.
    l1: adds l1 * sign(p) to the gradient; a number, or a list with one for each tensor.
    lr_scale: a list of factors of lr, one for each tensor.
    maximize: go up instead of down.
    grad_scale: multiplies the gradients first, e.g. 1 / loss_scale.
    clip_norm: largest norm of all gradients together, 0 is off; with clip_norm_per_tensor=True of each by itself.
    clip_value: largest absolute value in a gradient, 0 is off.
    skip_nonfinite: if there is an infinity or a NaN in the gradients, nothing is changed.
    found_inf: float32 array of one element: where it isn't 0 the step is skipped, and a step that skip_nonfinite
        skips sets it to 1. As of ``torch.amp.GradScaler``.
    master: beside parameters of bfloat16 or float16 a list of float32 arrays, the parameters that they are rounded
        from; or, beside bfloat16, of uint16 arrays with the 16 bits that they lack of float32.
    seed: of stochastic rounding of parameters of bfloat16 or float16, which then need no master.
    scales: {name of a state: list of float32 arrays} for states of 8 bits (uint8): what the codes of each block of 256
        elements are times, ceil(n / 256) of them. Such states and their scales begin as zeros.

Every step returns True, or False if it was skipped; on a GPU None where it may have been (found_inf tells, once it's
read).

Reference for 8 bits: Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnn._check import boolean, fail
from fastnn.functional.stepping import Arrays, Shared, bound, common_options, need_pair, need_state, option, run

if TYPE_CHECKING:
    from fastnn.functional.stepping import Unpack


@bound
def _sgd(kernels: Any, name: str, weight_decay: Any, common: Any, momentum: Any, dampening: Any, nesterov: Any) -> Any:
    options = {
        "momentum": option(name, "momentum", momentum, minimum=0.0),
        "dampening": option(name, "dampening", dampening),
        "nesterov": boolean(name, "nesterov", nesterov),
    }
    if nesterov and (momentum == 0 or dampening != 0):
        fail(name, "momentum", "above 0, and dampening 0, with nesterov=True", f"{momentum!r}, dampening={dampening!r}")
    if momentum == 0 and dampening != 0:
        fail(name, "dampening", "0 without momentum", repr(dampening))
    return kernels.sgd_rule(**options, **common_options(name, weight_decay, common))


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
    weight_decay: Any = 0.0,
    **shared: Unpack[Shared],
) -> bool | None:
    """b = momentum b + (1 - dampening) g (g at step 1); p -= lr b, or p -= lr (g + momentum b) if ``nesterov``.

    Args:
        params, grads: lists of arrays.
        momentum_buffer: b, needed if ``momentum`` isn't 0.
        step: only whether it's 1 counts.

    Reference: Sutskever et al. 2013.
    """
    need_state("sgd_", "momentum_buffer", momentum_buffer, momentum != 0.0, "momentum isn't 0")
    lists = {"params": params, "grads": grads}
    if momentum_buffer is not None:
        lists["momentum_buffer"] = momentum_buffer
    return run("sgd_", _sgd, (momentum, dampening, nesterov), lists, step, lr, weight_decay, shared)


@bound
def _adam(
    kernels: Any,
    name: str,
    weight_decay: Any,
    common: Any,
    beta1: Any,
    beta2: Any,
    eps: Any,
    bias_correction: Any,
    amsgrad: Any,
) -> Any:
    return kernels.adam_rule(
        beta1=option(name, "betas[0]", beta1, minimum=0.0, below=1.0),
        beta2=option(name, "betas[1]", beta2, minimum=0.0, below=1.0),
        eps=option(name, "eps", eps, minimum=0.0),
        bias_correction=boolean(name, "bias_correction", bias_correction),
        amsgrad=boolean(name, "amsgrad", amsgrad),
        **common_options(name, weight_decay, common),
    )


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
    weight_decay: Any = 0.0,
    amsgrad: bool = False,
    bias_correction: bool = True,
    **shared: Unpack[Shared],
) -> bool | None:
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) * m / (sqrt(v / (1 -
    beta2^t)) + eps).

    Args:
        params, grads, exp_avg (m), exp_avg_sq (v): lists of arrays.
        max_exp_avg_sq: the largest v so far, needed with ``amsgrad``, which divides by it.
        bias_correction: False leaves the factors in t out: the textbook form without them.

    Reference: Kingma and Ba 2015, algorithm 1; Reddi et al. 2018 for amsgrad.
    """
    lists = _adam_lists("adam_", params, grads, exp_avg, exp_avg_sq, max_exp_avg_sq, amsgrad)
    own = (*need_pair("adam_", "betas", betas), eps, bias_correction, amsgrad)
    return run("adam_", _adam, own, lists, step, lr, weight_decay, shared)


def adamw_(
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
    weight_decay: Any = 1e-2,
    amsgrad: bool = False,
    bias_correction: bool = True,
    **shared: Unpack[Shared],
) -> bool | None:
    """p *= 1 - lr * weight_decay, then ``adam_``; arguments as there.

    Reference: Loshchilov and Hutter 2019, algorithm 2.
    """
    lists = _adam_lists("adamw_", params, grads, exp_avg, exp_avg_sq, max_exp_avg_sq, amsgrad)
    own = (*need_pair("adamw_", "betas", betas), eps, bias_correction, amsgrad)
    return run("adamw_", _adam, own, lists, step, lr, weight_decay, shared, decoupled=True)


def _adam_lists(name: str, params: Any, grads: Any, exp_avg: Any, exp_avg_sq: Any, largest: Any, amsgrad: bool) -> Any:
    lists = {"params": params, "grads": grads, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    if amsgrad or largest is not None:
        need_state(name, "max_exp_avg_sq", largest, amsgrad, "amsgrad=True")
        lists["max_exp_avg_sq"] = largest
    return lists


@bound
def _rmsprop(
    kernels: Any,
    name: str,
    weight_decay: Any,
    common: Any,
    alpha: Any,
    eps: Any,
    momentum: Any,
    centered: Any,
    inside: Any,
) -> Any:
    return kernels.rmsprop_rule(
        alpha=option(name, "alpha", alpha, minimum=0.0, below=1.0),
        eps=option(name, "eps", eps, minimum=0.0),
        momentum=option(name, "momentum", momentum, minimum=0.0),
        centered=boolean(name, "centered", centered),
        eps_inside_sqrt=boolean(name, "eps_inside_sqrt", inside),
        **common_options(name, weight_decay, common),
    )


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
    weight_decay: Any = 0.0,
    **shared: Unpack[Shared],
) -> bool | None:
    """v = alpha v + (1 - alpha) g^2; u = g / (sqrt(v) + eps); p -= lr u, or with momentum b = momentum b + u, p -= lr
    b.

    Args:
        params, grads, square_avg (v): lists of arrays.
        grad_avg: a, needed with ``centered``: a = alpha a + (1 - alpha) g, and v - a^2 takes v's place in u.
        momentum_buffer: b, needed if ``momentum`` isn't 0.
        eps_inside_sqrt: sqrt(v + eps), as in Keras and TensorFlow.

    Reference: Tieleman and Hinton 2012; Graves 2013 for the centered form.
    """
    need_state("rmsprop_", "grad_avg", grad_avg, centered, "centered=True")
    need_state("rmsprop_", "momentum_buffer", momentum_buffer, momentum != 0.0, "momentum isn't 0")
    lists = {"params": params, "grads": grads, "square_avg": square_avg}
    if grad_avg is not None:
        lists["grad_avg"] = grad_avg
    if momentum_buffer is not None:
        lists["momentum_buffer"] = momentum_buffer
    own = (alpha, eps, momentum, centered, eps_inside_sqrt)
    return run("rmsprop_", _rmsprop, own, lists, 1, lr, weight_decay, shared)


@bound
def _adagrad(kernels: Any, name: str, weight_decay: Any, common: Any, lr_decay: Any, eps: Any, inside: Any) -> Any:
    return kernels.adagrad_rule(
        lr_decay=option(name, "lr_decay", lr_decay, minimum=0.0),
        eps=option(name, "eps", eps, minimum=0.0),
        eps_inside_sqrt=boolean(name, "eps_inside_sqrt", inside),
        **common_options(name, weight_decay, common),
    )


def adagrad_(
    params: Arrays,
    grads: Arrays,
    sum: Arrays,  # noqa: A002
    *,
    step: int,
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    eps: float = 1e-10,
    eps_inside_sqrt: bool = False,
    weight_decay: Any = 0.0,
    **shared: Unpack[Shared],
) -> bool | None:
    """s += g^2; p -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps).

    Args:
        params, grads, sum (s): lists of arrays.
        eps_inside_sqrt: sqrt(s + eps), as in Keras and optax.

    Reference: Duchi et al. 2011.
    """
    lists = {"params": params, "grads": grads, "sum": sum}
    return run("adagrad_", _adagrad, (lr_decay, eps, eps_inside_sqrt), lists, step, lr, weight_decay, shared)


@bound
def _lion(kernels: Any, name: str, weight_decay: Any, common: Any, beta1: Any, beta2: Any) -> Any:
    return kernels.lion_rule(
        beta1=option(name, "betas[0]", beta1, minimum=0.0, below=1.0),
        beta2=option(name, "betas[1]", beta2, minimum=0.0, below=1.0),
        **common_options(name, weight_decay, common),
    )


def lion_(
    params: Arrays,
    grads: Arrays,
    exp_avg: Arrays,
    *,
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: Any = 0.0,
    **shared: Unpack[Shared],
) -> bool | None:
    """p *= 1 - lr * weight_decay; p -= lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g.

    Args:
        params, grads, exp_avg (m): lists of arrays.

    Reference: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2.
    """
    lists = {"params": params, "grads": grads, "exp_avg": exp_avg}
    own = need_pair("lion_", "betas", betas)
    return run("lion_", _lion, own, lists, 1, lr, weight_decay, shared, decoupled=True)
