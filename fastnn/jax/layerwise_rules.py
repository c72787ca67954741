"""LAMB and LARS: each leaf's step in proportion to the norm of its parameters. As in `rules`."""

from __future__ import annotations

from typing import Any

import optax

from fastnn import _check
from fastnn.jax.checks import number, schedule
from fastnn.jax.rules import adam_numbers, weight_decay_number
from fastnn.jax.transformation import FusedTransformation, Rule, transformation


def lamb(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-6,
    eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
    mask: Any = None,
) -> FusedTransformation:
    """optax.lamb: u = Adam's step + weight_decay p; p -= lr |p| / |u| u, or lr u where one of the norms is 0.

    Args:
        weight_decay, mask: as in `adamw`.

    Reference: You et al. 2020, Large batch optimization for deep learning: training BERT in 76 minutes, algorithm 2.
    """
    numbers = adam_numbers("lamb", b1, b2, eps, eps_root, None)
    decay = {"weight_decay": weight_decay_number("lamb", weight_decay), "mask": mask}
    rate = schedule("fastnn.jax.lamb", "learning_rate", learning_rate)
    reference = optax.lamb(learning_rate, b1, b2, eps, eps_root, weight_decay, mask)
    options = {**decay, "decoupled": False, "elementwise": False}
    return transformation(Rule("lamb", reference, "lamb", ("mu", "nu"), rate, numbers, **options))


def lars(
    learning_rate: Any,
    weight_decay: Any = 0.0,
    weight_decay_mask: Any = True,
    trust_coefficient: Any = 0.001,
    eps: Any = 0.0,
    trust_ratio_mask: Any = True,
    momentum: Any = 0.9,
    nesterov: bool = False,
) -> FusedTransformation:
    """optax.lars: g += weight_decay p; u = lr trust_coefficient |p| / (|g| + eps) g; m = u + momentum m; p -= m.

    Args:
        weight_decay: a number, or with an optax that has it a schedule.
        weight_decay_mask: which leaves decay: a tree of bools like the parameters or a prefix of it, or a function that
            makes one.
        trust_ratio_mask: the leaves that have the ratio; u = lr g for the others, and where one of the norms is 0.
        nesterov: p -= u + momentum m.

    Reference: You et al. 2017, Large batch training of convolutional networks.
    """
    function = "fastnn.jax.lars"
    numbers = {"momentum": number(function, "momentum", momentum)}
    for argument, value in (("trust_coefficient", trust_coefficient), ("eps", eps)):
        numbers[argument] = number(function, argument, value, minimum=0)
    flags = {"nesterov": _check.boolean(function, "nesterov", nesterov)}
    decay = {"weight_decay": weight_decay_number("lars", weight_decay), "mask": weight_decay_mask}
    rate = schedule(function, "learning_rate", learning_rate)
    reference = optax.lars(
        learning_rate, weight_decay, weight_decay_mask, trust_coefficient, eps, trust_ratio_mask, momentum, nesterov
    )
    options = {**decay, "decoupled": False, "elementwise": False, "trust_mask": trust_ratio_mask}
    return transformation(Rule("lars", reference, "lars", ("trace",), rate, numbers, flags, **options))
