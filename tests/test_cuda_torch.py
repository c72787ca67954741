"""fastnn.torch on a GPU, which the emulator and torch's memory on the CPU stand for."""

import copy

import pytest
import torch
from emulated_kernels import Kernels
from torch_runs import GRADS, START, assert_close

import fastnn.torch as ft
from fastnn.torch import devices

STEPS = 6
CLASSES = {
    "SGD": {"lr": 0.05, "momentum": 0.8, "fused": True},
    "Adam": {"lr": 0.03, "weight_decay": 0.1, "amsgrad": True},
    "AdamW": {"lr": 0.03},
    "Adagrad": {"lr": 0.3, "lr_decay": 0.1},
    "RMSprop": {"lr": 0.01, "centered": True, "momentum": 0.5},
    "Lion": {"lr": 0.02},
    "LAMB": {"lr": 0.05},
    "Muon": {"lr": 0.05},
}


OWN = {name: getattr(devices, name) for name in ("kernels_of", "stays")}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Parameters are taken to be on a GPU whose kernels are the emulated ones."""
    kernels = Kernels()
    monkeypatch.setattr(devices, "kernels_of", lambda function, device: kernels)
    stays = lambda group, param: bool(group.get("capturable") or group.get("fused"))  # noqa: E731
    monkeypatch.setattr(devices, "stays", stays)
    return kernels


def parameters():
    return [torch.nn.Parameter(start.clone()) for start in START]


def step(optimizer, params, grads):
    for param, grad in zip(params, grads):
        param.grad = grad.clone()
    optimizer.step()


def trained(name, **options):
    params = parameters()
    optimizer = getattr(ft, name)(params, **{**CLASSES[name], **options})
    for grads in GRADS[:STEPS]:
        step(optimizer, params, grads)
    return params, optimizer


def on_the_cpu(monkeypatch, run, *arguments, **options):
    """What the function returns with the CPU's own kernels."""
    with monkeypatch.context() as patch:
        for name, function in OWN.items():
            patch.setattr(devices, name, function)
        return run(*arguments, **options)


def assert_same(found, wanted):
    assert_close(found[0], wanted[0], "parameters", "trajectory")
    mine, theirs = ([optimizer.state[param] for param in params] for params, optimizer in (found, wanted))
    assert [entries.keys() for entries in mine] == [entries.keys() for entries in theirs]
    for key in {key for entries in mine for key in entries}:
        values = [[entries[key] for entries in states if key in entries] for states in (mine, theirs)]
        assert_close(*values, key, "trajectory")


@pytest.mark.parametrize("name", CLASSES)
def test_steps_are_those_of_the_cpu(name, monkeypatch):
    options = {"fused": None} if name == "SGD" else {}
    assert_same(trained(name, **options), on_the_cpu(monkeypatch, trained, name, **options))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_steps_whose_numbers_stay_on_the_gpu(name, monkeypatch):
    stays = {} if name == "SGD" else {"capturable": True}
    found = trained(name, **stays)
    assert found[1].last_step_skipped is None
    plain = {"fused": None} if name == "SGD" else {}
    assert_same(found, on_the_cpu(monkeypatch, trained, name, **plain))


@pytest.mark.parametrize("options", [{"clip_norm": 2.0}, {"skip_nonfinite": True}], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_what_depends_on_all_gradients(options, groups, monkeypatch):
    def run(**more):
        params = parameters()
        halves = [{"params": params[:4]}, {"params": params[4:], "weight_decay": 0.2}]
        optimizer = ft.AdamW(halves if groups == 2 else params, lr=0.05, **options, **more)
        for t, grads in enumerate(GRADS[:STEPS]):
            spoilt = t in (0, 3) and "skip_nonfinite" in options
            step(optimizer, params, [grad * (float("inf") if spoilt else 1.0) for grad in grads])
        return params, optimizer

    found = run(capturable=True)
    assert_same(found, on_the_cpu(monkeypatch, run))
    assert found[1].state[found[0][3]]["step"].item() == STEPS - (2 if "skip_nonfinite" in options else 0)


def test_gradscaler_without_waiting(monkeypatch):
    """Its flag and its scale go to the kernel as they are; a step that is skipped doesn't count."""
    found = trained("AdamW")
    params = parameters()
    optimizer = ft.AdamW(params, capturable=True, **CLASSES["AdamW"])
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: pytest.fail("waits"))
    for t, grads in enumerate(GRADS[: STEPS + 1]):
        skipped = t == 2
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(float(skipped))
        fresh = GRADS[t - (t > 2)]
        step(optimizer, params, [8 * grad for grad in (grads if skipped else fresh)])
        del optimizer.grad_scale, optimizer.found_inf
        if skipped:
            assert all(optimizer.state[param]["step"] == 2 for param in params)
    monkeypatch.undo()
    assert_close(params, found[0], "parameters", "trajectory")


def test_counters_come_from_a_checkpoint_and_go_into_one():
    params, optimizer = trained("AdamW", capturable=True)
    saved = copy.deepcopy(optimizer.state_dict())
    others = [torch.nn.Parameter(param.detach().clone()) for param in params]
    reference = torch.optim.AdamW(others, **CLASSES["AdamW"])
    reference.load_state_dict(saved)
    reference.param_groups[0]["capturable"] = False  # which torch refuses on the CPU
    again = ft.AdamW(params, capturable=True, **CLASSES["AdamW"])
    again.load_state_dict(copy.deepcopy(reference.state_dict()))
    again.param_groups[0]["capturable"] = True
    for grads in GRADS[STEPS : STEPS + 3]:
        step(again, params, grads)
        step(reference, others, grads)
    assert_close(params, others, "parameters", "trajectory")
    assert again.state[params[3]]["step"].item() == STEPS + 3


@pytest.mark.parametrize("dtype", ["bfloat16", "8 bits"])
def test_stored_states(dtype, monkeypatch):
    options = {"state_dtype": torch.uint8 if dtype == "8 bits" else torch.bfloat16, "min_8bit_size": 100}
    found, wanted = trained("AdamW", **options), on_the_cpu(monkeypatch, trained, "AdamW", **options)
    for one, other in zip(found[0], wanted[0]):
        torch.testing.assert_close(one, other, rtol=0, atol=3e-3)


def test_counters_stay_for_all_or_for_none():
    params = parameters()
    optimizer = ft.AdamW([{"params": params[:4], "capturable": True}, {"params": params[4:]}], lr=0.1)
    with pytest.raises(
        ValueError, match="AdamW: capturable or fused must be the same for all parameters, .*got True f"
    ):
        step(optimizer, params, GRADS[0])


def test_capturable_needs_a_gpu(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match="AdamW: capturable must be False, got True. Steps on the CPU can't be captur"):
        ft.AdamW(parameters(), capturable=True)
