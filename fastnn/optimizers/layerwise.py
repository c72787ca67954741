"""Optimizers that scale each tensor's step by its norm, for training with large batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastnn import _check
from fastnn.optimizers.base import Optimizer
from fastnn.optimizers.tables import exact_names, matches


class _Layerwise(Optimizer):
    """Base of both: which tensors are scaled, and where weight decay goes."""

    def __init__(self, learning_rate: Any, decoupled_weight_decay: bool, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        name = "decoupled_weight_decay"
        self.decoupled_weight_decay = _check.boolean(self.default_name, name, decoupled_weight_decay)
        self._unscaled: list[str] = []

    def exclude_from_layer_adaptation(self, var_list: Iterable[Any] = (), var_names: Iterable[str] = ()) -> None:
        """Spares parameters from being scaled, as is usual for biases and normalisation: those of `var_list` and those
        whose name matches a regex of `var_names`. To be called before the model is compiled or `build` is called.
        """
        if self._run is not None:
            self._fail("exclude_from_layer_adaptation", "called before build", "a call afterwards")
        self._unscaled += [*exact_names(var_list), *var_names]

    def make_table(self, places: Sequence[int], slots: Iterable[str] | None = None, lr_scale: Any = None) -> Any:
        table = super().make_table(places, slots, lr_scale)
        names = [self._parameters[place].name for place in places]
        table.set_adapts(np.array([not matches(name, self._unscaled) for name in names], np.float32))
        return table

    def common_options(self) -> dict[str, Any]:
        return {**super().common_options(), "decoupled": self.decoupled_weight_decay}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "decoupled_weight_decay": self.decoupled_weight_decay}


class Lamb(_Layerwise):
    """LAMB: Adam's direction, scaled to the norm of the parameters.

    m = beta_1 m + (1 - beta_1) g,  v = beta_2 v + (1 - beta_2) g^2,
    u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon),  p -= lr ||p|| / ||u|| u

    with norms over each tensor, and 1 for their ratio where one is 0.

    Args:
        bias_correction: False leaves the two factors in t out.
        decoupled_weight_decay: p -= lr * weight_decay * p beforehand, as in Keras; False: u += weight_decay * p before
            its norm is taken, as in the paper.

    Reference: You et al. 2020, Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, algorithm 2.
    """

    default_name = "lamb"
    rule = "lamb_rule"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        bias_correction: bool = True,
        decoupled_weight_decay: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, decoupled_weight_decay, **common)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)
        self.epsilon = self._number("epsilon", epsilon, minimum=0)
        self.bias_correction = _check.boolean("lamb", "bias_correction", bias_correction)

    def slot_names(self) -> list[str]:
        return ["exp_avg", "exp_avg_sq"]

    def rule_options(self) -> dict[str, Any]:
        options = {"beta1": self.beta_1, "beta2": self.beta_2, "eps": self.epsilon}
        return {**options, "bias_correction": self.bias_correction}

    def get_config(self) -> dict[str, Any]:
        names = ("beta_1", "beta_2", "epsilon", "bias_correction")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class LARS(_Layerwise):
    """LARS: SGD with momentum, each tensor's gradient scaled to the norm of the parameters.

    g += weight_decay p,  u = lr trust_coefficient ||p|| / (||g|| + epsilon) g,  v = momentum v + u,
    p -= v, or p -= momentum v + u if `nesterov`

    with norms over each tensor, and u = lr g where one is 0.

    Args:
        decoupled_weight_decay: p -= lr * weight_decay * p beforehand, instead of g += weight_decay * p.

    Reference: You et al. 2017, Large Batch Training of Convolutional Networks. Keras has no LARS; the arguments are
    those of optax.
    """

    default_name = "lars"
    rule = "lars_rule"

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        trust_coefficient: float = 0.001,
        epsilon: float = 0.0,
        decoupled_weight_decay: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, decoupled_weight_decay, **common)
        self.momentum = self._fraction("momentum", momentum)
        self.nesterov = _check.boolean("lars", "nesterov", nesterov)
        self.trust_coefficient = self._number("trust_coefficient", trust_coefficient, above=0)
        self.epsilon = self._number("epsilon", epsilon, minimum=0)
        if nesterov and not momentum:
            self._fail("momentum", "above 0 with nesterov=True", repr(momentum), "Pass momentum=0.9, for one.")

    def slot_names(self) -> list[str]:
        return ["momentum_buffer"] if self.momentum else []

    def rule_options(self) -> dict[str, Any]:
        options = {"momentum": self.momentum, "nesterov": self.nesterov, "lr_in_momentum": True}
        return {**options, "trust_coefficient": self.trust_coefficient, "eps": self.epsilon}

    def get_config(self) -> dict[str, Any]:
        names = ("momentum", "nesterov", "trust_coefficient", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
