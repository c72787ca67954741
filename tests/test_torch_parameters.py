"""fastnn.torch and parameters: layouts, replaced and moved ones, states taken away, tied ones."""

import copy

import pytest
import torch
from torch_runs import (
    FULL,
    GRADS,
    SHAPES,
    START,
    advance,
    assert_close,
    assert_equal,
    assert_same_run,
    named,
    numbers,
    one_thread,  # noqa: F401
    ours,
    parameters,
    states,
    theirs,
)

import fastnn.torch as ft
from fastnn.torch import native

full = pytest.mark.parametrize("row", FULL, ids=named)


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


def test_a_training(one_thread):  # noqa: F811
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
