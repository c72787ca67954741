"""Muon for matrices, AdamW for the rest, as optax.contrib.muon: two rules, each for its part of the tree."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
import optax
import optax.contrib

from fastnn import _check
from fastnn.jax.checks import check_stored_type, fraction, number, schedule
from fastnn.jax.rules import adamw
from fastnn.jax.transformation import FusedTransformation, Options, Rule, Step, make, step

_MASKED = optax.MaskedNode()


def muon(
    learning_rate: Any,
    ns_coeffs: Any = (3.4445, -4.775, 2.0315),
    ns_steps: int = 5,
    beta: Any = 0.95,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    weight_decay_mask: Any = None,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: Any = 0.9,
    adam_b2: Any = 0.999,
    adam_eps_root: Any = 0.0,
    adam_weight_decay: Any = 0.0,
    adam_learning_rate: Any = None,
    muon_weight_dimension_numbers: Any = None,
    consistent_rms: float | None = None,
) -> FusedTransformation:
    """optax.contrib.muon: p -= lr (s O(m^) + weight_decay p) for matrices, `adamw` for all other leaves.

    m is the running mean of g, m^ corrected for its start; O makes a matrix nearly orthogonal by Newton-Schulz steps
    X <- a X + b (X X^T) X + c (X X^T)^2 X from X = m^ / (|m^| + eps); s = sqrt(max(1, columns / rows)).

    Args:
        ns_coeffs: (a, b, c), or "standard".
        ns_steps: how many, an int of at most 99.
        beta: of the running mean.
        weight_decay, weight_decay_mask: of the matrices, as in `adamw`, a number only.
        mu_dtype: of m, and of AdamW's; None: that of the parameters.
        nesterov: beta m / (1 - beta^(t+1)) + (1 - beta) g / (1 - beta^t) in place of m^, and in AdamW as in `nadamw`.
        adaptive, preconditioning, muon_weight_dimension_numbers: only optax has more than False, "frobenius" and None.
        adam_b1, adam_b2, adam_eps_root, adam_weight_decay, adam_learning_rate: AdamW's; its eps is eps, and its
            learning rate that of the matrices where it is None.
        consistent_rms: s = consistent_rms sqrt(max(rows, columns)).

    Reference: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025, Muon is scalable for LLM
    training.
    """
    function = "fastnn.jax.muon"
    _only("adaptive", adaptive, False)
    _only("preconditioning", preconditioning, "frobenius")
    _only("muon_weight_dimension_numbers", muon_weight_dimension_numbers, None)
    check_stored_type(function, "mu_dtype", mu_dtype)
    rms = None if consistent_rms is None else _check.number(function, "consistent_rms", consistent_rms, above=0)
    matrices = Rule(
        "muon",
        optax.contrib.muon(
            learning_rate, _coefficients(ns_coeffs), ns_steps, beta, eps, weight_decay, weight_decay_mask, mu_dtype,
            nesterov=nesterov, adam_b1=adam_b1, adam_b2=adam_b2, adam_eps_root=adam_eps_root,
            adam_weight_decay=adam_weight_decay, adam_learning_rate=adam_learning_rate, consistent_rms=consistent_rms,
        ),
        "muon",
        ("mu",),
        schedule(function, "learning_rate", learning_rate),
        {"beta": fraction(function, "beta", beta), "eps": number(function, "eps", eps, minimum=0)},
        {
            "nesterov": _check.boolean(function, "nesterov", nesterov),
            "ns_steps": _check.integer(function, "ns_steps", ns_steps, minimum=0, maximum=99),
        },
        number(function, "weight_decay", weight_decay, minimum=0),
        weight_decay_mask,
        elementwise=False,
        matrix=lambda shape: (shape[0], _factor(shape, rms)),
        from_state=_state_coefficients,
    )  # fmt: skip
    others = adamw(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay, nesterov=nesterov,
    )  # fmt: skip

    def both(method: str, params: Any, grads: Any, state: Any, options: Options) -> tuple[Any, Any]:
        return _step(matrices, others, method, params, grads, state, options)

    return make("muon", matrices.reference.init, both)


def _step(
    matrices: Rule, others: FusedTransformation, method: str, params: Any, grads: Any, state: Any, options: Options
) -> tuple[Any, Any]:
    function = f"fastnn.jax.muon.{method}"
    inner = getattr(state, "inner_states", None)
    if not isinstance(inner, dict) or set(inner) != {"muon", "adam"}:
        wanted = "what the init of fastnn.jax.muon or optax.contrib.muon made"
        _check.fail(function, "state", wanted, f"a {type(state).__name__}")
    if options.skip_nonfinite:
        remedy = "Wrap the optimizer in optax.apply_if_finite."
        _check.fail(function, "skip_nonfinite", "False, as there are two rules", "True", remedy)
    if params is None and method == "update":
        _check.fail(function, "params", "given", "None", "Call update(grads, state, params).")
    if jax.tree.structure(params) != jax.tree.structure(grads):
        given = f"{jax.tree.structure(params)} where grads is {jax.tree.structure(grads)}"
        _check.fail(function, "params", "a tree of the same structure as grads", given)
    options = options.without_norm(grads)
    is_matrix = jax.tree.map(lambda leaf: np.ndim(leaf) == 2, grads)
    parts, states = [], {}
    steps: dict[str, Step] = {"muon": functools.partial(step, matrices), "adam": others._step}
    for name, run in steps.items():
        own, gradients = (_part(tree, is_matrix, name == "muon") for tree in (params, grads))
        result, new = run(method, own, gradients, inner[name].inner_state, options)
        parts.append(result)
        states[name] = inner[name]._replace(inner_state=new)
    leaves = {flag: iter(jax.tree.leaves(part)) for flag, part in zip((True, False), parts)}
    merged = jax.tree.map(lambda flag: next(leaves[flag]), is_matrix)
    return merged, state._replace(inner_states=states)


def _part(tree: Any, is_matrix: Any, chosen: bool) -> Any:
    return jax.tree.map(lambda flag, leaf: leaf if flag == chosen else _MASKED, is_matrix, tree)


def _factor(shape: tuple[int, ...], rms: float | None) -> float:
    rows, columns = shape
    if rms is not None:
        return rms * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, columns / rows)) if rows else 1.0


def _coefficients(value: Any) -> tuple[float, ...]:
    if isinstance(value, str) and value == "standard":
        value = muon.__defaults__[0]  # type: ignore[index]
    if np.shape(value) != (3,):
        given = repr(value) if isinstance(value, str) else f"an array of shape {np.shape(value)}"
        _check.fail("fastnn.jax.muon", "ns_coeffs", "three numbers, the same in all steps", given)
    return tuple(_check.number("fastnn.jax.muon", "ns_coeffs", float(each)) for each in value)


def _state_coefficients(state: Any) -> dict[str, Any]:
    """They are in the state, as in optax."""
    (part,) = (part for part in state if hasattr(part, "ns_coeffs"))
    return {name: jax.numpy.asarray(part.ns_coeffs)[i] for i, name in enumerate("abc")}


def _only(argument: str, value: Any, wanted: Any) -> None:
    if value is not wanted and value != wanted:
        remedy = "optax.contrib.muon has more."
        _check.fail("fastnn.jax.muon", argument, repr(wanted), repr(value), remedy)
