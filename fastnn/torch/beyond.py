"""Optimizers that torch doesn't have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

    def slots(self, group: dict[str, Any]) -> Sequence[str]:
        return ("exp_avg",)

    def rule_options(self, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": plain(beta1), "beta2": plain(beta2)}
