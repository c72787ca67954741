"""fastnn's optimizer steps through each of its ways in: NumPy arrays, torch's parameters, JAX's trees."""

import importlib.util

import numpy as np
import problems

from fastnn import functional


def functional_step(task):
    """The step over NumPy arrays, whose states are zeros."""
    function, slots, options = {
        "rmsprop": (functional.rmsprop_, 1, {}),
        "rmsprop_centered": (functional.rmsprop_, 3, {"momentum": 0.9, "centered": True}),
        "sgd_momentum": (functional.sgd_, 1, {"momentum": 0.9}),
    }.get(task, (functional.adamw_, 2, {"weight_decay": 1e-2}))

    def build(shapes):
        params, grads = problems.optimizer_data(shapes)
        states = [[np.zeros_like(param) for param in params] for _ in range(slots)]
        params, grads, states, storage = stored(task, params, grads, states)
        count = [0]

        def step():
            count[0] += 1
            number = {} if function is functional.rmsprop_ else {"step": count[0]}
            function(params, grads, *states, lr=1e-3, **number, **options, **storage)

        return step

    return build


def stored(task, params, grads, states):
    """The arrays as the task stores them, and what else a step is told of that."""
    if task in ("adamw_bf16", "adamw_remainder"):
        from ml_dtypes import bfloat16

        params, grads = ([array.astype(bfloat16) for array in arrays] for arrays in (params, grads))
    if task == "adamw_bf16":
        states = [[np.zeros_like(param) for param in params] for _ in states]
    if task == "adamw_remainder":
        return params, grads, states, {"master": [np.zeros(param.shape, np.uint16) for param in params]}
    if task == "adamw_8bit":
        states = [[np.zeros(param.shape, np.uint8) for param in params] for _ in states]
        scales = [[np.zeros(-(-param.size // 256), np.float32) for param in params] for _ in states]
        return params, grads, states, {"scales": dict(zip(("exp_avg", "exp_avg_sq"), scales))}
    return params, grads, states, {}


def torch_step(task):
    """The step over parameters of torch."""

    def build(shapes):
        import torch
        from torch_optimizers import parameters

        import fastnn.torch

        torch.set_num_threads(problems.threads())
        dtype = torch.bfloat16 if task in ("adamw_bf16", "adamw_remainder") else torch.float32
        params = parameters(*problems.optimizer_data(shapes), dtype)
        make = {
            "adamw_bf16": lambda: fastnn.torch.AdamW(params, lr=1e-3, weight_decay=1e-2),
            "adamw_remainder": lambda: fastnn.torch.AdamW(
                params, lr=1e-3, weight_decay=1e-2, master="remainder", state_dtype=torch.float32
            ),
            "adamw_8bit": lambda: fastnn.torch.AdamW8bit(params, lr=1e-3, weight_decay=1e-2),
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
_TASKS = {
    **dict.fromkeys(("adamw", "rmsprop", "rmsprop_centered", "sgd_momentum"), ("functional", "torch", "jax")),
    **dict.fromkeys(("adamw_bf16", "adamw_remainder", "adamw_8bit"), ("functional", "torch")),
}


def _of_all_ways(task):
    builders = {way: _WAYS[way](task) for way in _TASKS[task] if way == "functional" or way in _INSTALLED}
    return list(builders), lambda variant, shapes: builders[variant](shapes)


TASKS = {task: _of_all_ways(task) for task in _TASKS}
if "torch" in _INSTALLED:
    TASKS |= {f"torch_{task}": (["torch"], trained_by_torch(task)) for task in ("mlp", "cnn")}
