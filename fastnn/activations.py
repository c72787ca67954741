"""Activations by name, as every layer and function takes them.

The formulas live in ``csrc/math/activations.h``; here a name becomes the kernels' number and its parameter.
"""

from typing import Any, NamedTuple

from fastnn._backend import kernels
from fastnn._check import fail

_ALIASES = {"swish": "silu", "leakyrelu": "leaky_relu"}
_DEFAULT_ALPHA = {"leaky_relu": 0.2, "elu": 1.0}  # Keras' defaults


class ActivationRule(NamedTuple):
    """An activation and its parameter.

    Attributes:
        name: one of ``names()``.
        code: the kernels' number. Softmax isn't elementwise: its code is that of linear, and the caller adds the
            softmax kernel.
        alpha: negative slope of leaky_relu, alpha of elu, else unused.
        saves_input: whether the derivative needs the pre-activation z (else the output y).
    """

    name: str
    code: int
    alpha: float
    saves_input: bool


def names() -> list[str]:
    """Every name that ``get`` knows, in alphabetical order."""
    return sorted([*kernels.ACTIVATIONS, "softmax", *_ALIASES])


def get(spec: Any, function: str = "activations.get", alpha: float | None = None) -> ActivationRule:
    """The rule meant by ``spec``.

    Args:
        spec: a name ("relu", "leaky_relu", "elu", "gelu" (exact), "gelu_tanh", "silu" or "swish", "sigmoid", "tanh",
            "softplus", "softmax", "linear"), None (linear), a rule, or a layer that has one, such as
            ``layers.LeakyReLU(0.1)``.
        function: who asks, for the message.
        alpha: negative slope of leaky_relu (0.2), alpha of elu (1.0).

    Raises:
        ValueError: an unknown name (the message lists the known ones).
    """
    if isinstance(spec, ActivationRule):
        return spec
    rule = getattr(spec, "rule", None)
    if isinstance(rule, ActivationRule):
        return rule
    name = "linear" if spec is None else spec
    if isinstance(name, str):
        name = _ALIASES.get(name.lower(), name.lower())
    if not isinstance(name, str) or (name != "softmax" and name not in kernels.ACTIVATIONS):
        fail(function, "activation", "one of " + ", ".join(names()), repr(spec))
    code = 0 if name == "softmax" else kernels.ACTIVATIONS[name]
    if alpha is None:
        alpha = _DEFAULT_ALPHA.get(name, 0.0)
    return ActivationRule(name, code, float(alpha), code in kernels.GRAD_FROM_INPUT)


def config(rule: ActivationRule) -> str | dict[str, Any]:
    """The form in which a layer's config names its activation: a name, or name and alpha where alpha isn't the
    default."""
    if rule.alpha == _DEFAULT_ALPHA.get(rule.name, 0.0):
        return rule.name
    return {"name": rule.name, "alpha": rule.alpha}


def from_config(spec: Any, function: str = "activations.from_config") -> ActivationRule:
    """The inverse of ``config``; takes all that ``get`` takes as well."""
    if isinstance(spec, dict):
        return get(spec.get("name"), function, spec.get("alpha"))
    return get(spec, function)
