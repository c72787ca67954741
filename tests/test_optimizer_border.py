"""What TensorTable and the optimizer kernels refuse, with messages that name the argument."""

import numpy as np
import pytest
from spoilt import other_dtype, read_only, refused, strided, swapped, unaligned

from fastnn import _backend

KERNELS = _backend.load_level(_backend.isa_levels()[-1])


def tensors():
    """Arguments of a TensorTable with two tensors and one slot."""
    shapes = [(3, 4), (5,)]
    params, grads, states = ([np.ones(shape, np.float32) for shape in shapes] for _ in range(3))
    return {"params": params, "grads": grads, "states": [states]}


SPOILT = [np.ndarray.tolist, lambda array: None, other_dtype, swapped, strided, unaligned, read_only]


@pytest.mark.parametrize("spoil", SPOILT, ids=["list", "None", "dtype", "swapped", "strided", "unaligned", "read_only"])
@pytest.mark.parametrize("name", ["params", "grads", "states"])
def test_tables_refuse_arrays(name, spoil):
    if (spoil, name) == (read_only, "grads"):
        return  # only read
    arguments = tensors()
    target = arguments[name] if name != "states" else arguments[name][0]
    target[1] = spoil(target[1])
    place = r"params\[1\]" if name == "params" else r"grads\[1\]" if name == "grads" else r"states\[0\]\[1\]"
    refused(
        lambda: KERNELS.TensorTable(**arguments), f"^TensorTable: {place} must be .*, got ", (TypeError, ValueError)
    )


@pytest.mark.parametrize("name", ["l1", "l2", "decay", "lr_scale"])
def test_tables_refuse_settings_of_another_length_or_dtype(name):
    for bad in (np.ones(3, np.float32), np.ones(2), [1.0, 1.0]):
        call = lambda bad=bad: KERNELS.TensorTable(**tensors(), **{name: bad})  # noqa: E731
        refused(call, rf"^TensorTable: {name} must be a float32 array of shape \(2,\), got ", (TypeError, ValueError))


def test_tables_refuse_what_says_which_adapt():
    table = KERNELS.TensorTable(**tensors())
    for bad in (np.ones(3, np.float32), np.ones(2), [1.0, 1.0]):
        message = r"^TensorTable.set_adapts: adapts must be a float32 array of shape \(2,\), got "
        refused(lambda bad=bad: table.set_adapts(bad), message, (TypeError, ValueError))


def test_tables_refuse_rows():
    table = KERNELS.TensorTable(**tensors())  # of shapes (3, 4) and (5,)
    for bad in (np.ones(3, np.int64), np.ones(2, np.int32), [1, 1]):
        message = r"^TensorTable.set_rows: rows must be an? int64 array of shape \(2,\), got "
        refused(lambda bad=bad: table.set_rows(bad), message, (TypeError, ValueError))
    for bad in (0, -1, 2, 10):
        message = rf"^TensorTable.set_rows: rows\[1\] must be a divisor of 5 elements, got {bad}"
        refused(lambda bad=bad: table.set_rows(np.array([3, bad])), message)
    message = "table must be a TensorTable of matrices for this rule, got one without set_rows"
    refused(lambda: KERNELS.muon_rule().step(table, 0.1, 1), f"^UpdateRule.step: {message}")
    table.set_rows(np.array([3, 5]))
    KERNELS.muon_rule().step(table, 0.1, 1)


def test_tables_refuse_lists_that_do_not_match():
    for name in ("params", "grads"):
        arguments = tensors()
        arguments[name].pop()
        refused(lambda arguments=arguments: KERNELS.TensorTable(**arguments), "^TensorTable: .* must be as many arrays")
    arguments = tensors()
    arguments["grads"][0] = np.ones((4, 3), np.float32)
    refused(
        lambda: KERNELS.TensorTable(**arguments), r"^TensorTable: grads\[0\] must be .*shape \(3, 4\), got .*\(4, 3\)"
    )
    arguments = {**tensors(), "states": [tensors()["params"]] * 4}
    refused(lambda: KERNELS.TensorTable(**arguments), "^TensorTable: states must be at most 3 lists, got 4")


def test_tables_refuse_tensors_that_overlap():
    memory = np.zeros(32, np.float32)
    params = [memory[:12], memory[11:20]]
    grads = [np.ones(param.shape, np.float32) for param in params]
    refused(lambda: KERNELS.TensorTable(params, grads, []), "^TensorTable: .* must be memory apart from .*, got")
    refused(
        lambda: KERNELS.TensorTable(params[:1], params[:1], []), "^TensorTable: .* must be memory apart from .*, got"
    )


def test_tables_keep_their_arrays_alive():
    table = KERNELS.TensorTable([np.ones(1000, np.float32)], [np.ones(1000, np.float32)], [])
    for _ in range(10):
        KERNELS.update(KERNELS.sgd_rule(), table, np.array([0.1]), np.array([1]))


RULE_REFUSALS = [
    ("sgd_rule", {"nesterov": True}, "momentum must be above 0 with nesterov"),
    ("sgd_rule", {"dampening": 0.1}, "momentum must be above 0 with dampening"),
    ("sgd_rule", {"momentum": 0.9, "dampening": 0.1, "nesterov": True}, "dampening must be 0 with nesterov"),
    ("sgd_rule", {"momentum": -0.1}, "momentum must be finite and at least 0"),
    ("sgd_rule", {"weight_decay": -1.0}, "weight_decay must be finite and at least 0"),
    ("sgd_rule", {"clip_norm": np.nan}, "clip_norm must be finite and at least 0"),
    ("sgd_rule", {"clip_value": -0.1}, "clip_value must be finite and at least 0"),
    ("adam_rule", {"beta1": 1.0}, "beta1 must be at least 0 and below 1"),
    ("adam_rule", {"beta2": -0.1}, "beta2 must be at least 0 and below 1"),
    ("adam_rule", {"eps": -1e-8}, "eps must be finite and at least 0"),
    ("adagrad_rule", {"lr_decay": -0.1}, "lr_decay must be finite and at least 0"),
    ("adagrad_rule", {"eps": -1.0}, "eps must be finite and at least 0"),
    ("lion_rule", {"beta1": 1.0}, "beta1 must be at least 0 and below 1"),
    ("lion_rule", {"beta2": -0.5}, "beta2 must be at least 0 and below 1"),
    ("lamb_rule", {"beta1": 1.0}, "beta1 must be at least 0 and below 1"),
    ("lamb_rule", {"beta2": -0.5}, "beta2 must be at least 0 and below 1"),
    ("lamb_rule", {"eps": -1.0}, "eps must be finite and at least 0"),
    ("lars_rule", {"momentum": -1.0}, "momentum must be finite and at least 0"),
    ("lars_rule", {"trust_coefficient": np.nan}, "trust_coefficient must be finite and at least 0"),
    ("lars_rule", {"eps": -1.0}, "eps must be finite and at least 0"),
    ("lars_rule", {"momentum": 0.0, "nesterov": True}, "momentum must be above 0 with nesterov"),
    ("muon_rule", {"momentum": 1.0}, "momentum must be at least 0 and below 1"),
    ("muon_rule", {"b": np.inf}, "b must be finite"),
    ("muon_rule", {"eps": -1.0}, "eps must be finite and at least 0"),
    ("muon_rule", {"ns_steps": 100}, "ns_steps must be at least 0 and below 100, got 100"),
    ("rmsprop_rule", {"alpha": 1.0}, "alpha must be at least 0 and below 1"),
    ("rmsprop_rule", {"eps": np.inf}, "eps must be finite and at least 0"),
    ("rmsprop_rule", {"momentum": -1.0}, "momentum must be finite and at least 0"),
]


@pytest.mark.parametrize("rule, options, message", RULE_REFUSALS)
def test_rules_refuse(rule, options, message):
    refused(lambda: getattr(KERNELS, rule)(**options), f"^{rule}: {message}")


SLOTS = [
    ("sgd_rule", {}, 0),
    ("sgd_rule", {"momentum": 0.9}, 1),
    ("adam_rule", {}, 2),
    ("adam_rule", {"amsgrad": True}, 3),
    ("adagrad_rule", {}, 1),
    ("lion_rule", {}, 1),
    ("lamb_rule", {}, 2),
    ("lars_rule", {}, 1),
    ("lars_rule", {"momentum": 0.0}, 0),
    ("muon_rule", {}, 1),
    ("rmsprop_rule", {"centered": True}, 2),
    ("rmsprop_rule", {"centered": True, "momentum": 0.5}, 3),
]


@pytest.mark.parametrize("name, options, slots", SLOTS)
def test_rules_know_their_states(name, options, slots):
    """Each needs a table with as many lists of states."""
    rule = getattr(KERNELS, name)(**options)
    assert rule.slots == slots
    param, grad = np.ones(5, np.float32), np.ones(5, np.float32)
    table = KERNELS.TensorTable([param], [grad], [[np.zeros(5, np.float32)] for _ in range((slots + 1) % 4)])
    lr, step = np.array([0.1]), np.array([1])
    wanted = f"table must be a TensorTable with {slots} lists of states for this rule"
    refused(lambda: KERNELS.update(rule, table, lr, step), f"^update: {wanted}")
    refused(lambda: KERNELS.updates(rule, table, lr, step), f"^updates: {wanted}")
    refused(lambda: rule.step(table, 0.1, 1), f"^UpdateRule.step: {wanted}")
    assert (param == 1).all()


STEP_REFUSALS = [
    ({"step": np.array([0])}, "step must be at least 1, got 0"),
    ({"step": np.array([1], np.int32)}, r"step must be an? int64 array of shape \(1,\), got int32"),
    ({"lr": np.array([0.1], np.float32)}, r"lr must be an? float64 array of shape \(1,\), got float32"),
]


@pytest.mark.parametrize("arguments, message", STEP_REFUSALS)
def test_steps_refuse(arguments, message):
    param, grad = np.ones(5, np.float32), np.ones(5, np.float32)
    table = KERNELS.TensorTable([param], [grad], [])
    arguments = {"lr": np.array([0.1]), "step": np.array([1]), **arguments}
    refused(lambda: KERNELS.update(KERNELS.sgd_rule(), table, **arguments), f"^update: {message}")
    refused(lambda: KERNELS.sgd_rule().step(table, 0.1, 0), "^UpdateRule.step: step must be at least 1, got 0")
    assert (param == 1).all()


def test_immediate_steps_refuse_a_tape():
    """Their learning rate is gone when the tape is replayed."""
    table = KERNELS.TensorTable([np.ones(5, np.float32)], [np.ones(5, np.float32)], [])
    tape = KERNELS.Tape()
    tape.start()
    try:
        refused(lambda: KERNELS.sgd_rule().step(table, 0.1, 1), "^UpdateRule.step: the step must be made while no tape")
    finally:
        tape.stop()
