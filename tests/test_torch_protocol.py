"""fastnn.torch in what surrounds a step: groups, learning rates and schedulers, closures, hooks, torch.compile."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch_runs import (
    FULL,
    GRADS,
    STEPS,
    advance,
    assert_equal,
    assert_same_run,
    named,
    ours,
    parameters,
    theirs,
)

import fastnn.torch as ft

full = pytest.mark.parametrize("row", FULL, ids=named)
HALF = STEPS // 2


@full
def test_groups_and_one_that_is_added_later(row):
    name, options = row

    def run(make, dtype):
        params = parameters(dtype)
        groups = [{"params": params[:3], "lr": 0.004}, {"params": params[3:6], "weight_decay": 0.3}]
        optimizer = make(groups, **options)
        advance(optimizer, params, GRADS[:HALF])
        optimizer.add_param_group({"params": params[6:], "lr": 0.007})
        advance(optimizer, params, GRADS[HALF:])
        return optimizer, params

    assert_same_run(*run(ours(name), torch.float32), *run(theirs(name), torch.float64))


def test_named_parameters():
    model = torch.nn.Linear(3, 2)
    optimizer = ft.AdamW(model.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    assert "Parameter Group 0" in repr(optimizer)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_tensors_as_learning_rates(name, shape):
    """A scheduler changes such a tensor in place."""

    def run(lr):
        params = parameters()
        optimizer = ours(name)(params, lr=lr)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        advance(optimizer, params, GRADS[:20], after=lambda t: scheduler.step())
        return params

    assert_equal(run(torch.full(shape, 0.25)), run(0.25))


def test_tensors_as_other_options():
    def run(options):
        params = parameters()
        optimizer = ft.Adam(params, **options)

        def change(t):
            for beta in optimizer.param_groups[0]["betas"]:
                if isinstance(beta, torch.Tensor):
                    beta.fill_(0.75)
            if not isinstance(options["betas"][0], torch.Tensor):
                optimizer.param_groups[0]["betas"] = (0.75, 0.75)

        advance(optimizer, params, GRADS[:5], after=change)
        return params

    assert_equal(run({"betas": (torch.tensor(0.5), torch.tensor(0.5))}), run({"betas": (0.5, 0.5)}))


SCHEDULERS = {
    "LambdaLR": lambda o, s: s.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o, s: s.MultiplicativeLR(o, lambda t: 0.95),
    "StepLR": lambda o, s: s.StepLR(o, 4),
    "MultiStepLR": lambda o, s: s.MultiStepLR(o, [5, 11]),
    "ConstantLR": lambda o, s: s.ConstantLR(o, 0.5, 7),
    "LinearLR": lambda o, s: s.LinearLR(o, 0.1, total_iters=9),
    "ExponentialLR": lambda o, s: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o, s: s.PolynomialLR(o, 15, 2.0),
    "CosineAnnealingLR": lambda o, s: s.CosineAnnealingLR(o, 8),
    "CosineAnnealingWarmRestarts": lambda o, s: s.CosineAnnealingWarmRestarts(o, 5),
    "CyclicLR": lambda o, s: s.CyclicLR(o, 0.001, 0.1, 4),  # changes momentum or betas, too
    "OneCycleLR": lambda o, s: s.OneCycleLR(o, 0.1, total_steps=40),  # as well
    "SequentialLR": lambda o, s: s.SequentialLR(o, [s.LinearLR(o, 0.1), s.ExponentialLR(o, 0.9)], [6]),
    "ChainedScheduler": lambda o, s: s.ChainedScheduler([s.ConstantLR(o, 0.5, 7), s.ExponentialLR(o, 0.9)]),
    "ReduceLROnPlateau": lambda o, s: s.ReduceLROnPlateau(o, patience=2),
    "SWALR": lambda o, s: torch.optim.swa_utils.SWALR(o, 0.005),
}


def test_all_schedulers_are_here():
    module = torch.optim.lr_scheduler
    found = {n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, module.LRScheduler)}
    assert {name for name in found if not name.startswith("_")} - {"LRScheduler"} <= set(SCHEDULERS)


@pytest.mark.filterwarnings("error")  # no complaint of the order of optimizer.step() and scheduler.step()
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("row", [FULL[0], FULL[2]], ids=named)
def test_schedulers(row, name):
    optimizer_name, options = row

    def run(make, dtype):
        params = parameters(dtype)
        optimizer = make(params, **options)
        scheduler = SCHEDULERS[name](optimizer, torch.optim.lr_scheduler)
        value = (1.0,) if name == "ReduceLROnPlateau" else ()
        advance(optimizer, params, GRADS[:25], after=lambda t: scheduler.step(*value))
        return optimizer, params

    optimizer, params = run(ours(optimizer_name), torch.float32)
    wanted_optimizer, wanted = run(theirs(optimizer_name), torch.float64)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted_optimizer.param_groups[0]["lr"])
    assert_same_run(optimizer, params, wanted_optimizer, wanted)


def test_closures():
    param = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = ft.SGD([param], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():  # a closure may differentiate all the same
        assert optimizer.step(closure).item() == 9.0
    assert param.item() == 1.5
    assert optimizer.step() is None


def test_hooks_and_the_profiler():
    param = torch.nn.Parameter(torch.ones(2))
    optimizer, calls = ft.SGD([param], lr=0.5), []
    param.grad = torch.ones(2)
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append(("before", o is optimizer))),
        optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append(("after", param[0].item()))),
        register_optimizer_step_pre_hook(lambda o, *_: calls.append(("all", o is optimizer))),
        register_optimizer_step_post_hook(lambda o, *_: calls.append(("all after", True))),
    ]
    optimizer.step()
    assert calls == [("all", True), ("before", True), ("after", 0.5), ("all after", True)]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(calls) == 4 and param[0].item() == 0.0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    assert any(event.key.startswith("Optimizer.step#SGD.step") for event in profile.key_averages())


def test_hooks_of_the_state():
    params = parameters()
    optimizer, calls = ft.AdamW(params), []
    optimizer.register_state_dict_post_hook(lambda o, state: calls.append("saved"))
    optimizer.register_load_state_dict_post_hook(lambda o: calls.append("loaded"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["saved", "loaded"]


def test_a_graph_from_before_the_step_is_refused():
    """As by torch: autograd is told that the parameters were changed."""
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = ft.SGD([param], lr=0.1)
    loss = (param * param).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.filterwarnings("error")
def test_steps_of_a_compiled_function():
    """torch.compile goes around it."""
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = ft.SGD([param], lr=0.25)

    def step():
        optimizer.zero_grad()
        param.square().sum().backward()
        optimizer.step()

    compiled = torch.compile(step, backend="eager")
    for expected in (0.5, 0.25, 0.125):
        compiled()
        assert (param == expected).all()
