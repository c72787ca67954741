"""Matrix product and the dense layer."""

from . import optimizers
from .activations import activate, derivative


def gemm(a, b, c, transpose_a=False, transpose_b=False, accumulate=False, bias=None, activation="linear", alpha=0.0):
    a = a.T if transpose_a else a
    b = b.T if transpose_b else b
    z = a @ b
    if accumulate:
        z = c + z
    if bias is not None:
        z = z + bias
    return {"c": activate(z, activation, alpha)}


def dense_forward(x, w, b, y, z, activation="linear", alpha=0.0):
    pre = x @ w + (0 if b is None else b)
    return {"z": pre, "y": activate(pre, activation, alpha)}


def dense_backward(x, w, saved, dy, dz, dw, db, dx, activation="linear", alpha=0.0, accumulate=False):
    gradient = dy if saved is None else dy * derivative(saved, activation, alpha)
    result = {"dz": gradient, "dw": x.T @ gradient, "db": gradient.sum(axis=0), "dx": gradient @ w.T}
    return accumulated(result, accumulate, dw=dw, db=db)


def dense_input_gradient(w, saved, dy, dz, dx, activation="linear", alpha=0.0):
    gradient = dy if saved is None else dy * derivative(saved, activation, alpha)
    return {"dz": gradient, "dx": gradient @ w.T}


def dense_update(x, dz, w, b, lr, step, rule, **options):
    gradients = {"w": x.T @ dz, "b": dz.sum(axis=0)}
    result = {}
    for name, tensor in (("w", w), ("b", b)):
        if tensor is not None:
            param, *states = tensor
            step_of = getattr(optimizers, rule)
            new = step_of([param], [[gradients[name]]], [[state] for state in states], lr, step, **options)
            result[name] = [new["params"][0], *(state[0] for state in new["states"])]
    return result


def accumulated(result, accumulate, **before):
    """`result` with the former content of dw and db added where the kernel was asked to."""
    for name, array in before.items():
        if accumulate and array is not None:
            result[name] = array + result[name]
    return result
