"""Optimizers that torch doesn't have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastnn.torch.base import Optimizer
from fastnn.torch.options import plain


class Lion(Optimizer):
    """p -= lr sign(beta1 m + (1 - beta1) g), m = beta2 m + (1 - beta2) g; decoupled weight decay.

    The state's key is "exp_avg", as in lion-pytorch and bitsandbytes.

    Args:
        decoupled_weight_decay: False adds weight_decay * p to the gradient instead.

    Reference: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2.
    """

    rule = "lion_rule"
    counts_steps = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-4,
        betas: tuple[Any, Any] = (0.9, 0.99),
        weight_decay: Any = 0.0,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(params, locals())

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        return ("exp_avg",)

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": plain(beta1), "beta2": plain(beta2)}


class _Layerwise(Optimizer):
    """With a ratio for each tensor, which some tensors may go without."""

    table_options = ("exclude_vectors",)

    def tensor_settings(self, params: list[torch.Tensor], group: dict[str, Any], method: str) -> dict[str, Any]:
        if not group["exclude_vectors"]:
            return {}
        adapts = np.array([param.ndim > 1 for param in params], np.float32)
        return {"adapts": adapts, "decay": adapts}


class LAMB(_Layerwise):
    """m and v as in Adam, u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p; p -= lr |p| / |u|
    u, the norms over each tensor; the ratio is 1 where a norm is 0.

    Args:
        bias_correction: False leaves the two factors in t out.
        exclude_vectors: parameters of fewer than two axes, biases and gains, take neither weight decay nor the ratio.
        decoupled_weight_decay: p *= 1 - lr * weight_decay before the update, instead of the term in u.

    Reference: You et al. 2020, Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, algorithm 2.
    """

    rule = "lamb_rule"

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: Any = 0.01,
        *,
        bias_correction: bool = True,
        exclude_vectors: bool = False,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(params, locals())

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        return ("exp_avg", "exp_avg_sq")

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        options = {"beta1": plain(beta1), "beta2": plain(beta2), "eps": plain(group["eps"])}
        return {**options, "bias_correction": group["bias_correction"]}


class LARS(_Layerwise):
    """g += weight_decay p, u = trust_coefficient |p| / (|g| + eps) g, the norms over each tensor and the ratio 1 where
    a norm is 0; then SGD's step with u for the gradient: b = momentum b + u, p -= lr b, or p -= lr (u + momentum b)
    with nesterov.

    Args:
        exclude_vectors: parameters of fewer than two axes, biases and gains, take neither weight decay nor the ratio.
        decoupled_weight_decay: p *= 1 - lr * weight_decay before the update, instead of g += weight_decay * p.

    Reference: You et al. 2017, Large Batch Training of Convolutional Networks.
    """

    rule = "lars_rule"
    counts_steps = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0.9,
        weight_decay: Any = 0.0,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
        *,
        nesterov: bool = False,
        exclude_vectors: bool = False,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(params, locals())

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        return {name: plain(group[name]) for name in ("momentum", "trust_coefficient", "eps", "nesterov")}
