"""One function for each kernel family that makes rows of the table in cases.py: shapes and parameters in, cases out."""

import numpy as np
import references
from case import Case
from references.activations import saved_for_backward
from references.conv import output_size, same_padding


def normal(rng, *shape):
    return np.asarray(rng.standard_normal(shape), np.float32)


def blank(*shape, dtype=np.float32):
    """An output that the kernel must fill: whatever it leaves is NaN."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 99, dtype)


def rows_apart(rng, rows, columns, gap):
    """A matrix whose rows lie `gap` floats apart, not contiguous for gap > 0."""
    return normal(rng, rows, columns + gap)[:, :columns]


DEFAULTS = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "activation": "linear", "alpha": 0.0}
DEFAULTS |= {"bias_correction": True}


def label(*shape, **options):
    """The part of a row's name in brackets: sizes, then the options that aren't None, False or their default."""
    words = ["x".join(map(str, shape))] if shape else []
    for key, value in options.items():
        if value is None or value is False and key not in DEFAULTS or key in DEFAULTS and value == DEFAULTS[key]:
            continue
        text = "_".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        words.append(key if value is True else f"{key}={text}")
    return "-".join(words)


def gemm(m, n, k, gap=0, bias=False, bench=False, **options):
    transpose_a, transpose_b = options.get("transpose_a"), options.get("transpose_b")

    def make(rng):
        a = rows_apart(rng, *((k, m) if transpose_a else (m, k)), gap)
        b = rows_apart(rng, *((n, k) if transpose_b else (k, n)), 2 * gap)
        b *= np.float32(max(k, 1) ** -0.5)  # results of size 1, where activations bend
        c = rows_apart(rng, m, n, 3 * gap)
        if not options.get("accumulate"):
            c[...] = np.nan
        return {"a": a, "b": b, "c": c, "bias": normal(rng, n) if bias else None}

    name = label(m, n, k, gap=gap or None, bias=bias, **options)
    return Case("gemm", name, make, ("c",), "sum", options, bench=bench, flops=2 * m * n * k)


def layer(family, sizes, shapes, options, flops, bench=False, bias=True, keep_z=False, want=("dw", "db", "dx"),
          accumulate=False, in_place=False, tolerance="sum"):  # fmt: skip
    """The rows of a layer with weights: family_forward and family_backward, whose arguments all families share.

    Args:
        keep_z: the forward kernel writes the pre-activation too.
        want: which gradients the backward kernel writes, the others are None; not all three: only that row.
        accumulate: the backward kernel adds to dw and db.
        in_place: dz lies where dy is.
    """
    x, w, y = shapes["x"], shapes["w"], shapes["y"]
    activation, alpha = options.get("activation", "linear"), options.get("alpha", 0.0)
    size = np.float32(max(np.prod(w[:-1]), 1) ** -0.5)  # of the weights: results of size 1, where activations bend

    def forward(rng):
        b, z = normal(rng, y[-1]) if bias else None, blank(*y) if keep_z else None
        return {"x": normal(rng, *x), "w": size * normal(rng, *w), "b": b, "y": blank(*y), "z": z}

    def backward(rng):
        saved = saved_for_backward(rng.standard_normal(y), activation, alpha)
        saved = None if saved is None else saved.astype(np.float32)
        grads = {"dw": w, "db": y[-1:], "dx": x}
        for name, shape in grads.items():
            grads[name] = None if name not in want else normal(rng, *shape) if accumulate else blank(*shape)
        return {
            "x": normal(rng, *x),
            "w": normal(rng, *w),
            "saved": saved,
            "dy": normal(rng, *y),
            "dz": blank(*y),
            **grads,
        }

    forward_name = label(sizes, bias=bias, z=keep_z, **options)
    lacking = "".join(name for name in ("dw", "db", "dx") if name not in want) or None
    backward_name = label(sizes, without=lacking, accumulate=accumulate, in_place=in_place, **options)
    products = ("dw" in want) + ("dx" in want)
    rows = [
        Case(f"{family}_forward", forward_name, forward, ("y", "z") if keep_z else ("y",), tolerance, options,
             bench=bench, flops=flops),
        Case(f"{family}_backward", backward_name, backward, ("dz", *want), tolerance,
             {**options, "accumulate": accumulate}, {"dz": "dy"} if in_place else {}, bench=bench,
             flops=flops * products),
    ]  # fmt: skip
    return rows if len(want) == 3 else rows[1:]


def dense(n, inputs, outputs, activation="linear", alpha=0.0, **variant):
    shapes = {"x": (n, inputs), "w": (inputs, outputs), "y": (n, outputs)}
    options = {"activation": activation, "alpha": alpha}
    return layer("dense", f"{n}x{inputs}x{outputs}", shapes, options, 2 * n * inputs * outputs, **variant)


def dense_input_gradient(n, inputs, outputs, activation="linear", alpha=0.0, dx=True, in_place=False, bench=False):
    """dz and dx of a dense layer, without dw and db."""

    def make(rng):
        saved = saved_for_backward(rng.standard_normal((n, outputs)), activation, alpha)
        return {
            "w": normal(rng, inputs, outputs),
            "saved": None if saved is None else saved.astype(np.float32),
            "dy": normal(rng, n, outputs),
            "dz": blank(n, outputs),
            "dx": blank(n, inputs) if dx else None,
        }

    options = {"activation": activation, "alpha": alpha}
    name = label(n, inputs, outputs, without=None if dx else "dx", in_place=in_place, **options)
    return Case("dense_input_gradient", name, make, ("dz", "dx") if dx else ("dz",), "sum", options,
                {"dz": "dy"} if in_place else {}, bench=bench, flops=2 * n * inputs * outputs)  # fmt: skip


def _geometry(size, window, strides, padding, dilations):
    """(padding as four numbers, output's height and width)."""
    if padding == "valid":
        padding = (0, 0, 0, 0)
    elif padding == "same":
        padding = sum((same_padding(*axis) for axis in zip(size, window, strides, dilations)), ())
    before_after = (padding[:2], padding[2:])
    return padding, tuple(
        output_size(s, k, t, *p, d) for s, k, t, p, d in zip(size, window, strides, before_after, dilations)
    )


def conv2d(n, h, w, c, filters, window, strides=(1, 1), padding="same", dilations=(1, 1), groups=1,
           activation="linear", alpha=0.0, **variant):  # fmt: skip
    pads, output = _geometry((h, w), window, strides, padding, dilations)
    shapes = {"x": (n, h, w, c), "w": (*window, c // groups, filters), "y": (n, *output, filters)}
    options = {"strides": strides, "padding": pads, "dilations": dilations, "groups": groups}
    options |= {"activation": activation, "alpha": alpha}
    sizes = f"{n}x{h}x{w}x{c}-{window[0]}x{window[1]}x{filters}"
    flops = 2 * int(np.prod(shapes["y"])) * int(np.prod(shapes["w"][:3]))
    return layer("conv2d", sizes, shapes, options, flops, **variant)


def depthwise_conv2d(n, h, w, c, multiplier, window, strides=(1, 1), padding="same", dilations=(1, 1),
                     activation="linear", alpha=0.0, **variant):  # fmt: skip
    pads, output = _geometry((h, w), window, strides, padding, dilations)
    shapes = {"x": (n, h, w, c), "w": (*window, c, multiplier), "y": (n, *output, c * multiplier)}
    options = {"strides": strides, "padding": pads, "dilations": dilations, "activation": activation, "alpha": alpha}
    sizes = f"{n}x{h}x{w}x{c}-{window[0]}x{window[1]}x{multiplier}"
    return layer(
        "depthwise_conv2d", sizes, shapes, options, 2 * int(np.prod(shapes["y"])) * window[0] * window[1], **variant
    )


def conv2d_max_pool2d(n, h, w, c, filters, window=(3, 3), strides=(1, 1), padding="same", dilations=(1, 1), groups=1,
                      activation="relu", pool=(2, 2), pool_strides=(2, 2), pool_padding="valid", index=np.uint8,
                      bias=True, accumulate=False, want=("dw", "db", "dx"), tolerance="sum", bench=False):  # fmt: skip
    """The two rows of a convolution whose output is pooled."""
    pads, output = _geometry((h, w), window, strides, padding, dilations)
    pool_pads, pooled = _geometry(output, pool, pool_strides, pool_padding, (1, 1))
    x, kernel, y = (n, h, w, c), (*window, c // groups, filters), (n, *pooled, filters)
    options = {"strides": strides, "padding": pads, "dilations": dilations, "groups": groups, "activation": activation}
    options |= {"window": pool, "pool_strides": pool_strides, "pool_padding": pool_pads}
    size = np.float32(np.prod(kernel[:-1]) ** -0.5)

    def forward(rng):
        return {
            "x": normal(rng, *x),
            "w": size * normal(rng, *kernel),
            "b": normal(rng, filters) if bias else None,
            "y": blank(*y),
            "index": index and blank(*y, dtype=index),
        }

    def backward(rng):
        images = rng.standard_normal((n, *output, filters))
        place = {"window": pool, "strides": pool_strides, "padding": pool_pads}
        winners = references.max_pool2d_forward(images, None, None, **place)
        grads = {"dw": kernel, "db": (filters,), "dx": x}
        for name, shape in grads.items():
            grads[name] = None if name not in want else normal(rng, *shape) if accumulate else blank(*shape)
        return {
            "x": normal(rng, *x),
            "w": normal(rng, *kernel),
            "y": np.maximum(winners["y"] - 0.5, 0).astype(np.float32),
            "index": winners["index"].astype(index or np.uint8),
            "dy": normal(rng, *y),
            **grads,
        }

    name = label(*x, *kernel, bias=bias, index=np.dtype(index).name if index else "none", **options)
    work = 2 * n * int(np.prod(output)) * int(np.prod(kernel))
    written = ("y", "index") if index else ("y",)
    rows = [
        Case("conv2d_max_pool2d_forward", name, forward, written, tolerance, options, bench=bench, flops=work),
        Case("conv2d_max_pool2d_backward", label(name, want=want, accumulate=accumulate), backward, want, tolerance,
             {**options, "accumulate": accumulate}, bench=bench, flops=2 * work),
    ]  # fmt: skip
    return rows if len(want) == 3 else rows[1:]


def pooling(n, h, w, c, window, strides, padding="valid", index=np.uint8, ties=False, bench=False):
    """The four rows of max and average pooling; `ties`: few distinct values, so that many windows have two largest."""
    pads, output = _geometry((h, w), window, strides, padding, (1, 1))
    x, y = (n, h, w, c), (n, *output, c)
    options = {"window": window, "strides": strides, "padding": pads}

    def image(rng):
        return rng.integers(0, 3, x).astype(np.float32) if ties else normal(rng, *x)

    def max_forward(rng):
        return {"x": image(rng), "y": blank(*y), "index": index and blank(*y, dtype=index)}

    def max_backward(rng):
        position = references.max_pool2d_forward(image(rng), None, None, **options)["index"]
        return {"dy": normal(rng, *y), "index": position.astype(index or np.uint8), "dx": blank(*x)}

    name = label(*x, index=np.dtype(index).name if index else "none", ties=ties, **options)
    work = int(np.prod(y)) * window[0] * window[1]
    make = {
        "max_pool2d_forward": (max_forward, ("y", "index") if index else ("y",), "exact"),
        "max_pool2d_backward": (max_backward, ("dx",), "sum"),
        "average_pool2d_forward": (lambda rng: {"x": image(rng), "y": blank(*y)}, ("y",), "sum"),
        "average_pool2d_backward": (lambda rng: {"dy": normal(rng, *y), "dx": blank(*x)}, ("dx",), "sum"),
    }
    return [Case(kernel, name, *row, options, bench=bench, flops=work) for kernel, row in make.items()]


def global_pooling(n, h, w, c, index=True, ties=False, bench=False):
    x, y = (n, h, w, c), (n, c)

    def image(rng):
        return rng.integers(0, 3, x).astype(np.float32) if ties else normal(rng, *x)

    def max_backward(rng):
        position = references.global_max_pool_forward(image(rng), None, None)["index"].astype(np.int32)
        return {"dy": normal(rng, *y), "index": position, "dx": blank(*x)}

    def max_forward(rng):
        return {"x": image(rng), "y": blank(*y), "index": blank(*y, dtype=np.int32) if index else None}

    make = {
        "global_max_pool_forward": (max_forward, ("y", "index") if index else ("y",), "exact"),
        "global_max_pool_backward": (max_backward, ("dx",), "exact"),
        "global_average_pool_forward": (lambda rng: {"x": image(rng), "y": blank(*y)}, ("y",), "sum"),
        "global_average_pool_backward": (lambda rng: {"dy": normal(rng, *y), "dx": blank(*x)}, ("dx",), "elementwise"),
    }
    name = label(*x, index=index, ties=ties)
    return [Case(kernel, name, *row, bench=bench, flops=n * h * w * c) for kernel, row in make.items()]


def activation(*shape, kind, alpha=0.0, in_place=False, bench=False):
    options = {"activation": kind, "alpha": alpha}

    def backward(rng):
        saved = saved_for_backward(2 * rng.standard_normal(shape), kind, alpha)
        return {
            "saved": None if saved is None else saved.astype(np.float32),
            "dy": normal(rng, *shape),
            "dx": blank(*shape),
        }

    name, count = label(*shape, in_place=in_place, **options), int(np.prod(shape))
    return [
        Case("activation_forward", name, lambda rng: {"x": 2 * normal(rng, *shape), "y": blank(*shape)}, ("y",),
             "elementwise", options, {"y": "x"} if in_place else {}, bench, flops=count),
        Case("activation_backward", name, backward, ("dx",), "derivative", options, {"dx": "dy"} if in_place else {},
             bench, flops=count),
    ]  # fmt: skip


def softmax(n, c, scale=3.0, in_place=False, bench=False):
    def forward(rng):
        return {"x": np.float32(scale) * normal(rng, n, c), "y": blank(n, c)}

    def backward(rng):
        y = references.softmax_forward(rng.standard_normal((n, c)), None)["y"].astype(np.float32)
        return {"y": y, "dy": normal(rng, n, c), "dx": blank(n, c)}

    name = label(n, c, scale=scale, in_place=in_place)
    return [
        Case("softmax_forward", name, forward, ("y",), "elementwise", {},
             {"y": "x"} if in_place else {}, bench, flops=5 * n * c),
        Case("softmax_backward", name, backward, ("dx",), "sum", {}, {"dx": "dy"} if in_place else {}, bench,
             flops=4 * n * c),
    ]  # fmt: skip
