"""What the tests of fastnn.torch share: awkward parameters, gradients for 60 steps, runs by torch's class and ours."""

import copy

import numpy as np
import pytest
import torch
import torch_references
from tolerances import difference

import fastnn.torch as ft

STEPS = 60
SHAPES = [(), (0,), (1,), (15,), (16,), (17,), (3, 11), (97,), (4, 3, 5, 5), (40, 33)]


def numbers(shape, seed, scale=1.0):
    values = scale * np.random.default_rng(seed).standard_normal(shape)
    return torch.tensor(values, dtype=torch.float32)


START = [numbers(shape, i) for i, shape in enumerate(SHAPES)]
GRADS = [[numbers(shape, 1000 + 100 * t + i, 3.0) for i, shape in enumerate(SHAPES)] for t in range(STEPS)]

# Every class with options that aren't its defaults, one by one and together.
ROWS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.8}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.03, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-3}),
    ("Adam", {"lr": 0.03, "amsgrad": True}),
    ("Adam", {"lr": 0.03, "maximize": True, "weight_decay": 0.1, "amsgrad": True, "betas": (0.7, 0.9)}),
    ("Adam", {"lr": 0.03, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
    ("AdamW", {"lr": 0.03, "amsgrad": True, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "eps": 1e-3, "initial_accumulator_value": 0.2, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.3, "maximize": True}),
    ("Lion", {}),
    ("Lion", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.2}),
    ("Lion", {"lr": 0.02, "maximize": True}),
    ("Lion", {"lr": 0.02, "weight_decay": 0.2, "decoupled_weight_decay": False}),
    ("LAMB", {}),
    ("LAMB", {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.2, "exclude_vectors": True}),
    ("LAMB", {"lr": 0.05, "maximize": True, "bias_correction": False, "decoupled_weight_decay": True}),
    ("LARS", {}),
    ("LARS", {"lr": 0.5, "momentum": 0.7, "weight_decay": 0.2, "trust_coefficient": 0.1, "exclude_vectors": True}),
    ("LARS", {"lr": 0.5, "momentum": 0.0, "eps": 0.1, "maximize": True, "trust_coefficient": 0.05}),
    ("LARS", {"lr": 0.1, "nesterov": True, "weight_decay": 0.2, "decoupled_weight_decay": True}),
    ("Muon", {}),
    ("Muon", {"lr": 0.05, "momentum": 0.8, "nesterov": False, "weight_decay": 0.3, "adjust_lr_fn": "match_rms_adamw"}),
    ("Muon", {"lr": 0.05, "ns_coefficients": (3.0, -3.2, 1.2), "ns_steps": 3, "eps": 50.0, "maximize": True}),
    ("Muon", {"lr": 0.05, "adamw_betas": (0.8, 0.9), "adamw_eps": 1e-3, "adamw_lr_ratio": 0.5, "use_muon": False}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.02, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.7}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.8, "centered": True}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.8, "centered": True, "momentum": 0.7, "weight_decay": 0.1}),
]
# One of each, with all the state that it can have.
FULL = [
    ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.03, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.03, "betas": (0.8, 0.95)}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.8, "centered": True, "momentum": 0.7}),
    ("Adagrad", {"lr": 0.3, "lr_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("LAMB", {"lr": 0.05, "betas": (0.8, 0.9), "weight_decay": 0.2}),
    ("LARS", {"lr": 0.5, "momentum": 0.7, "weight_decay": 0.2, "trust_coefficient": 0.1}),
    ("Muon", {"lr": 0.05, "momentum": 0.8, "adamw_betas": (0.8, 0.9), "adamw_lr_ratio": 0.5}),
    ("Lion", {"lr": 0.02, "betas": (0.75, 0.875), "weight_decay": 0.2}),  # exact: rounding must not decide on a sign
]


@pytest.fixture
def one_thread():
    """Of torch's: more make operations as small as these no faster, and much slower where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def named(row):
    name, options = row
    return f"{name}-{'-'.join(options)}"


def ours(name):
    return getattr(ft, name)


def theirs(name):
    """Torch's class, or one that says what's right where torch has none, or multiplies in bfloat16."""
    return getattr(torch_references, name) if hasattr(torch_references, name) else getattr(torch.optim, name)


def is_torchs(name):
    return hasattr(torch.optim, name)


def parameters(dtype=torch.float32, start=None):
    return [torch.nn.Parameter(value.to(dtype).clone()) for value in (START if start is None else start)]


def advance(optimizer, params, *args, **options):
    """As `_advance`. Torch's classes get one thread: a busy machine makes two of them slower by a hundred times."""
    threads = torch.get_num_threads()
    if not isinstance(optimizer, ft.Optimizer):
        torch.set_num_threads(1)
    _advance(optimizer, params, *args, **options)
    torch.set_num_threads(threads)


def _advance(optimizer, params, grads=None, before=None, after=None, set_to_none=True):
    """Steps with gradients that don't depend on the parameters; `before` and `after` get the number of each step."""
    for t, fresh in enumerate(GRADS if grads is None else grads):
        optimizer.zero_grad(set_to_none)
        for param, grad in zip(params, fresh):
            if grad is not None:
                value = grad.to(param.dtype).clone()
                if param.grad is None:
                    param.grad = value
                else:
                    param.grad.copy_(value)
        if before:
            before(t)
        optimizer.step()
        if after:
            after(t)


def states(optimizer, params):
    """{name: states of all parameters that have it} for the tensors of the parameters' shapes, and the steps."""
    names = dict.fromkeys(name for param in params for name in optimizer.state.get(param, {}))
    return {name: [optimizer.state[p][name] for p in params if name in optimizer.state.get(p, {})] for name in names}


def flat(tensors):
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors] or [np.empty(0)])


def assert_close(actual, expected, what, tolerance="optimizer"):
    found = difference(flat(actual), flat(expected), tolerance)
    assert not found, f"{what}: {found}"


def assert_same_run(optimizer, params, reference, wanted, tolerance="optimizer"):
    """Parameters and states agree; those of the reference may be of float64."""
    assert_close(params, wanted, "parameters", tolerance)
    own, other = states(optimizer, params), states(reference, wanted)
    assert own.keys() == other.keys()
    for name in other:
        assert_close(own[name], other[name], name, tolerance)


def assert_equal(actual, expected):
    """To the bit."""
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)


def saved(optimizer):
    """The state dict, with nothing that the optimizer goes on changing."""
    return copy.deepcopy(optimizer.state_dict())
