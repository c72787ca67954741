"""fastnn.torch in a training that was written for torch.optim: checkpoints, groups, schedulers, hooks, scaling."""

import copy
import io
import pickle

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch_runs import (
    FULL,
    GRADS,
    SHAPES,
    START,
    STEPS,
    advance,
    assert_close,
    assert_equal,
    assert_same_run,
    named,
    numbers,
    ours,
    parameters,
    saved,
    states,
    theirs,
)

import fastnn.torch as ft
from fastnn.torch import native

full = pytest.mark.parametrize("row", FULL, ids=named)
HALF = STEPS // 2


def reference(row):
    """Torch's class in float64, all steps."""
    name, options = row
    params = parameters(torch.float64)
    optimizer = theirs(name)(params, **options)
    advance(optimizer, params)
    return optimizer, params


# ---- states and checkpoints


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


@full
@pytest.mark.parametrize("fused", [False, True])
def test_the_state_is_torchs_key_by_key(row, fused):
    name, options = row
    if fused and name == "RMSprop":
        pytest.skip("torch has no fused RMSprop")
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


# ---- groups, learning rates, closures, hooks


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


def test_steps_of_a_compiled_function():
    """torch.compile goes around it."""
    param, other = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = ft.SGD([param], lr=0.5)

    def step():
        optimizer.zero_grad()
        param.square().sum().backward()
        optimizer.step()

    torch.compile(step, backend="eager")()
    torch.optim.SGD([other], lr=0.5)
    assert (param == 0).all()


# ---- gradients


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    params = parameters()
    optimizer = ft.AdamW(params)
    advance(optimizer, params, GRADS[:2])
    optimizer.zero_grad(set_to_none=set_to_none)
    assert all(param.grad is None if set_to_none else not param.grad.any() for param in params)
    advance(optimizer, params, GRADS[2:5], set_to_none=set_to_none)
    expected = parameters()
    advance(ft.AdamW(expected), expected, GRADS[:5])
    assert_equal(params, expected)


@full
def test_parameters_without_gradient(row):
    """Some in some steps: their states and step counters stay behind, as torch's."""
    name, options = row
    grads = [[g if (t + i) % 3 and i != 4 else None for i, g in enumerate(fresh)] for t, fresh in enumerate(GRADS)]

    def run(make, dtype):
        params = parameters(dtype)
        optimizer = make(params, **options)
        advance(optimizer, params, grads)
        return optimizer, params

    optimizer, params = run(ours(name), torch.float32)
    assert params[4] not in optimizer.state
    assert_same_run(optimizer, params, *run(theirs(name), torch.float64))


def test_no_gradient_at_all():
    params = parameters()
    optimizer = ft.AdamW(params)
    optimizer.step()
    assert not optimizer.state
    assert_equal(params, START)


# ---- GradScaler


def scaled_run(make, between=lambda scaler, optimizer: None, spoil=(), **extra):
    """Twelve steps whose gradients autograd scales; in the steps of `spoil` one of them overflows."""
    params = parameters()
    optimizer = make(params, lr=0.05, **extra)
    scaler, skipped, grads = torch.amp.GradScaler("cpu", init_scale=96.0, growth_interval=4), [], []
    for t, fresh in enumerate(GRADS[:12]):
        optimizer.zero_grad()
        loss = sum((param * grad).sum() for param, grad in zip(params, fresh))
        scaler.scale(loss * float("inf") if t in spoil else loss).backward()
        between(scaler, optimizer)
        scaler.step(optimizer)
        skipped.append(getattr(optimizer, "last_step_skipped", None))
        grads.append([param.grad.clone() for param in params])
        scaler.update()
    return params, optimizer, skipped, grads, scaler.get_scale()


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients(unscale, fused):
    def between(scaler, optimizer):
        if unscale:  # once here, and not again in the step
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 20.0)

    spoil = (0, 5, 6)
    params, optimizer, skipped, grads, scale = scaled_run(ft.AdamW, between, spoil)
    wanted, reference_optimizer, _, wanted_grads, wanted_scale = scaled_run(
        torch.optim.AdamW, between, spoil, fused=fused
    )
    assert skipped == [t in spoil for t in range(12)] and scale == wanted_scale
    assert_same_run(optimizer, params, reference_optimizer, wanted, "trajectory")
    assert states(optimizer, params)["step"][0].item() == 9
    for t in set(range(12)) - set(spoil):  # they are left as torch leaves them
        assert_close(grads[t], wanted_grads[t], "gradients", "trajectory")
    assert not hasattr(optimizer, "grad_scale") and not hasattr(optimizer, "found_inf")


def test_a_disabled_scaler():
    params = parameters()
    optimizer, scaler = ft.SGD(params, lr=0.1), torch.amp.GradScaler("cpu", enabled=False)
    for param, grad in zip(params, GRADS[0]):
        param.grad = grad.clone()
    scaler.step(optimizer)
    assert optimizer.last_step_skipped is False
    assert_close(params, [start - 0.1 * grad for start, grad in zip(START, GRADS[0])], "parameters")


# ---- parameters


def test_channels_last():
    model = torch.nn.Conv2d(3, 8, 3)
    model.weight.data = model.weight.data.to(memory_format=torch.channels_last)
    wanted = copy.deepcopy(model)
    optimizer, other = ft.AdamW(model.parameters()), torch.optim.AdamW(wanted.parameters())
    for t in range(5):
        for one, its in ((model, optimizer), (wanted, other)):
            its.zero_grad()
            x = numbers((2, 3, 8, 8), t).to(memory_format=torch.channels_last)
            one(x).square().sum().backward()
            its.step()
    assert_close(model.parameters(), wanted.parameters(), "parameters", "trajectory")
    state = optimizer.state[model.weight]["exp_avg"]
    assert state.is_contiguous(memory_format=torch.channels_last)
    assert_close([state], [other.state[wanted.weight]["exp_avg"]], "exp_avg", "trajectory")


def test_gradients_and_states_in_another_order_than_the_parameter():
    """Elements go together by their index: gradients are reordered, states that were made before are, too."""
    params, wanted = ([torch.nn.Parameter(START[9].clone())] for _ in range(2))
    optimizer, other = ft.AdamW(params), torch.optim.AdamW(wanted)
    for t in range(6):
        for one, its in ((params[0], optimizer), (wanted[0], other)):
            if t == 3:
                one.data = one.data.t().contiguous().t()  # as model.to(memory_format=torch.channels_last) does
            grad = GRADS[t][9].clone()
            one.grad = grad.t().contiguous().t() if t % 2 else grad
            its.step()
    assert_close(params, wanted, "parameters", "trajectory")


def test_parameters_replaced_and_moved_between_steps():
    params = parameters()
    optimizer = ft.AdamW(params, lr=0.05)
    advance(optimizer, params, GRADS[:5])
    params[9].data = params[9].data.clone()  # elsewhere
    state = optimizer.state.pop(params[6])  # another parameter, with the state of the one before
    params[6] = torch.nn.Parameter(params[6].detach().clone())
    optimizer.param_groups[0]["params"][6] = params[6]
    optimizer.state[params[6]] = state
    optimizer.state[params[5]]["exp_avg"] = optimizer.state[params[5]]["exp_avg"].clone()
    optimizer.state[params[7]]["exp_avg_sq"].data = optimizer.state[params[7]]["exp_avg_sq"].clone()
    advance(optimizer, params, GRADS[5:10])
    expected = parameters()
    untouched = ft.AdamW(expected, lr=0.05)
    advance(untouched, expected, GRADS[:10])
    assert_equal(params, expected)
    for name, tensors in states(untouched, expected).items():
        assert_equal(states(optimizer, params)[name], tensors)


@pytest.mark.parametrize("reset", ["clear", "replace", "delete", "pop a key"])
def test_states_that_are_taken_away_begin_anew(reset):
    def change(optimizer, params):
        if reset == "clear":
            optimizer.state.clear()
        elif reset == "replace":
            optimizer.state = type(optimizer.state)(dict)
        elif reset == "delete":
            for param in params:
                del optimizer.state[param]
        else:
            for param in params:
                optimizer.state[param].pop("exp_avg")
                optimizer.state[param]["step"].zero_()
                optimizer.state[param]["exp_avg_sq"].zero_()

    params = parameters()
    optimizer = ft.AdamW(params, lr=0.05)
    advance(optimizer, params, GRADS[:4])
    change(optimizer, params)
    expected = parameters(start=[param.detach() for param in params])
    advance(optimizer, params, GRADS[4:8])
    advance(ft.AdamW(expected, lr=0.05), expected, GRADS[4:8])
    assert_equal(params, expected)


def test_options_that_need_other_states():
    """AMSGrad and momentum can be switched on in the middle."""
    params = parameters()
    optimizer = ft.Adam(params)
    advance(optimizer, params, GRADS[:2])
    optimizer.param_groups[0]["amsgrad"] = True
    advance(optimizer, params, GRADS[2:4])
    assert "max_exp_avg_sq" in optimizer.state[params[0]]
    params, wanted = parameters(), parameters(torch.float64)
    for make, its in ((ft.SGD, params), (torch.optim.SGD, wanted)):
        optimizer = make(its, lr=0.1)
        advance(optimizer, its, GRADS[:2])
        optimizer.param_groups[0]["momentum"] = 0.9
        advance(optimizer, its, GRADS[2:4])
    assert_close(params, wanted, "parameters")


def test_tied_parameters():
    """One in two places of a model is one parameter."""
    model = torch.nn.Sequential(torch.nn.Embedding(11, 5), torch.nn.Linear(5, 11, bias=False))
    model[1].weight = model[0].weight
    wanted = copy.deepcopy(model)
    optimizer, other = ft.AdamW(model.parameters(), lr=0.1), torch.optim.AdamW(wanted.parameters(), lr=0.1)
    assert len(optimizer.param_groups[0]["params"]) == 1
    for t in range(5):
        for one, its in ((model, optimizer), (wanted, other)):
            its.zero_grad()
            torch.nn.functional.cross_entropy(one(torch.arange(7) + t % 4), torch.arange(7)).backward()
            its.step()
    assert_close(model.parameters(), wanted.parameters(), "parameters", "trajectory")


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
@pytest.mark.parametrize("row", [("SGD", {"lr": 0.05}), *FULL[1:]], ids=named)
def test_a_parameter_listed_twice_is_updated_twice(row):
    """As torch's loops do it."""
    name, options = row

    def run(make, dtype):
        first, second = parameters(dtype, [START[6], START[7]])
        optimizer = make([first, second, first], **options)
        advance(optimizer, [first, second], [[grads[6], grads[7]] for grads in GRADS[:10]])
        return optimizer, [first, second]

    assert_same_run(*run(ours(name), torch.float32), *run(theirs(name), torch.float64))


def test_two_parameters_in_the_same_memory():
    memory = torch.ones(4)
    one, two = torch.nn.Parameter(memory), torch.nn.Parameter(memory)
    optimizer = ft.SGD([one, two], lr=1.0)
    one.grad, two.grad = torch.full((4,), 0.25), torch.full((4,), 0.5)
    optimizer.step()
    assert (memory == 0.25).all()


@full
def test_the_same_training_is_the_same_to_the_bit(row):
    name, options = row
    runs = []
    for _ in range(2):
        params = parameters()
        advance(ours(name)(params, **options), params, GRADS[:10])
        runs.append(params)
    assert_equal(*runs)


@full
def test_without_a_look_from_c(row, monkeypatch):
    """Torch before 2.10 doesn't have DLPack's exchange API: everything is looked at from Python then."""
    name, options = row
    params = parameters()
    optimizer = ours(name)(params, **options)
    monkeypatch.setattr(native, "can_watch", False)
    advance(optimizer, params)
    assert optimizer._plan is None
    monkeypatch.undo()
    expected = parameters()
    advance(ours(name)(expected, **options), expected)
    assert_equal(params, expected)


def test_a_training():
    """Loss and parameters of a small network that learns, in float32 by torch and by us."""

    def run(make):
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
        optimizer = make(model.parameters(), lr=0.01)
        x, y, losses = numbers((64, 20), 1), torch.arange(64) % 4, []
        for _ in range(80):
            optimizer.zero_grad()
            losses.append(torch.nn.functional.cross_entropy(model(x), y))
            losses[-1].backward()
            optimizer.step()
        return torch.stack(losses).detach(), list(model.parameters())

    (losses, params), (wanted_losses, wanted) = run(ft.AdamW), run(torch.optim.AdamW)
    assert losses[-1] < 0.3 * losses[0]
    assert_close([losses], [wanted_losses], "losses", "training")
    assert_close(params, wanted, "parameters", "training")


def test_shapes_are_awkward():
    assert {(), (0,), (1,)} <= set(SHAPES) and len(GRADS) >= 50
