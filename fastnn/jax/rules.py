"""The optimizers: optax's functions with optax's arguments, each naming its kernel and what the kernel takes.

Formulas are in optax's documentation, and in csrc/math/update_rules.h. Hyperparameters may be numbers or, as
`optax.inject_hyperparams` makes them, arrays of shape (). Every function raises ValueError or TypeError for a
hyperparameter out of its range or of another type.
"""

from __future__ import annotations

import functools
from typing import Any

import optax

from fastnn import _check
from fastnn.jax.checks import check_stored_type, fraction, number, schedule
from fastnn.jax.transformation import FusedTransformation, Rule, transformation

_SMALLEST = 2.0**-126  # normal float32


def sgd(
    learning_rate: Any, momentum: Any = None, nesterov: bool = False, accumulator_dtype: Any = None
) -> FusedTransformation:
    """optax.sgd: m = g + momentum m; p -= lr m, or lr (g + momentum m) with ``nesterov``.

    Args:
        learning_rate: a number or a schedule, as in all functions here.
        momentum: None for none.
        nesterov: needs a momentum.
        accumulator_dtype: of m; None: that of the parameters.
    """
    check_stored_type("fastnn.jax.sgd", "accumulator_dtype", accumulator_dtype)
    _need_momentum("sgd", momentum, nesterov)
    rate = schedule("fastnn.jax.sgd", "learning_rate", learning_rate)
    reference = optax.sgd(learning_rate, momentum, nesterov, accumulator_dtype)
    if momentum is None:
        return transformation(Rule("sgd", reference, "sgd", (), rate))
    numbers = {"momentum": number("fastnn.jax.sgd", "momentum", momentum)}
    return transformation(Rule("sgd", reference, "momentum", ("trace",), rate, numbers, {"nesterov": bool(nesterov)}))


def adam(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> FusedTransformation:
    """optax.adam: m, v running means of g, g^2; p -= lr m^ / (sqrt(v^ + eps_root) + eps), ^ corrected for their start.

    Args:
        nesterov: b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t) in place of m^ (NAdam).
        mu_dtype: of m; None: that of the parameters. v is of their type always.

    Reference: Kingma and Ba 2015; Dozat 2016.
    """
    numbers = adam_numbers("adam", b1, b2, eps, eps_root, mu_dtype)
    reference = optax.adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return _adam("adam", reference, learning_rate, numbers, nesterov)


def adamw(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: Any = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
) -> FusedTransformation:
    """optax.adamw: ``adam``, and p -= lr weight_decay p.

    Args:
        weight_decay: a number, or with an optax that has it a schedule.
        mask: which leaves decay: a tree of bools like the parameters or a prefix of it, or a function that makes one.

    Reference: Loshchilov and Hutter 2019.
    """
    numbers = adam_numbers("adamw", b1, b2, eps, eps_root, mu_dtype)
    decay = {"weight_decay": weight_decay_number("adamw", weight_decay), "mask": mask}
    reference = optax.adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)
    return _adam("adamw", reference, learning_rate, numbers, nesterov, **decay)


def amsgrad(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> FusedTransformation:
    """optax.amsgrad: ``adam`` that divides by the largest v^ so far. (torch corrects the largest v instead.)

    Args:
        bias_correction_mu, bias_correction_nu: False: m, v in place of m^, v^.

    Reference: Reddi et al. 2018.
    """
    numbers = adam_numbers("amsgrad", b1, b2, eps, eps_root, mu_dtype)
    reference = optax.amsgrad(learning_rate, b1, b2, eps, eps_root, mu_dtype)
    rate = schedule("fastnn.jax.amsgrad", "learning_rate", learning_rate)
    flags = {"nesterov": False}
    for argument, value in (("bias_correction_mu", bias_correction_mu), ("bias_correction_nu", bias_correction_nu)):
        flags[argument] = _check.boolean("fastnn.jax.amsgrad", argument, value)
    return transformation(Rule("amsgrad", reference, "amsgrad", ("mu", "nu", "nu_max"), rate, numbers, flags))


nadam = functools.partial(adam, nesterov=True)
nadamw = functools.partial(adamw, nesterov=True)


def rmsprop(
    learning_rate: Any,
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Any = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> FusedTransformation:
    """optax.rmsprop: v running mean of g^2; u = -lr g / sqrt(v + eps); p += u, or p += b with b = u + momentum b.

    Args:
        initial_scale: what v is at first.
        eps_in_sqrt: False: sqrt(v) + eps, torch's form.
        centered: v less the square of the running mean of g.
        nesterov: p += u + momentum b; needs a momentum.
        bias_correction: v, and with ``centered`` the mean of g, divided by 1 - decay^t.

    Reference: Hinton 2012, lecture 6.5; Graves 2013, equations 38-41.
    """
    function = "fastnn.jax.rmsprop"
    _need_momentum("rmsprop", momentum, nesterov)
    rate = schedule(function, "learning_rate", learning_rate)
    number(function, "initial_scale", initial_scale, minimum=0)
    numbers = {"decay_rate": fraction(function, "decay", decay), "eps": number(function, "eps", eps, minimum=0)}
    flags = {"eps_in_sqrt": _check.boolean(function, "eps_in_sqrt", eps_in_sqrt)}
    flags["bias_correction"] = _check.boolean(function, "bias_correction", bias_correction)
    handler, slots = "rmsprop", ["nu"]
    if _check.boolean(function, "centered", centered):
        handler, slots = f"{handler}_centered", [*slots, "mu"]
    if momentum is not None:
        handler, slots = f"{handler}_momentum", [*slots, "trace"]
        numbers["momentum"], flags["nesterov"] = number(function, "momentum", momentum), bool(nesterov)
    options = (eps_in_sqrt, centered, momentum, nesterov, bias_correction)
    reference = optax.rmsprop(learning_rate, decay, eps, initial_scale, *options)
    return transformation(Rule("rmsprop", reference, handler, tuple(slots), rate, numbers, flags))


def adagrad(learning_rate: Any, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> FusedTransformation:
    """optax.adagrad: s += g^2; p -= lr g / sqrt(s + eps).

    Args:
        initial_accumulator_value: what s is at first.

    Reference: Duchi et al. 2011.
    """
    function = "fastnn.jax.adagrad"
    rate = schedule(function, "learning_rate", learning_rate)
    number(function, "initial_accumulator_value", initial_accumulator_value, minimum=0)
    checked = number(function, "eps", eps, minimum=0)
    if isinstance(checked, float):
        checked = max(checked, _SMALLEST)  # a gradient of 0 over a sum of 0 is 0, as in optax
    reference = optax.adagrad(learning_rate, initial_accumulator_value, eps)
    return transformation(Rule("adagrad", reference, "adagrad", ("sum_of_squares",), rate, {"eps": checked}))


def lion(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.99,
    mu_dtype: Any = None,
    weight_decay: Any = 1e-3,
    mask: Any = None,
) -> FusedTransformation:
    """optax.lion: p -= lr (sign(b1 m + (1 - b1) g) + weight_decay p); m = b2 m + (1 - b2) g.

    Args:
        mu_dtype: of m; None: that of the parameters.
        weight_decay, mask: as in `adamw`.

    Reference: Chen et al. 2023, Symbolic discovery of optimization algorithms.
    """
    function = "fastnn.jax.lion"
    check_stored_type(function, "mu_dtype", mu_dtype)
    numbers = {"b1": fraction(function, "b1", b1), "b2": fraction(function, "b2", b2)}
    decay = {"weight_decay": weight_decay_number("lion", weight_decay), "mask": mask}
    rate = schedule(function, "learning_rate", learning_rate)
    reference = optax.lion(learning_rate, b1, b2, mu_dtype, weight_decay, mask)
    return transformation(Rule("lion", reference, "lion", ("mu",), rate, numbers, **decay))


def _adam(
    name: str, reference: Any, learning_rate: Any, numbers: dict[str, Any], nesterov: bool, **decay: Any
) -> FusedTransformation:
    rate = schedule(f"fastnn.jax.{name}", "learning_rate", learning_rate)
    flags = {"nesterov": _check.boolean(f"fastnn.jax.{name}", "nesterov", nesterov)}
    return transformation(Rule(name, reference, "adam", ("mu", "nu"), rate, numbers, flags, **decay))


def adam_numbers(name: str, b1: Any, b2: Any, eps: Any, eps_root: Any, mu_dtype: Any) -> dict[str, Any]:
    """The hyperparameters of Adam's kernel, checked."""
    function = f"fastnn.jax.{name}"
    check_stored_type(function, "mu_dtype", mu_dtype)
    numbers = {"b1": fraction(function, "b1", b1), "b2": fraction(function, "b2", b2)}
    for argument, value in (("eps", eps), ("eps_root", eps_root)):
        numbers[argument] = number(function, argument, value, minimum=0)
    return numbers


def weight_decay_number(name: str, value: Any) -> Any:
    """A number, or a schedule where optax keeps its count."""
    if callable(value) and not hasattr(optax.add_decayed_weights(value).init(()), "count"):
        given = f"a schedule with optax {optax.__version__}"
        _check.fail(f"fastnn.jax.{name}", "weight_decay", "a number", given, "Install a newer optax.")
    return schedule(f"fastnn.jax.{name}", "weight_decay", value, minimum=0)


def _need_momentum(name: str, momentum: Any, nesterov: Any) -> None:
    if _check.boolean(f"fastnn.jax.{name}", "nesterov", nesterov) and momentum is None:
        _check.fail(f"fastnn.jax.{name}", "momentum", "a number with nesterov=True", "None")
