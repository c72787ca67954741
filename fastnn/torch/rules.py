"""The optimizers: torch's signature and state, and the kernels' rule of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fastnn.torch.base import Optimizer
from fastnn.torch.options import plain


class SGD(Optimizer):
    """torch.optim.SGD: b = momentum b + (1 - dampening) g, without dampening in the first step; p -= lr b, or p -=
    lr (g + momentum b) with nesterov.

    Args:
        decoupled_weight_decay: p *= 1 - lr * weight_decay before the update, instead of g += weight_decay * p.

    Reference: Sutskever et al. 2013, On the importance of initialization and momentum in deep learning.
    """

    rule = "sgd_rule"
    counts_steps = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(params, locals())

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        if group["momentum"] == 0:  # dampening and nesterov are about the buffer that isn't there
            return {}
        return {name: plain(group[name]) for name in ("momentum", "dampening", "nesterov")}


class Adam(Optimizer):
    """torch.optim.Adam: m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, p -= lr / (1 - beta1^t) * m /
    (sqrt(v / (1 - beta2^t)) + eps); with amsgrad the largest v so far in place of v.

    Args:
        bias_correction: False leaves the two factors in t out.

    Reference: Kingma and Ba 2015, Adam, algorithm 1; Reddi et al. 2018, On the Convergence of Adam and Beyond.
    """

    rule = "adam_rule"

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        bias_correction: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(params, locals())

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if group["amsgrad"] else 2]

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        options = {name: group[name] for name in ("amsgrad", "bias_correction")}
        beta1, beta2 = group["betas"]
        return {**options, "beta1": plain(beta1), "beta2": plain(beta2), "eps": plain(group["eps"])}


class AdamW(Adam):
    """torch.optim.AdamW: p *= 1 - lr * weight_decay, then Adam's update.

    Reference: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        bias_correction: bool = True,
        **common: Any,
    ) -> None:
        if "decoupled_weight_decay" in common:
            raise TypeError("AdamW() got an unexpected keyword argument 'decoupled_weight_decay'")
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            foreach=foreach, maximize=maximize, capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True, bias_correction=bias_correction, **common,
        )  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # whatever a loaded state says
            group["decoupled_weight_decay"] = True


class AdamW8bit(AdamW):
    """AdamW whose states take 8 bits an element, in blocks of 256 with a scale each: `state_dtype` is torch.uint8. The
    states of parameters of fewer than `min_8bit_size` elements are float32.

    Reference: Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        bias_correction: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            maximize=maximize, bias_correction=bias_correction, **{"state_dtype": torch.uint8, **common},
        )  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # as loaded from AdamW's
            group["state_dtype"] = group["state_dtype"] or torch.uint8


class RMSprop(Optimizer):
    """torch.optim.RMSprop: v = alpha v + (1 - alpha) g^2; d = v, or v - a^2 with a = alpha a + (1 - alpha) g if
    centered; u = g / (sqrt(d) + eps); p -= lr u, or with momentum b = momentum b + u, p -= lr b.

    Args:
        eps_inside_sqrt: u = g / sqrt(d + eps), as in Keras and TensorFlow.
        decoupled_weight_decay: p *= 1 - lr * weight_decay before the update, instead of g += weight_decay * p.

    Reference: Tieleman and Hinton 2012, Coursera lecture 6.5; Graves 2013 for the centered form.
    """

    rule = "rmsprop_rule"

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        eps_inside_sqrt: bool = False,
        decoupled_weight_decay: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(params, locals())

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        grad_avg = ("grad_avg",) if group["centered"] else ()
        return ("square_avg", *grad_avg, *(("momentum_buffer",) if group["momentum"] != 0 else ()))

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        return {name: plain(group[name]) for name in ("alpha", "eps", "momentum", "centered", "eps_inside_sqrt")}


class Adagrad(Optimizer):
    """torch.optim.Adagrad: s = s + g^2, p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps).

    Args:
        eps_inside_sqrt: divides by sqrt(s + eps), as Keras and optax.
        decoupled_weight_decay: p *= 1 - lr * weight_decay before the update, instead of g += weight_decay * p.

    Reference: Duchi et al. 2011, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization.
    """

    rule = "adagrad_rule"

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        eps_inside_sqrt: bool = False,
        decoupled_weight_decay: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(params, locals())
        self.make_states()  # as torch's, before the first step

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        return ("sum",)

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        return {name: plain(group[name]) for name in ("lr_decay", "eps", "eps_inside_sqrt")}

    def new_state(self, name: str, param: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        return super().new_state(name, param, group).fill_(plain(group["initial_accumulator_value"]))

    def share_memory(self) -> None:
        """Moves the sums to memory that other processes share."""
        for entries in self.state.values():
            entries["sum"].share_memory_()
