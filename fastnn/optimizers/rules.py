"""The optimizers: one class an update rule, each a front for a rule of the kernels."""

from __future__ import annotations

from typing import Any

from fastnn import _check
from fastnn.optimizers.base import Optimizer


class SGD(Optimizer):
    """Gradient descent, with momentum and Nesterov's variant.

    p -= lr g without momentum; with it v = momentum v + lr g, then p -= v, or p -= momentum v + lr g if `nesterov`.
    As in Keras the velocity holds the learning rate; torch's doesn't, which differs where the learning rate changes.

    Reference: Sutskever et al. 2013, On the importance of initialization and momentum in deep learning, equations 1-4.
    """

    default_name = "sgd"
    rule = "sgd_rule"

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        self.momentum = self._fraction("momentum", momentum)
        self.nesterov = _check.boolean("sgd", "nesterov", nesterov)
        if nesterov and not momentum:
            self._fail("momentum", "above 0 with nesterov=True", repr(momentum), "Pass momentum=0.9, for one.")

    def slot_names(self) -> list[str]:
        return ["momentum_buffer"] if self.momentum else []

    def rule_options(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "nesterov": self.nesterov, "lr_in_momentum": True}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """Adam.

    m = beta_1 m + (1 - beta_1) g,  v = beta_2 v + (1 - beta_2) g^2,
    p -= lr sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)

    This is Keras' form ("epsilon hat" of the paper's section 2); torch adds epsilon to sqrt(v / (1 - beta_2^t)).

    Args:
        amsgrad: divides by the largest v so far instead of v.
        bias_correction: False leaves the two factors in t out.

    Reference: Kingma & Ba 2015, Adam, algorithm 1; Reddi et al. 2018, On the Convergence of Adam and Beyond.
    """

    default_name = "adam"
    rule = "adam_rule"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        bias_correction: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)
        self.epsilon = self._number("epsilon", epsilon, minimum=0)
        self.amsgrad = _check.boolean(self.default_name, "amsgrad", amsgrad)
        self.bias_correction = _check.boolean(self.default_name, "bias_correction", bias_correction)

    def slot_names(self) -> list[str]:
        return ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if self.amsgrad else [])

    def rule_options(self) -> dict[str, Any]:
        options = {"beta1": self.beta_1, "beta2": self.beta_2, "eps": self.epsilon, "eps_hat": True}
        return {**options, "amsgrad": self.amsgrad, "bias_correction": self.bias_correction}

    def get_config(self) -> dict[str, Any]:
        names = ("beta_1", "beta_2", "epsilon", "amsgrad", "bias_correction")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.004 unless said: p -= lr * weight_decay * p, then Adam's update.

    Reference: Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
    """

    default_name = "adamw"

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float = 0.004, **adam: Any) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **adam)


class RMSprop(Optimizer):
    """RMSprop.

    v = rho v + (1 - rho) g^2;  d = v, or v - a^2 with a = rho a + (1 - rho) g if `centered`;
    u = lr g / sqrt(d + epsilon), or lr g / (sqrt(d) + epsilon) if not `eps_inside_sqrt` (torch's form);
    p -= u, or with momentum b = momentum b + u, p -= b

    Reference: Tieleman & Hinton 2012, Coursera lecture 6.5; for the centered form Graves 2013, Generating Sequences
    with Recurrent Neural Networks, equations 38-41.
    """

    default_name = "rmsprop"
    rule = "rmsprop_rule"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        eps_inside_sqrt: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho = self._fraction("rho", rho)
        self.momentum = self._fraction("momentum", momentum)
        self.epsilon = self._number("epsilon", epsilon, minimum=0)
        self.centered = _check.boolean("rmsprop", "centered", centered)
        self.eps_inside_sqrt = _check.boolean("rmsprop", "eps_inside_sqrt", eps_inside_sqrt)

    def slot_names(self) -> list[str]:
        centered, momentum = ["grad_avg"] if self.centered else [], ["momentum_buffer"] if self.momentum else []
        return ["square_avg", *centered, *momentum]

    def rule_options(self) -> dict[str, Any]:
        options = {"alpha": self.rho, "eps": self.epsilon, "momentum": self.momentum, "centered": self.centered}
        return {**options, "eps_inside_sqrt": self.eps_inside_sqrt, "lr_in_momentum": True}

    def get_config(self) -> dict[str, Any]:
        names = ("rho", "momentum", "epsilon", "centered", "eps_inside_sqrt")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class Adagrad(Optimizer):
    """Adagrad.

    s += g^2,  p -= lr g / sqrt(s + epsilon), or lr g / (sqrt(s) + epsilon) if not `eps_inside_sqrt` (torch's form)

    Args:
        initial_accumulator_value: what s is before the first step.

    Reference: Duchi et al. 2011, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization.
    """

    default_name = "adagrad"
    rule = "adagrad_rule"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        eps_inside_sqrt: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        value = self._number("initial_accumulator_value", initial_accumulator_value, minimum=0)
        self.initial_accumulator_value = value or 0.0
        self.epsilon = self._number("epsilon", epsilon, minimum=0)
        self.eps_inside_sqrt = _check.boolean("adagrad", "eps_inside_sqrt", eps_inside_sqrt)

    def slot_names(self) -> list[str]:
        return ["sum"]

    def initial_value(self, slot: str) -> float:
        return self.initial_accumulator_value

    def rule_options(self) -> dict[str, Any]:
        return {"eps": self.epsilon, "eps_inside_sqrt": self.eps_inside_sqrt}

    def get_config(self) -> dict[str, Any]:
        names = ("initial_accumulator_value", "epsilon", "eps_inside_sqrt")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class Lion(Optimizer):
    """Lion: steps of one size, in the direction of a sign.

    p -= lr sign(beta_1 m + (1 - beta_1) g),  m = beta_2 m + (1 - beta_2) g

    A learning rate 3 to 10 times smaller than Adam's, and a weight decay as many times larger, do as a rule.

    Reference: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2.
    """

    default_name = "lion"
    rule = "lion_rule"

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1 = self._fraction("beta_1", beta_1)
        self.beta_2 = self._fraction("beta_2", beta_2)

    def slot_names(self) -> list[str]:
        return ["exp_avg"]

    def rule_options(self) -> dict[str, Any]:
        return {"beta1": self.beta_1, "beta2": self.beta_2}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}
