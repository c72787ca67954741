"""Matrix product and the dense layer."""

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


def accumulated(result, accumulate, **before):
    """`result` with the former content of dw and db added where the kernel was asked to."""
    for name, array in before.items():
        if accumulate and array is not None:
            result[name] = array + result[name]
    return result
