"""fastnn.torch's states: torch's own, key by key, in checkpoints that go both ways."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch_runs import (
    FULL,
    GRADS,
    START,
    STEPS,
    advance,
    assert_close,
    assert_equal,
    assert_same_run,
    named,
    ours,
    parameters,
    saved,
    theirs,
)

import fastnn.torch as ft

full = pytest.mark.parametrize("row", FULL, ids=named)
HALF = STEPS // 2


def reference(row):
    """Torch's class in float64, all steps."""
    name, options = row
    params = parameters(torch.float64)
    optimizer = theirs(name)(params, **options)
    advance(optimizer, params)
    return optimizer, params


@full
@pytest.mark.parametrize("way", ["torch to ours", "ours to torch", "there and back"])
def test_states_go_both_ways(row, way):
    name, options = row
    makers = {
        "torch to ours": [theirs(name), ours(name)],
        "ours to torch": [ours(name), theirs(name)],
        "there and back": [ours(name), theirs(name), ours(name)],
    }[way]
    params, state, length = parameters(), None, STEPS // len(makers)
    for i, make in enumerate(makers):
        params = parameters(start=[param.detach() for param in params])
        optimizer = make(params, **options) if i == 0 else make(params)  # options come with the state
        if state is not None:
            optimizer.load_state_dict(state)
        advance(optimizer, params, GRADS[i * length : (i + 1) * length])
        state = saved(optimizer)
    assert_same_run(optimizer, params, *reference(row))


FUSED = [row for row in FULL if "fused" in inspect.signature(theirs(row[0])).parameters]


@pytest.mark.parametrize("row, fused", [(row, fused) for fused in (False, True) for row in (FUSED if fused else FULL)])
def test_the_state_is_torchs_key_by_key(row, fused):
    name, options = row
    results = []
    for make, extra in ((ours(name), {}), (theirs(name), {"fused": True} if fused else {})):
        params = parameters()
        optimizer = make(params, **options, **extra)
        advance(optimizer, params, GRADS[:3])
        results.append(optimizer.state_dict())
    own, other = results
    assert own["state"].keys() == other["state"].keys()
    for i, entry in other["state"].items():
        assert own["state"][i].keys() == entry.keys()
        for key, tensor in entry.items():
            mine = own["state"][i][key]
            assert (mine.shape, mine.dtype, mine.device) == (tensor.shape, tensor.dtype, tensor.device)
            assert mine.numel() == 0 or mine.stride() == tensor.stride()
            assert not mine.requires_grad
    assert own["param_groups"][0].keys() >= other["param_groups"][0].keys()


@full
def test_checkpoints_are_loaded_with_weights_only(row):
    name, options = row
    params = parameters()
    optimizer = ours(name)(params, **options)
    advance(optimizer, params, GRADS[:HALF])
    file = io.BytesIO()
    torch.save({"params": [param.detach() for param in params], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    resumed = parameters(start=loaded["params"])
    second = ours(name)(resumed)
    second.load_state_dict(loaded["optimizer"])
    for one, two in ((optimizer, params), (second, resumed)):
        advance(one, two, GRADS[HALF:])
    assert_equal(params, resumed)


@full
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_alone(row, copied):
    name, options = row
    params = parameters()
    optimizer = ours(name)(params, **options)
    advance(optimizer, params, GRADS[:HALF])
    before = [param.detach().clone() for param in params]
    other, others = copied((optimizer, params))
    assert type(other) is ours(name) and other.last_step_skipped is False
    advance(other, others, GRADS[HALF:])
    assert_equal(params, before)
    advance(optimizer, params, GRADS[HALF:])
    assert_equal(params, others)


def test_a_state_of_an_older_torch():
    """Without options that came later, and with steps that are numbers."""
    params = parameters()
    optimizer = ft.Adam(params, lr=0.03)
    advance(optimizer, params, GRADS[:HALF])
    state = saved(optimizer)
    for group in state["param_groups"]:
        for name in ("maximize", "foreach", "capturable", "differentiable", "fused", "decoupled_weight_decay", "l1"):
            group.pop(name, None)
    for entry in state["state"].values():
        entry["step"] = int(entry["step"])
    resumed = parameters(start=[param.detach() for param in params])
    second = ft.Adam(resumed)
    second.load_state_dict(state)
    for one, two in ((optimizer, params), (second, resumed)):
        advance(one, two, GRADS[HALF:])
    assert_equal(params, resumed)
    assert all(entry["step"].dtype == torch.float32 for entry in second.state.values())


def test_adamw_stays_decoupled_whatever_it_loads():
    params = parameters()
    plain = ft.Adam(params, weight_decay=0.1)
    advance(plain, params, GRADS[:2])
    optimizer = ft.AdamW(params)
    optimizer.load_state_dict(saved(plain))
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True


def test_muon_takes_over_from_torchs_and_hands_back():
    """Torch's multiplies in bfloat16: what comes of a matrix differs by that, and the momentum by nothing."""
    start = [value for value in START if value.ndim == 2]
    grads = [[grad for grad in fresh if grad.ndim == 2] for fresh in GRADS]
    params, wanted = parameters(start=start), parameters(start=start)
    reference = torch.optim.Muon(wanted, lr=0.05)
    advance(reference, wanted, grads[:9])
    state = None
    for i, make in enumerate((torch.optim.Muon, ft.Muon, torch.optim.Muon)):
        optimizer = make(params, lr=0.05)
        if state is not None:
            optimizer.load_state_dict(state)
        advance(optimizer, params, grads[3 * i : 3 * i + 3])
        state = saved(optimizer)
    for own, other in zip(params, wanted):
        assert optimizer.state[own].keys() == {"momentum_buffer"}
        assert_close([optimizer.state[own]["momentum_buffer"]], [reference.state[other]["momentum_buffer"]], "momentum")
        torch.testing.assert_close(own, other, rtol=0, atol=0.03 * 9 * 0.05)
