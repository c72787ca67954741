"""Makers of rows, as in makers.py, for what training needs beside the layers: losses, metrics, optimizers, dropout."""

import inspect

import numpy as np
import references
from case import Case
from makers import blank, label, normal
from references.activations import softmax


def _predictions_and_truth(rng, kernel, n, c):
    """The first two arguments of a loss or metric, of the kind that their names say."""
    first, second = list(inspect.signature(getattr(references, kernel)).parameters)[:2]
    one_class = "binary" in kernel or kernel.startswith("sigmoid") or kernel == "confusion_counts"
    if first == "probs" or kernel == "confusion_counts":
        pred = rng.random((n, c)) if one_class else softmax(2 * rng.standard_normal((n, c)))
    else:
        pred = 3 * rng.standard_normal((n, c))
    pred = pred.astype(np.float32)
    if second == "labels":
        truth = rng.integers(0, c, n, dtype=np.int32)
    elif one_class:
        truth = rng.integers(0, 2, (n, c)).astype(np.float32)
    elif "categorical" in kernel or "entropy" in kernel:
        truth = softmax(rng.standard_normal((n, c))).astype(np.float32)
    else:
        truth = normal(rng, n, c)
        truth[::3] = pred[::3]  # errors of exactly 0
    return {first: pred, second: truth}


def loss(kernel, n, c, weights=True, gradient=True, in_place=False, bench=False, scale=0.25, **options):
    """A row of a loss; the value is added to a loss that isn't 0."""
    pred, _, _, dpred = list(inspect.signature(getattr(references, kernel)).parameters)[:4]

    def make(rng):
        arrays = _predictions_and_truth(rng, kernel, n, c)
        w = rng.random(n).astype(np.float32) if weights else None
        return {**arrays, "weights": w, dpred: blank(n, c) if gradient else None, "loss": np.array([1.5])}

    name = label(n, c, weights=weights, gradient=gradient, in_place=in_place, scale=scale, **options)
    alias = {dpred: pred} if in_place else {}
    outputs = ("loss", dpred) if gradient else ("loss",)
    return Case(kernel, name, make, outputs, "sum", {"scale": scale, **options}, alias, bench, flops=5 * n * c)


def metric(kernel, n, c, weights=True, thresholds=None, ties=False, bench=False, **options):
    """A row of a metric; sums are added to some that aren't 0. `ties`: predictions of few values, a few NaN."""

    def make(rng):
        arrays = _predictions_and_truth(rng, kernel, n, c)
        if ties:
            arrays["pred"][...] = rng.choice([0.0, 0.5, 1.0, 2.0, np.nan], (n, c), p=[0.3, 0.3, 0.2, 0.19, 0.01])
        arrays["weights"] = rng.random(n).astype(np.float32) if weights else None
        if thresholds:
            arrays["thresholds"] = np.array(thresholds, np.float32)
            return {**arrays, "counts": rng.random((4, len(thresholds)))}
        return {**arrays, "state": np.array([2.5, 4.0])}

    output = "counts" if thresholds else "state"
    name = label(n, c, weights=weights, thresholds=thresholds, ties=ties, **options)
    return Case(kernel, name, make, (output,), "sum", options, bench=bench, flops=n * c * len(thresholds or [1]))


SLOTS = {
    "sgd_rule": lambda options: int(options.get("momentum", 0) > 0),
    "adam_rule": lambda options: 3 if options.get("amsgrad") else 2,
    "adagrad_rule": lambda options: 1,
    "lamb_rule": lambda options: 2,
    "lars_rule": lambda options: int(options.get("momentum", 0.9) > 0),
    "lion_rule": lambda options: 1,
    "muon_rule": lambda options: 1,
    "rmsprop_rule": lambda options: 1 + bool(options.get("centered")) + (options.get("momentum", 0) > 0),
}
MIXED = ((3,), (), (0,), (17, 5), (1, 33), (64,), (2, 3, 5, 7))  # tensor shapes, one of them empty


def optimizer(kernel, shapes=MIXED, steps=6, first=1, lr=0.05, tables=(), spoilt=(), bench=False, note=None, **options):
    """A row of an optimizer: `steps` steps from step number `first` on, each with new gradients.

    Args:
        spoilt: the steps, from 0, that have an infinity or NaN in a gradient.
        tables: which of l1, l2, decay, lr_scale and adapts vary from tensor to tensor.
    """

    def make(rng):
        params = [normal(rng, *shape) for shape in shapes]
        grads = [[normal(rng, *shape) for shape in shapes] for _ in range(steps)]
        for step in spoilt:
            grads[step][rng.integers(len(shapes) - 1)].reshape(-1)[-1:] = rng.choice([np.inf, -np.inf, np.nan])
            grads[step][-1].reshape(-1)[-1] = np.inf
        count = SLOTS[kernel](options)
        states = [[np.zeros(shape, np.float32) for shape in shapes] for _ in range(count)]
        if first > 1:
            states = [[np.asarray(1 + rng.random(shape), np.float32) for shape in shapes] for _ in range(count)]
        settings = {name: rng.random(len(shapes), np.float32) for name in tables}
        if "adapts" in tables:
            settings["adapts"] = (settings["adapts"] > 0.5).astype(np.float32)
        if kernel == "muon_rule":
            settings["rows"] = np.array([(*shape, 1)[0] or 1 for shape in shapes])
        step = np.array([first], np.int64)
        return {"params": params, "grads": grads, "states": states, "lr": np.array([lr]), "step": step, **settings}

    tensors = note or ("mixed" if shapes is MIXED else "_".join("x".join(map(str, shape)) for shape in shapes))
    name = label(
        tensors=tensors, first=first if first > 1 else None, tables=tables or None, spoilt=spoilt or None, **options
    )
    size = sum(int(np.prod(shape)) for shape in shapes)
    tolerance = "muon" if kernel == "muon_rule" else "optimizer"
    return Case(kernel, name, make, ("params", "states"), tolerance, options, bench=bench, flops=12 * size * steps)


def dense_update(n, inputs, outputs, rule="adam_rule", first=2, bias=True, weights=True, bench=False, **options):
    """dw and db of a dense layer and at once step number `first` of an optimizer; w and b are [param, *its state]."""

    def tensor(rng, *shape):
        states = [np.asarray(1 + rng.random(shape), np.float32) for _ in range(SLOTS[rule](options))]
        return [normal(rng, *shape), *states]

    def make(rng):
        arrays = {"x": normal(rng, n, inputs), "dz": normal(rng, n, outputs)}
        arrays["w"] = tensor(rng, inputs, outputs) if weights else None
        arrays["b"] = tensor(rng, outputs) if bias else None
        return {**arrays, "lr": np.array([0.05]), "step": np.array([first], np.int64)}

    written = [name for name, given in (("w", weights), ("b", bias)) if given]
    name = label(n, inputs, outputs, rule=rule, bias=bias, weights=weights, **options)
    return Case("dense_update", name, make, tuple(written), "sum", {"rule": rule, **options}, bench=bench,
                flops=2 * (n + 6) * inputs * outputs)  # fmt: skip


def penalty(*shape, l1, l2, bench=False):
    options = {"l1": l1, "l2": l2}
    return Case("regularization_penalty", label(*shape, **options),
                lambda rng: {"param": normal(rng, *shape), "loss": np.array([0.5])}, ("loss",), "sum", options,
                bench=bench, flops=4 * int(np.prod(shape)))  # fmt: skip


def first_nonfinite(*shape, at=(), value=np.nan, bench=False):
    """NaN or an infinity at some flat indices."""

    def make(rng):
        x = normal(rng, *shape)
        x.reshape(-1)[list(at)] = value
        return {"x": x}

    return Case("first_nonfinite", label(*shape, at=at or None, value=value), make, ("return",), "exact", bench=bench)


def gather(rows, row_shape, count, dtype=np.float32, bench=False):
    def make(rng):
        x = (100 * rng.standard_normal((rows, *row_shape))).astype(dtype)
        return {"x": x, "index": rng.integers(0, max(rows, 1), count), "out": np.zeros((count, *row_shape), dtype)}

    name = label(rows, *row_shape, count=count, dtype=np.dtype(dtype).name)
    return Case("gather_rows", name, make, ("out",), "exact", bench=bench)


def embedding(entries, width, count, dtype=np.int32, accumulate=False, common=0.0, bench=False):
    """The two rows of an embedding; `common` of the ids are 0."""

    def ids(rng):
        chosen = rng.integers(0, entries, count)
        chosen[rng.random(count) < common] = 0
        return chosen.astype(dtype)

    def forward(rng):
        return {"w": normal(rng, entries, width), "ids": ids(rng), "y": blank(count, width)}

    def backward(rng):
        dw = normal(rng, entries, width) if accumulate else blank(entries, width)
        return {"ids": ids(rng), "dy": normal(rng, count, width), "dw": dw}

    name = label(entries, width, count, dtype=np.dtype(dtype).name, accumulate=accumulate, common=common or None)
    return [
        Case("embedding_forward", name, forward, ("y",), "exact", bench=bench, flops=count * width),
        Case("embedding_backward", name, backward, ("dw",), "sum", {"accumulate": accumulate}, bench=bench,
             flops=count * width),
    ]  # fmt: skip


def crop_flip(n, h, w, c, out, top, left, flips="", seed=5, step=2, stream=0, bench=False):
    """The two rows of random crops to `out`; `flips` has an h, a v, both or none."""
    draw = {"top": top, "left": left, "horizontal": "h" in flips, "vertical": "v" in flips, "stream": stream}
    name = label(n, h, w, c, out=out, seed=seed, step=step, **draw)
    rows = []
    for kernel, source, target in (("crop_flip_forward", "x", "y"), ("crop_flip_backward", "dy", "dx")):
        shapes = [(n, h, w, c), (n, *out, c)][:: 1 if source == "x" else -1]

        def make(rng, source=source, target=target, shapes=shapes):
            return {
                source: normal(rng, *shapes[0]),
                target: blank(*shapes[1]),
                "state": np.array([seed, step], np.uint64),
            }

        rows.append(Case(kernel, name, make, (target,), "exact", draw, bench=bench, flops=n * out[0] * out[1] * c))
    return rows


def dropout(*shape, rate, seed=7, counter=3, stream=0, in_place=False, bench=False):
    def make(rng):
        return {"x": normal(rng, *shape), "y": blank(*shape), "state": np.array([seed, counter], np.uint64)}

    options = {"rate": rate, "stream": stream}
    name = label(*shape, seed=seed, counter=counter, in_place=in_place, **options)
    alias = {"y": "x"} if in_place else {}
    return Case("dropout", name, make, ("y",), "elementwise", options, alias, bench, flops=int(np.prod(shape)))
