"""NumPy: its matrix product (OpenBLAS), and Adam written by hand with temporaries kept."""

import numpy as np
import problems
from protocol import serve


def gemm(variant, m, k, n, transpose_a, transpose_b):
    a, b = problems.gemm_data(m, k, n, transpose_a, transpose_b)
    a, b, c = a.T if transpose_a else a, b.T if transpose_b else b, np.empty((m, n), np.float32)
    return lambda: np.matmul(a, b, out=c) is None


def adamw(variant, shapes):
    params, grads = problems.optimizer_data(shapes)
    slots = [(np.zeros_like(p), np.zeros_like(p), np.empty_like(p), np.empty_like(p)) for p in params]
    count = [0]

    def step():
        count[0] += 1
        for p, g, (m, v, update, root) in zip(params, grads, slots):
            adamw_step(p, g, m, v, update, root, count[0])

    return step


def adamw_step(p, g, m, v, update, root, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
    p *= 1 - lr * weight_decay
    m *= beta1
    m += np.multiply(g, 1 - beta1, out=update)
    v *= beta2
    np.multiply(g, g, out=update)
    update *= 1 - beta2
    v += update
    np.sqrt(v, out=root)
    root /= (1 - beta2**t) ** 0.5
    root += eps
    np.divide(m, root, out=update)
    update *= lr / (1 - beta1**t)
    p -= update


TASKS = {"gemm": (["OpenBLAS"], gemm), "adamw": (["by hand"], adamw)}

if __name__ == "__main__":
    serve(f"NumPy {np.__version__}", TASKS)
