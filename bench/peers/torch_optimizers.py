"""torch.optim's steps, and what of them is the same with another optimizer in torch: parameters, networks, training."""

import problems
import torch
from torch import nn


def parameters(params, grads, dtype=torch.float32):
    """Parameters in memory of torch's own, with their gradients."""
    made = [nn.Parameter(torch.from_numpy(array).to(dtype, copy=True)) for array in params]
    for param, grad in zip(made, grads):
        param.grad = torch.from_numpy(grad).to(dtype, copy=True)
    return made


def adamw(params, **form):
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=1e-2, **form)


def rmsprop(params, **form):
    return torch.optim.RMSprop(params, lr=1e-3, **form)


def rmsprop_centered(params, **form):
    return torch.optim.RMSprop(params, lr=1e-3, momentum=0.9, centered=True, **form)


def sgd_momentum(params, **form):
    return torch.optim.SGD(params, lr=1e-3, momentum=0.9, **form)


def step(make, dtype=torch.float32):
    def build(variant, shapes):
        params = parameters(*problems.optimizer_data(shapes), dtype)
        form = {name: name == variant.split(",")[0] for name in ("fused", "foreach")}
        if make in (rmsprop, rmsprop_centered):
            del form["fused"]  # torch has none
        return make(params, **form).step

    return build


_FORMS = ["fused", "foreach", "single"]
TASKS = {
    "adamw": (_FORMS, step(adamw)),
    "rmsprop": (_FORMS[1:], step(rmsprop)),
    "rmsprop_centered": (_FORMS[1:], step(rmsprop_centered)),
    "sgd_momentum": (_FORMS, step(sgd_momentum)),
    "adamw_bf16": (_FORMS, step(adamw, torch.bfloat16)),
    # What fastnn's other ways of storing stand in for.
    "adamw_remainder": (["fused, all fp32"], step(adamw)),
    "adamw_8bit": (["fused, all fp32"], step(adamw)),
}
