"""Muon: matrices are updated by an orthogonal direction, everything else as by AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastnn import _check
from fastnn.optimizers.base import Optimizer
from fastnn.optimizers.tables import Part, matches


class Muon(Optimizer):
    """Muon for matrices: m = momentum m + (1 - momentum) g, u = m, or momentum m + (1 - momentum) g if `nesterov`;

    X = u / (||u|| + 1e-7 (1 - momentum)), `ns_steps` times X = muon_a X + muon_b X X' X + muon_c (X X')^2 X,
    p -= lr rms_rate sqrt(largest side) X

    which takes the place of U V' of u's singular value decomposition U S V'. AdamW, with a learning rate of
    adam_lr_ratio * lr and adam_weight_decay, for tensors that aren't matrices, for those of embeddings, and for those
    that `exclude_layers` names, which the last layer should be among.

    Args:
        exclude_layers: regexes; a parameter whose name one of them matches somewhere is AdamW's.
        exclude_embeddings: whether parameters with "embedding" in their names are AdamW's.
        rms_rate: None leaves the factor rms_rate sqrt(largest side) out.

    Weight decay is lr * weight_decay * p for matrices, lr * adam_weight_decay * p for others. As in Keras, whose
    momentum is 1 / (1 - momentum) times as large as the one here (torch's), with the same step.

    Reference: Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks; Liu et al. 2025, Muon is
    Scalable for LLM Training, for rms_rate.
    """

    default_name = "muon"
    rule = "muon_rule"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1.0,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **common)
        self.adam_beta_1 = self._fraction("adam_beta_1", adam_beta_1)
        self.adam_beta_2 = self._fraction("adam_beta_2", adam_beta_2)
        self.adam_weight_decay = self._number("adam_weight_decay", adam_weight_decay, minimum=0)
        self.epsilon = self._number("epsilon", epsilon, minimum=0)
        names = exclude_layers or []
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            self._fail("exclude_layers", "a list of strings", _check.describe(names))
        self.exclude_layers = list(names)
        self.exclude_embeddings = _check.boolean("muon", "exclude_embeddings", exclude_embeddings)
        self.muon_a, self.muon_b, self.muon_c = (
            _check.number("muon", name, value)
            for name, value in (("muon_a", muon_a), ("muon_b", muon_b), ("muon_c", muon_c))
        )
        self.adam_lr_ratio = _check.number("muon", "adam_lr_ratio", adam_lr_ratio, above=0)
        self.momentum = self._fraction("momentum", momentum)
        self.ns_steps = _check.integer("muon", "ns_steps", ns_steps, 0, 99)
        self.nesterov = _check.boolean("muon", "nesterov", nesterov)
        self.rms_rate = self._number("rms_rate", rms_rate, above=0)

    def slot_names(self) -> list[str]:
        return ["momentum_buffer", "exp_avg", "exp_avg_sq"]

    def has_slot(self, slot: str, parameter: Any) -> bool:
        return self._orthogonalized(parameter) == (slot == "momentum_buffer")

    def rule_options(self) -> dict[str, Any]:
        options = {"a": self.muon_a, "b": self.muon_b, "c": self.muon_c, "ns_steps": self.ns_steps}
        eps = 1e-7 * (1 - self.momentum)  # of a direction that is as many times smaller than Keras'
        return {**options, "momentum": self.momentum, "nesterov": self.nesterov, "eps": eps, "eps_added": True}

    def parts(self, places: Sequence[int]) -> list[Part]:
        matrices = [place for place in places if self._orthogonalized(self._parameters[place])]
        others = [place for place in places if not self._orthogonalized(self._parameters[place])]
        adam = {"beta1": self.adam_beta_1, "beta2": self.adam_beta_2, "eps": self.epsilon, "eps_hat": True}
        ratios = np.full(len(others), self.adam_lr_ratio)
        return [
            Part(self.make_rule("muon_rule", self.rule_options()), self._matrix_table(matrices)),
            Part(
                self.make_rule("adam_rule", {**adam, "weight_decay": self.adam_weight_decay or 0.0}),
                self.make_table(others, ("exp_avg", "exp_avg_sq"), ratios),
            ),
        ]

    def _matrix_table(self, places: Iterable[int]) -> Any:
        shapes = [self._parameters[place].value.shape for place in places]
        scales = [1.0 if self.rms_rate is None else self.rms_rate * math.sqrt(max(*shape, 1)) for shape in shapes]
        table = self.make_table(list(places), ("momentum_buffer",), np.array(scales))
        table.set_rows(np.array([max(shape[0], 1) for shape in shapes], np.int64))
        return table

    def _orthogonalized(self, parameter: Any) -> bool:
        if parameter.value.ndim != 2 or (self.exclude_embeddings and "embedding" in parameter.name.lower()):
            return False
        return not matches(parameter.name, self.exclude_layers)

    def get_config(self) -> dict[str, Any]:
        adam = ("adam_beta_1", "adam_beta_2", "adam_weight_decay", "epsilon", "adam_lr_ratio")
        own = ("muon_a", "muon_b", "muon_c", "momentum", "ns_steps", "nesterov", "rms_rate")
        names = (*adam, *own, "exclude_layers", "exclude_embeddings")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
