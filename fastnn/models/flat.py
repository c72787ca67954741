"""One flat buffer for the parameters, one for the gradients; parameters are views.

Each parameter starts on a cache line of its own. What is trained comes first and is contiguous, what isn't comes last:
a step of the optimizer, an all-reduce and a checkpoint each work on one slice.
"""

import numpy as np

from fastnn._backend import assign, zeros
from fastnn.layers.base import Parameter

# How often parameters were laid out anew: int64[1]. What keeps a parameter's address looks here whether it still holds.
layout_count = np.zeros(1, np.int64)

_LINE = 16  # float32 in a cache line of 64 bytes


class FlatParameters:
    """The two buffers of a model.

    Args:
        trainable, frozen: the model's parameters; their ``value`` and ``grad`` become views, the values stay.

    Attributes:
        values: float32, every parameter, zeros in the gaps.
        value, grad: float32, the trainable part alone and its gradients.
    """

    def __init__(self, trainable: list[Parameter], frozen: list[Parameter]):
        self.trainable, self.frozen = trainable, frozen
        layout_count[0] += 1
        size = sum(_padded(p) for p in trainable)
        self.values = zeros((size + sum(_padded(p) for p in frozen),))
        self.value, self.grad = self.values[:size], zeros((size,))
        offset = 0
        for parameter in (*trainable, *frozen):
            view = self._view(self.values, offset, parameter)
            assign(view, parameter.value)  # which may lie on another device
            parameter.value = view
            parameter.grad = self._view(self.grad, offset, parameter) if offset < size else None
            offset += _padded(parameter)

    def move_gradients(self, grad: np.ndarray) -> None:
        """The gradients lie in the first elements of `grad` from now on."""
        layout_count[0] += 1
        self.grad = grad[: self.value.size]
        offset = 0
        for parameter in self.trainable:
            parameter.grad = self._view(self.grad, offset, parameter)
            offset += _padded(parameter)

    @staticmethod
    def _view(flat: np.ndarray, offset: int, parameter: Parameter) -> np.ndarray:
        return flat[offset : offset + parameter.size].reshape(parameter.shape)


def _padded(parameter: Parameter) -> int:
    return -(-parameter.size // _LINE) * _LINE
