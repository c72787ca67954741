"""Makers of rows, as in makers.py, for recurrent layers."""

import numpy as np
import references
from case import Case
from makers import blank, label, normal

BLOCKS = {"simple_rnn": 1, "lstm": 4, "gru": 3}
ALL = ("dkernel", "drecurrent_kernel", "dbias", "dx")


def recurrent(kind, n, steps, features, units, bias=True, keep=True, y=True, want=ALL, bench=False, accumulate=False,
              **options):  # fmt: skip
    """The forward and the backward row of a layer.

    Args:
        keep: the forward kernel writes what the backward kernel needs.
        y: it writes y too.
        want: which gradients the backward kernel writes; not all: only that row.
    """
    options = {"activation": "tanh", "alpha": 0.0, "go_backwards": False, "return_sequences": False, **options}
    blocks = BLOCKS[kind]
    if kind != "simple_rnn":
        options = {"recurrent_activation": "sigmoid", "recurrent_alpha": 0.0, **options}
    if kind == "gru":
        options = {"reset_after": True, **options}
    kept = {"h": units} | {"simple_rnn": {}, "lstm": {"c": units, "gates": 4 * units}, "gru": {"gates": 4 * units}}[
        kind
    ]
    bias_shape = (2, 3 * units) if options.get("reset_after") else (blocks * units,)
    out = (n, steps, units) if options["return_sequences"] else (n, units)

    def weights(rng):
        size = np.float32(max(features + units, 1) ** -0.5)
        return {
            "x": normal(rng, n, steps, features),
            "kernel": size * normal(rng, features, blocks * units),
            "recurrent_kernel": size * normal(rng, units, blocks * units),
        }

    def forward(rng):
        given = {**weights(rng), "bias": normal(rng, *bias_shape) if bias else None, "y": blank(*out) if y else None}
        return given | {name: blank(n, steps, size) if keep else None for name, size in kept.items()}

    def backward(rng):
        given = weights(rng)
        exact = {name: array.astype(np.float64) for name, array in given.items()}
        run = getattr(references, f"{kind}_forward")
        states = run(**exact, bias=normal(rng, *bias_shape), y=None, **dict.fromkeys(kept), **options)
        shapes = dict(zip(ALL, (given["kernel"].shape, given["recurrent_kernel"].shape, bias_shape, given["x"].shape)))
        grads = {
            name: None if name not in want else normal(rng, *shape) if accumulate else blank(*shape)
            for name, shape in shapes.items()
        }
        given |= {name: states[name].astype(np.float32) for name in kept}
        return {**given, "dy": normal(rng, *out), "dz": blank(n, steps, (units if blocks == 1 else 4 * units)), **grads}

    default = {"activation": "tanh", "recurrent_activation": "sigmoid"}
    shown = {key: value for key, value in options.items() if value not in (default.get(key), 0.0)}
    shown["reset_before"] = options.get("reset_after") is False
    name = label(n, steps, features, units, bias=bias, keep=keep, y=y, **shown)
    lacking = "".join(name for name in ALL if name not in want) or None
    outputs = (("y",) if y else ()) + (tuple(kept) if keep else ())
    flops = 2 * n * steps * (features + units) * blocks * units
    rows = [
        Case(f"{kind}_forward", name, forward, outputs, "sum", options, bench=bench, flops=flops),
        Case(f"{kind}_backward", f"{name}-{label(without=lacking, accumulate=accumulate)}", backward, ("dz", *want),
             "sum", {**options, "accumulate": accumulate}, bench=bench, flops=2 * flops),
    ]  # fmt: skip
    return rows if want == ALL else rows[1:]
