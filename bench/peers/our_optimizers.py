"""fastnn's optimizer steps through each of its ways in: NumPy arrays, torch's parameters, JAX's trees."""

import importlib.util

import numpy as np
import problems

from fastnn import functional


def functional_step(task):
    """The step over NumPy arrays, whose states are zeros."""
    function, slots, options = {
        "adamw": (functional.adamw_, 2, {"weight_decay": 1e-2}),
        "rmsprop": (functional.rmsprop_, 1, {}),
        "rmsprop_centered": (functional.rmsprop_, 3, {"momentum": 0.9, "centered": True}),
        "sgd_momentum": (functional.sgd_, 1, {"momentum": 0.9}),
    }[task]

    def build(shapes):
        params, grads = problems.optimizer_data(shapes)
        states = [[np.zeros_like(param) for param in params] for _ in range(slots)]
        count = [0]

        def step():
            count[0] += 1
            if function is functional.rmsprop_:
                function(params, grads, *states, lr=1e-3, **options)
            else:
                function(params, grads, *states, step=count[0], lr=1e-3, **options)

        return step

    return build


def torch_step(task):
    """The step over parameters of torch."""

    def build(shapes):
        import torch
        from torch_optimizers import parameters

        import fastnn.torch

        torch.set_num_threads(problems.threads())
        params = parameters(*problems.optimizer_data(shapes))
        make = {
            "adamw": lambda: fastnn.torch.AdamW(params, lr=1e-3, weight_decay=1e-2),
            "rmsprop": lambda: fastnn.torch.RMSprop(params, lr=1e-3),
            "rmsprop_centered": lambda: fastnn.torch.RMSprop(params, lr=1e-3, momentum=0.9, centered=True),
            "sgd_momentum": lambda: fastnn.torch.SGD(params, lr=1e-3, momentum=0.9),
        }[task]
        return make().step

    return build


def jax_step(task):
    """The step over a list of JAX arrays, compiled, parameters and state donated."""

    def build(shapes):
        import jax
        import jax_steps

        import fastnn.jax

        optimizer = jax_steps.OPTIMIZERS[task](fastnn.jax)

        def update(params, state, grads):
            return optimizer.fused_apply(params, grads, state)

        return jax_steps.run(optimizer, jax.jit(update, donate_argnums=(0, 1)), shapes)

    return build


def trained_by_torch(task):
    """A network of torch, trained by `fastnn.torch.Adam`."""

    def build(variant, **parameters):
        import torch_peer

        import fastnn.torch

        return torch_peer.trained(task, fastnn.torch.Adam, **parameters)

    return build


_INSTALLED = [way for way in ("torch", "jax") if importlib.util.find_spec(way)]
_WAYS = {"functional": functional_step, "torch": torch_step, "jax": jax_step}


def _of_all_ways(task):
    builders = {way: _WAYS[way](task) for way in ("functional", *_INSTALLED)}
    return list(builders), lambda variant, shapes: builders[variant](shapes)


TASKS = {task: _of_all_ways(task) for task in ("adamw", "rmsprop", "rmsprop_centered", "sgd_momentum")}
if "torch" in _INSTALLED:
    TASKS |= {f"torch_{task}": (["torch"], trained_by_torch(task)) for task in ("mlp", "cnn")}
