"""Random variation of images inside a model, in training only: RandomCrop, RandomFlip.

The draws come from (seed, step, position in the batch, layer), so a run repeats by its seed whatever the thread count.
``fastnn.data.Loader(augment=...)`` does the same while it makes the batch, without a pass of its own: prefer it where
the model is trained from a loader.
"""

from typing import Any

import numpy as np

from fastnn import _check, random
from fastnn._backend import kernels
from fastnn._check import fail
from fastnn.data.transforms import FLIPS, Augment
from fastnn.layers.base import Layer, Shape


class _RandomMove(Layer):
    """A layer that takes every pixel of its output from one of its input, or from the padding, by an ``Augment``."""

    def __init__(self, augment: Augment, seed: int | None, **kwargs: Any):
        super().__init__(**kwargs)
        self.augment = augment
        cls = type(self).__name__
        self.seed = None if seed is None else _check.integer(cls, "seed", seed, 0, 2**64 - 1)
        random.generator()  # seeds the shared state, if nothing has
        self.random_state = random.dropout_state if self.seed is None else random.new_state(self.seed)
        self._flips = tuple(
            augment.flip in (direction, "horizontal_and_vertical") for direction in ("horizontal", "vertical")
        )

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 3:
            fail(self.name, "input_shape", "(height, width, channels)", input_shape)
        self.output_shape = (*self.augment.output_size(*input_shape[:2]), input_shape[2])
        self._corners = self.augment.corners(*input_shape[:2])

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        if not training:
            return self._at_rest(x)
        return self._move(x, self._corners, self._flips)

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        """The gradients, each where its pixel came from; the draws are made again."""
        if not need_dx:
            return None
        assert self.input_shape is not None
        dx = self.buffer("dx", (len(dy), *self.input_shape))
        kernels.crop_flip_backward(dy, dx, *self._corners, *self._flips, self.random_state, self.stream)
        return dx

    def _at_rest(self, x: np.ndarray) -> np.ndarray:
        return x

    def _move(self, x: np.ndarray, corners: Any, flips: Any) -> np.ndarray:
        assert self.output_shape is not None
        y = self.buffer("y", (len(x), *self.output_shape))
        kernels.crop_flip_forward(x, y, *corners, *flips, self.random_state, self.stream)
        return y


class RandomCrop(_RandomMove):
    """In training crop images to (height, width) at a random place; otherwise at the centre.

    Args:
        height, width: of the output.
        padding: pixels of zeros on every side before the crop: ``RandomCrop(32, 32, padding=4)`` shifts images of
            32 x 32 by up to 4 pixels, and leaves them alone at inference. Keras has no padding; it resizes images that
            are smaller than the crop, which is an error here.
        seed: None shares the generator that ``fastnn.set_seed`` starts.
        name, trainable, input_shape: see ``Layer``.
    """

    def __init__(self, height: int, width: int, seed: int | None = None, padding: int = 0, **kwargs: Any):
        self.height = _check.integer("RandomCrop", "height", height, 1)
        self.width = _check.integer("RandomCrop", "width", width, 1)
        self.padding = _check.integer("RandomCrop", "padding", padding, 0)
        super().__init__(Augment(crop=(self.height, self.width), padding=self.padding), seed, **kwargs)

    def _at_rest(self, x: np.ndarray) -> np.ndarray:
        top, left = (x.shape[1] - self.height) // 2, (x.shape[2] - self.width) // 2
        if x.shape[1:3] == (self.height, self.width):
            return x
        return self._move(x, ((top, top), (left, left)), (False, False))

    def get_config(self) -> dict[str, Any]:
        own = {"height": self.height, "width": self.width, "seed": self.seed, "padding": self.padding}
        return {**super().get_config(), **own}


class RandomFlip(_RandomMove):
    """In training flip each image with probability one half, in each direction of ``mode``.

    Args:
        mode: "horizontal" (left and right), "vertical" or "horizontal_and_vertical".
        seed: None shares the generator that ``fastnn.set_seed`` starts.
        name, trainable, input_shape: see ``Layer``.
    """

    def __init__(self, mode: str = "horizontal_and_vertical", seed: int | None = None, **kwargs: Any):
        self.mode = _check.choice("RandomFlip", "mode", mode, FLIPS)
        super().__init__(Augment(flip=self.mode), seed, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode, "seed": self.seed}
