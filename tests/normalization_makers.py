"""Makers of rows, as in makers.py, for batch and layer normalization."""

import numpy as np
import references
from case import Case
from makers import blank, label, normal


def _data(rng, rows, columns, axis, offset):
    """x away from 0, by another distance and with another spread along each entry of the axis that has statistics."""
    shape = (1, columns) if axis == 0 else (rows, 1)
    spread = (0.5 + rng.random(shape)).astype(np.float32)
    return normal(rng, rows, columns) * spread + np.float32(offset) * normal(rng, *shape)


def _parameters(rng, columns, gamma, beta):
    return {"gamma": normal(rng, columns) if gamma else None, "beta": normal(rng, columns) if beta else None}


def _backward(kernel, forward, sizes, axis, eps, gamma, want, accumulate, in_place, offset, bench):
    rows, columns = sizes

    def make(rng):
        x = _data(rng, rows, columns, axis, offset)
        kept = forward(x.astype(np.float64))
        grads = {name: None if name not in want else (normal(rng, columns) if accumulate else blank(columns))
                 for name in ("dgamma", "dbeta")}  # fmt: skip
        arrays = {"x": x, "gamma": normal(rng, columns) if gamma else None}
        arrays |= {name: kept[name].astype(np.float32) for name in ("mean", "inv_std")}
        dx = blank(rows, columns) if "dx" in want else None
        return {**arrays, "dy": normal(rng, rows, columns), **grads, "dx": dx}

    lacking = "".join(name for name in ("dgamma", "dbeta", "dx") if name not in want) or None
    name = label(rows, columns, gamma=gamma, without=lacking, accumulate=accumulate, in_place=in_place, offset=offset)
    alias = {"dx": "dy"} if in_place else {}
    return Case(kernel, name, make, want, "sum", {"accumulate": accumulate}, alias, bench, flops=9 * rows * columns)


ALL = ("dgamma", "dbeta", "dx")


def batch_norm(rows, c, momentum=0.99, eps=1e-3, gamma=True, beta=True, want=ALL, accumulate=False, in_place=False,
               offset=1.0, bench=False):  # fmt: skip
    def forward(rng):
        arrays = {"x": _data(rng, rows, c, 0, offset), **_parameters(rng, c, gamma, beta)}
        arrays |= {"y": blank(rows, c), "mean": blank(c), "inv_std": blank(c)}
        return {**arrays, "moving_mean": normal(rng, c), "moving_variance": 1 + normal(rng, c) ** 2}

    def inference(rng):
        arrays = {"x": _data(rng, rows, c, 0, offset), **_parameters(rng, c, gamma, beta)}
        mean = normal(rng, c) if beta else None
        return {**arrays, "mean": mean, "variance": 0.5 + normal(rng, c) ** 2, "y": blank(rows, c)}

    def kept(x):
        averages = np.zeros(c), np.ones(c)
        return references.batch_norm_forward(x, None, None, None, None, None, *averages, momentum=0, eps=eps)

    name = label(rows, c, gamma=gamma, beta=beta, momentum=momentum, eps=eps, in_place=in_place, offset=offset)
    outputs = ("y", "mean", "inv_std", "moving_mean", "moving_variance")
    rows_of_table = [
        Case("batch_norm_forward", name, forward, outputs, "sum", {"momentum": momentum, "eps": eps}, bench=bench,
             flops=6 * rows * c),
        Case("batch_norm_inference", name, inference, ("y",), "sum", {"eps": eps}, {"y": "x"} if in_place else {},
             bench, flops=2 * rows * c),
        _backward("batch_norm_backward", kept, (rows, c), 0, eps, gamma, want, accumulate, in_place, offset, bench),
    ]  # fmt: skip
    return rows_of_table if want == ALL else rows_of_table[-1:]


def layer_norm(rows, c, eps=1e-3, gamma=True, beta=True, keep=True, want=ALL, accumulate=False, in_place=False,
               offset=1.0, bench=False):  # fmt: skip
    def forward(rng):
        arrays = {"x": _data(rng, rows, c, 1, offset), **_parameters(rng, c, gamma, beta), "y": blank(rows, c)}
        return {**arrays, "mean": blank(rows) if keep else None, "inv_std": blank(rows) if keep else None}

    def kept(x):
        return references.layer_norm_forward(x, None, None, None, None, None, eps)

    name = label(rows, c, gamma=gamma, beta=beta, keep=keep, eps=eps, offset=offset)
    rows_of_table = [
        Case("layer_norm_forward", name, forward, ("y", "mean", "inv_std") if keep else ("y",), "sum", {"eps": eps},
             bench=bench, flops=6 * rows * c),
        _backward("layer_norm_backward", kept, (rows, c), 1, eps, gamma, want, accumulate, in_place, offset, bench),
    ]  # fmt: skip
    return rows_of_table if want == ALL else rows_of_table[-1:]
