"""Muon for matrices, AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastnn.torch.base import Optimizer
from fastnn.torch.options import plain

MUON, ADAMW = "muon", "adamw"


class Muon(Optimizer):
    """torch.optim.Muon: b = momentum b + (1 - momentum) g; X = b, or momentum b + (1 - momentum) g with nesterov, over
    its norm; ns_steps times X = a X + (b A + c A A) X with A = X X^T; p *= 1 - lr weight_decay; p -= lr r X. In float32
    where torch's class multiplies in bfloat16.

    Torch's class refuses parameters that aren't matrices. Here they are updated as by AdamW, so that all of a model can
    be given at once.

    Args:
        ns_coefficients: a, b, c.
        eps: least norm that X is divided by.
        adjust_lr_fn: r is sqrt(max(1, rows / columns)) with "original" or None, 0.2 sqrt(max(rows, columns)) with
            "match_rms_adamw".
        use_muon: of a group, None: matrices by Muon, the rest by AdamW; False: all by AdamW, as embeddings and the
            last layer should be; True: all by Muon.
        adamw_betas, adamw_eps: AdamW's; its weight decay is the group's.
        adamw_lr_ratio: AdamW's learning rate is lr times this.

    Reference: Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks; Liu et al. 2025, Muon is
    Scalable for LLM Training.
    """

    table_options = ("adjust_lr_fn", "use_muon", "adamw_lr_ratio")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        use_muon: bool | None = None,
        adamw_betas: tuple[Any, Any] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        adamw_lr_ratio: float = 1.0,
        maximize: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(params, {**locals(), "decoupled_weight_decay": True})

    def method_of(self, param: torch.Tensor, group: dict[str, Any]) -> str:
        matrices = group["use_muon"]
        return MUON if (param.ndim == 2 if matrices is None else matrices) else ADAMW

    def rule_of(self, method: str) -> str:
        return "muon_rule" if method == MUON else "adam_rule"

    def slots(self, group: dict[str, Any], method: str = MUON) -> Sequence[str]:
        return ("momentum_buffer",) if method == MUON else ("exp_avg", "exp_avg_sq")

    def counts(self, group: dict[str, Any], method: str = MUON) -> bool:
        return method == ADAMW or group["stochastic_rounding"]

    def rule_options(self, group: dict[str, Any], method: str = MUON) -> dict[str, Any]:
        if method == MUON:
            names = ("momentum", "nesterov", "eps", "ns_steps")
            return {name: plain(group[name]) for name in names} | dict(zip("abc", group["ns_coefficients"]))
        beta1, beta2 = group["adamw_betas"]
        return {"beta1": plain(beta1), "beta2": plain(beta2), "eps": plain(group["adamw_eps"])}

    def tensor_settings(self, params: list[torch.Tensor], group: dict[str, Any], method: str) -> dict[str, Any]:
        if method == ADAMW:
            return {"lr_scale": np.full(len(params), plain(group["adamw_lr_ratio"]), np.float32)}
        ratios = np.array([_ratio(param, group["adjust_lr_fn"]) for param in params])
        rows = np.array([_rows(param) for param in params], np.int64)
        # Weight decay doesn't go by the adjusted learning rate.
        return {"lr_scale": ratios.astype(np.float32), "decay": (1 / ratios).astype(np.float32), "rows": rows}

    def check_param(self, place: str, param: torch.Tensor, group: dict[str, Any]) -> None:
        if self.method_of(param, group) == MUON and param.ndim != 2:
            self.fail(place, "a matrix with use_muon=True", f"a tensor of shape {tuple(param.shape)}")


def _ratio(param: torch.Tensor, adjust: str | None) -> float:
    rows, columns = param.shape
    if adjust == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns, 1))
    return math.sqrt(max(1.0, rows / max(columns, 1)))


def _rows(param: torch.Tensor) -> int:
    """Of the matrix as it lies in memory: this one or its transpose, which makes no difference to the iteration."""
    rows, columns = param.shape
    return max(1, columns if param.stride(0) == 1 and rows > 1 else rows)
