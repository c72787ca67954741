"""Optimizers that torch doesn't have, in plain torch: what fastnn.torch's classes of the same names must do."""

import torch


class _Plain(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self.update(param, -param.grad if group["maximize"] else param.grad, self.state[param], **group)
        return loss


class Lion(_Plain):
    """Chen et al. 2023, algorithm 2."""

    def __init__(
        self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, *, maximize=False, decoupled_weight_decay=True
    ):
        options = {"maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, **options})

    def update(self, p, g, state, lr, betas, weight_decay, decoupled_weight_decay, **rest):
        m = state.setdefault("exp_avg", torch.zeros_like(p))
        if decoupled_weight_decay:
            p.mul_(1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        p.sub_(lr * torch.sign(betas[0] * m + (1 - betas[0]) * g))
        m.mul_(betas[1]).add_((1 - betas[1]) * g)
