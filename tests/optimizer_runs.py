"""What the tests of optimizers share: tensors of awkward shapes, gradients for 25 steps, a stand-in for a model."""

from types import SimpleNamespace

import numpy as np
from tolerances import difference

from fastnn import _backend

STEPS = 50
SHAPES = [(), (0,), (1,), (15,), (16,), (17,), (3, 11), (97,), (1009,), (40, 33)]
START = [np.random.default_rng(7).standard_normal(shape).astype(np.float32) for shape in SHAPES]
GRADS = [
    [
        (3 * np.random.default_rng(100 * t + i).standard_normal(shape)).astype(np.float32)
        for i, shape in enumerate(SHAPES)
    ]
    for t in range(STEPS)
]


def assert_close(actual, expected, what, tolerance="optimizer"):
    """All tensors together: what cancels to nearly 0 is as inexact as its largest terms."""
    found = difference(*(np.concatenate([np.ravel(a) for a in arrays]) for arrays in (actual, expected)), tolerance)
    assert not found, f"{what}: {found}"


NAMES = [f"p{i}" for i in range(len(SHAPES))]


class Model:
    """Parameters in flat buffers, as a model has them, with gaps between."""

    def __init__(self, shapes=SHAPES, start=START, regularizers=(None,), names=None):
        sizes = [int(np.prod(shape)) for shape in shapes]
        starts = np.cumsum([0, *(size + 3 for size in sizes)])
        self.flat, self.grad = (_backend.zeros(int(starts[-1])) for _ in range(2))
        views = [
            [flat[begin : begin + size].reshape(shape) for begin, size, shape in zip(starts, sizes, shapes)]
            for flat in (self.flat, self.grad)
        ]
        self.parameters = [
            SimpleNamespace(
                name=(names or NAMES)[i], value=value, grad=grad, regularizer=regularizers[i % len(regularizers)]
            )
            for i, (value, grad) in enumerate(zip(*views))
        ]
        for parameter, value in zip(self.parameters, start):
            parameter.value[...] = value

    def train(self, optimizer, grads=GRADS, build=True):
        if build:
            optimizer.build(self.parameters, self.flat, self.grad)
        for fresh in grads:
            for parameter, grad in zip(self.parameters, fresh):
                parameter.grad[...] = grad
            optimizer.step()
        return [parameter.value for parameter in self.parameters]
