"""Every argument of every rule, of a table and of a step changes the result."""

import re

import numpy as np
import pytest
from optimizer_runs import GRADS, SHAPES, START

from fastnn import _backend

KERNELS = _backend.load_level(_backend.isa_levels()[-1])

# For each argument a value that isn't its default, and what it needs beside it.
COMMON = {
    "weight_decay": (0.1, {}),
    "decoupled": (True, {"weight_decay": 0.1}),
    "maximize": (True, {}),
    "grad_scale": (0.5, {"weight_decay": 0.1}),  # without decay Lion and those that divide by a norm don't mind
    "clip_norm": (1.0, {"weight_decay": 0.1}),
    "clip_norm_per_tensor": (True, {"clip_norm": 1.0, "weight_decay": 0.1}),
    "clip_value": (0.5, {}),
    "skip_nonfinite": (True, {}),
}
OWN = {
    "sgd_rule": {
        "momentum": (0.9, {}),
        "dampening": (0.5, {"momentum": 0.9}),
        "nesterov": (True, {"momentum": 0.9}),
        "lr_in_momentum": (True, {"momentum": 0.9}),  # where the learning rate changes
    },
    "adam_rule": {
        "beta1": (0.8, {}),
        "beta2": (0.9, {}),
        "eps": (0.1, {}),
        "bias_correction": (False, {}),
        "eps_hat": (True, {"eps": 0.1}),
        "amsgrad": (True, {"beta2": 0.5}),
    },
    "rmsprop_rule": {
        "alpha": (0.9, {}),
        "eps": (0.1, {}),
        "momentum": (0.9, {}),
        "centered": (True, {}),
        "eps_inside_sqrt": (True, {"eps": 0.1}),
        "lr_in_momentum": (True, {"momentum": 0.9}),
    },
    "adagrad_rule": {"lr_decay": (0.1, {}), "eps": (0.1, {}), "eps_inside_sqrt": (True, {"eps": 0.1})},
    "lion_rule": {"beta1": (0.5, {}), "beta2": (0.5, {})},
    "lamb_rule": {"beta1": (0.8, {}), "beta2": (0.9, {}), "eps": (0.1, {}), "bias_correction": (False, {})},
    "lars_rule": {
        "momentum": (0.5, {}),
        "trust_coefficient": (0.1, {}),
        "eps": (0.1, {}),
        "nesterov": (True, {}),
        "lr_in_momentum": (True, {}),
    },
    "muon_rule": {
        "momentum": (0.5, {}),
        "nesterov": (False, {}),
        "a": (3.0, {}),
        "b": (-4.0, {}),
        "c": (1.5, {}),
        "eps": (10.0, {}),
        "ns_steps": (2, {}),
        "eps_added": (True, {"eps": 1.0}),
    },
}


def table_of(slots, **settings):
    params, grads, *states = [[start.copy() for start in START] for _ in range(2 + slots)]
    for slot in states:
        for array in slot:
            array[...] = 0.1
    adapts, rows = settings.pop("adapts", None), settings.pop("rows", [(*shape, 1)[0] or 1 for shape in SHAPES])
    table = KERNELS.TensorTable(params, grads, states, **settings)
    table.set_rows(np.array(rows))
    if adapts is not None:
        table.set_adapts(adapts)
    return table, params, grads


def result(name, options, settings=None, **step):
    """The parameters after three steps, the learning rate changing and a gradient of the last one being infinite."""
    rule = getattr(KERNELS, name)(**options)
    table, params, grads = table_of(rule.slots, **(settings or {}))
    for t, lr in enumerate([0.1, 0.05, 0.2], 1):
        for grad, new in zip(grads, GRADS[t]):
            grad[...] = new
        if t == 3:
            grads[7][:3] = np.inf
        with np.errstate(invalid="ignore"):
            rule.step(table, lr, t, **step)
    return params


def differ(one, other):
    return not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other))


def arguments(rule):
    return re.findall(r"[(,] ?(\w+): ", getattr(KERNELS, rule).__doc__.splitlines()[0])


def test_every_rule_is_here():
    assert set(OWN) == {name for name in dir(KERNELS) if name.endswith("_rule")}


@pytest.mark.parametrize("rule", OWN)
def test_every_argument_of_a_rule_counts(rule):
    known = {**OWN[rule], **COMMON}
    assert set(arguments(rule)) == set(known)
    for argument, (value, needed) in known.items():
        assert differ(result(rule, needed), result(rule, {**needed, argument: value})), argument


LIKE_THIS = {
    "l1": np.full(len(SHAPES), 0.1, np.float32),
    "l2": np.full(len(SHAPES), 0.1, np.float32),
    "decay": np.full(len(SHAPES), 0.5, np.float32),
    "lr_scale": np.full(len(SHAPES), 0.5, np.float32),
    "adapts": np.zeros(len(SHAPES), np.float32),
    "rows": np.ones(len(SHAPES), np.int64),
}
LAYERWISE = ("lamb_rule", "lars_rule")


@pytest.mark.parametrize("setting", LIKE_THIS)
@pytest.mark.parametrize("rule", OWN)
def test_every_setting_of_a_table_counts(rule, setting):
    options = {"weight_decay": 0.1}
    changed = differ(result(rule, options), result(rule, options, {setting: LIKE_THIS[setting]}))
    for_all = setting not in ("adapts", "rows")
    assert changed == (
        for_all or rule in LAYERWISE and setting == "adapts" or rule == "muon_rule" and setting == "rows"
    )


@pytest.mark.parametrize("rule", OWN)
def test_every_argument_of_a_step_counts(rule):
    options = {"weight_decay": 0.1}
    usual = result(rule, options)
    assert differ(usual, result(rule, options, grad_scale=0.5))
    assert not differ(result(rule, options, found_inf=np.ones(1, np.float32)), START)


# ---- gradients in several tables


@pytest.mark.parametrize(
    "common", [{"clip_norm": 0.5}, {"skip_nonfinite": True}, {"clip_norm": 0.5, "skip_nonfinite": True}]
)
@pytest.mark.parametrize("spoilt", [False, True])
def test_two_tables_know_each_others_squares(common, spoilt):
    """A step in two parts is a step of both together."""
    rng = np.random.default_rng(3)
    start = [rng.standard_normal(size).astype(np.float32) for size in (3000, 70)]
    grads = [rng.standard_normal(size).astype(np.float32) for size in (3000, 70)]
    if spoilt:
        grads[1][60] = np.nan
    rule, lr, step = KERNELS.sgd_rule(**common), np.array([0.1]), np.array([1])
    whole = [param.copy() for param in start]
    KERNELS.update(rule, KERNELS.TensorTable(whole, grads, []), lr, step)
    parts, square, found = [param.copy() for param in start], np.zeros(1), np.zeros(1, np.float32)
    tables = [KERNELS.TensorTable([param], [grad], []) for param, grad in zip(parts, grads)]
    for table in tables:
        KERNELS.add_squares(rule, table, square)
    np.testing.assert_allclose(square[0], sum((grad.astype(np.float64) ** 2).sum() for grad in grads), rtol=1e-12)
    for table in tables:
        KERNELS.update(rule, table, lr, step, found, square)
    for one, other in zip(whole, parts):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert found[0] == (spoilt and "skip_nonfinite" in common)


def test_what_is_skipped_does_not_count():
    found, step, skipped = np.zeros(1, np.float32), np.array([7]), np.array([2])
    KERNELS.end_update(found, step, skipped)
    assert (found[0], step[0], skipped[0]) == (0, 7, 2)
    found[0] = 1
    KERNELS.end_update(found, step, skipped)
    assert (found[0], step[0], skipped[0]) == (0, 6, 3)
