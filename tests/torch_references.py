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


def _norm_ratio(p, u, group, coefficient=1.0, eps=0.0):
    adapted = (p.ndim > 1 or not group["exclude_vectors"]) and p.norm() > 0 and u.norm() > 0
    return coefficient * p.norm() / (u.norm() + eps) if adapted else 1.0


def _decay(p, group):
    return 0.0 if group["exclude_vectors"] and p.ndim < 2 else group["weight_decay"]


class LAMB(_Plain):
    """You et al. 2020, algorithm 2."""

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, *, bias_correction=True,
        exclude_vectors=False, maximize=False, decoupled_weight_decay=False,
    ):  # fmt: skip
        options = {key: value for key, value in locals().items() if key not in ("self", "params", "__class__")}
        super().__init__(params, options)

    def update(self, p, g, state, **group):
        (beta1, beta2), decay, t = group["betas"], _decay(p, group), float(state.get("step", 0.0)) + 1
        state["step"] = torch.tensor(t)
        m, v = (state.setdefault(name, torch.zeros_like(p)) for name in ("exp_avg", "exp_avg_sq"))
        m.mul_(beta1).add_((1 - beta1) * g)
        v.mul_(beta2).add_((1 - beta2) * g * g)
        corrections = (1 - beta1**t, 1 - beta2**t) if group["bias_correction"] else (1.0, 1.0)
        u = m / corrections[0] / ((v / corrections[1]).sqrt() + group["eps"])
        if group["decoupled_weight_decay"]:
            p.mul_(1 - group["lr"] * decay)
        else:
            u = u + decay * p
        p.sub_(group["lr"] * _norm_ratio(p, u, group) * u)


class LARS(_Plain):
    """You et al. 2017."""

    def __init__(
        self, params, lr=1e-3, momentum=0.9, weight_decay=0.0, trust_coefficient=0.001, eps=0.0, *, nesterov=False,
        exclude_vectors=False, maximize=False, decoupled_weight_decay=False,
    ):  # fmt: skip
        options = {key: value for key, value in locals().items() if key not in ("self", "params", "__class__")}
        super().__init__(params, options)

    def update(self, p, g, state, **group):
        if group["decoupled_weight_decay"]:
            p.mul_(1 - group["lr"] * _decay(p, group))
        else:
            g = g + _decay(p, group) * p
        u = _norm_ratio(p, g, group, group["trust_coefficient"], group["eps"]) * g
        if group["momentum"]:
            b = state.setdefault("momentum_buffer", torch.zeros_like(p))
            b.mul_(group["momentum"]).add_(u)
            u = u + group["momentum"] * b if group["nesterov"] else b
        p.sub_(group["lr"] * u)


class Muon(_Plain):
    """Jordan et al. 2024, in the parameters' own type; AdamW for what isn't a matrix."""

    def __init__(
        self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445, -4.775, 2.0315),
        eps=1e-7, ns_steps=5, adjust_lr_fn=None, *, use_muon=None, adamw_betas=(0.9, 0.999), adamw_eps=1e-8,
        adamw_lr_ratio=1.0, maximize=False,
    ):  # fmt: skip
        options = {key: value for key, value in locals().items() if key not in ("self", "params", "__class__")}
        super().__init__(params, options)

    def update(self, p, g, state, lr, weight_decay, momentum, **group):
        if group["use_muon"] is False or p.ndim != 2:
            lr = lr * group["adamw_lr_ratio"]
            p.mul_(1 - lr * weight_decay)
            return self.adam(p, g, state, lr, group["adamw_betas"], group["adamw_eps"])
        p.mul_(1 - lr * weight_decay)
        b = state.setdefault("momentum_buffer", torch.zeros_like(p))
        b.mul_(momentum).add_((1 - momentum) * g)
        x = momentum * b + (1 - momentum) * g if group["nesterov"] else b
        a1, a2, a3 = group["ns_coefficients"]
        x = x / x.norm().clamp(min=group["eps"])
        for _ in range(group["ns_steps"]):
            a = x @ x.T
            x = a1 * x + (a2 * a + a3 * a @ a) @ x
        m, n = p.shape
        p.sub_(
            lr * (0.2 * max(m, n) ** 0.5 if group["adjust_lr_fn"] == "match_rms_adamw" else max(1, m / n) ** 0.5) * x
        )

    def adam(self, p, g, state, lr, betas, eps):
        t = float(state.get("step", 0.0)) + 1
        state["step"] = torch.tensor(t)
        m, v = (state.setdefault(name, torch.zeros_like(p)) for name in ("exp_avg", "exp_avg_sq"))
        m.mul_(betas[0]).add_((1 - betas[0]) * g)
        v.mul_(betas[1]).add_((1 - betas[1]) * g * g)
        p.sub_(lr * m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + eps))
