"""How stored arrays become a float32 batch: ``Augment`` (random crop, random flips) and normalisation, in one pass.

``_augment.pyx`` moves the pixels; this module checks the arguments and keeps what doesn't change between batches.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._check import choice, fail, integer
from fastnn.data import _augment

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")
_LONGEST_ROW = 4096  # floats of scale and shift that stay in the first-level cache; images up to this are one row


class Augment:
    """Random crop with padding, then random flips, drawn anew for every sample in every epoch.

    Args:
        crop: (height, width) of the crop; None keeps the image's own size.
        padding: pixels of zeros (of the stored form) on every side of the image, before the crop. With ``crop=None``
            it shifts the image by up to ``padding`` pixels, the usual variation of small images.
        flip: None, "horizontal" (left and right), "vertical" or "horizontal_and_vertical"; each direction is flipped
            with probability one half.

    Raises:
        ValueError, TypeError: an argument isn't of this form.
    """

    def __init__(self, crop: tuple[int, int] | None = None, padding: int = 0, flip: str | None = None) -> None:
        if crop is not None:
            crop = _positive_pair("Augment", "crop", crop)
        self.crop = crop
        self.padding = integer("Augment", "padding", padding, 0)
        self.flip = choice("Augment", "flip", flip, (None, *FLIPS))

    def __repr__(self) -> str:
        return f"Augment(crop={self.crop}, padding={self.padding}, flip={self.flip!r})"

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the crop of an image of this size; ValueError if the padded image is smaller."""
        out = self.crop or (height, width)
        padded = (height + 2 * self.padding, width + 2 * self.padding)
        if out[0] > padded[0] or out[1] > padded[1]:
            fail("Augment", "crop", f"at most the padded image's size {padded}", out, "Raise padding or crop less.")
        return out

    def corners(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(smallest, largest) row and (smallest, largest) column of the crop's corner; the image begins at (0, 0)."""
        out_height, out_width = self.output_size(height, width)
        pad = self.padding
        return (-pad, height + pad - out_height), (-pad, width + pad - out_width)

    def limits(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int], bool, bool]:
        """``corners``, and whether samples are flipped horizontally and vertically."""
        horizontal = self.flip in ("horizontal", "horizontal_and_vertical")
        return *self.corners(height, width), horizontal, self.flip in ("vertical", "horizontal_and_vertical")

    def draw(
        self,
        index: NDArray[np.int64],
        height: int,
        width: int,
        seed: int,
        epoch: int,
        stream: int = 0,
        moves: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Draw each sample's corner (top, left) and whether it's flipped (horizontally, vertically).

        Args:
            index: int64 [m]; seed, epoch, stream and a sample's index fix its row.
            height, width: of the images.
            moves: int32 [m, 4] to write to, or None for a new array.
        """
        if moves is None:
            moves = np.empty((len(index), 4), np.int32)
        top, left, horizontal, vertical = self.limits(height, width)
        _augment.draw(moves, index, seed, epoch & 0xFFFFFFFF, stream, top, left, horizontal, vertical)
        return moves


class BatchMaker:
    """Make float32 batches of samples of one shape: gathered, augmented, and (x * scale - mean) / std.

    Args:
        shape: a sample's shape, the channels last.
        augment: None or an ``Augment``; the shape must then be (height, width, channels).
        scale, mean, std: scale is a number; mean and std are numbers or hold one number a channel, in units of the
            scaled value.
        function: whom error messages name.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        augment: Augment | None = None,
        scale: float = 1.0,
        mean: ArrayLike = 0.0,
        std: ArrayLike = 1.0,
        function: str = "BatchMaker",
    ) -> None:
        if augment is not None and not isinstance(augment, Augment):
            fail(function, "augment", "None or a fastnn.data.Augment", type(augment).__name__, error=TypeError)
        if augment is not None and len(shape) != 3:
            fail(
                function, "x", "images of shape (n, height, width, channels) for augment", f"shape {('n', *shape)}",
                "Grey images take a last axis of one channel: x[..., None].",
            )  # fmt: skip
        self.augment = augment
        self.shape = shape  # of a sample of the batch
        self._stored = _as_image(shape, merge=augment is None)
        self._out = self._stored
        if augment is not None:
            self.shape = self._out = (*augment.output_size(*shape[:2]), shape[2])
        self.factor, self.shift = _normalisation(function, scale, mean, std, self._out[2])  # a channel's
        self._factor, self._shift = np.tile(self.factor, self._out[1]), np.tile(self.shift, self._out[1])

    def moves(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int], bool, bool]:
        """(corner rows, corner columns, horizontal flips, vertical flips) that ``Augment.draw`` draws from."""
        return ((0, 0), (0, 0), False, False) if self.augment is None else self.augment.limits(height, width)

    def make(
        self, x: NDArray[Any], index: NDArray[np.int64], out: NDArray[np.float32], seed: int = 0, epoch: int = 0
    ) -> None:
        """Write the samples ``x[index]`` to ``out``; seed, epoch and a sample's index fix its crop and flip."""
        if self.augment is None:
            moves = np.zeros((len(index), 4), np.int32)
        else:
            moves = self.augment.draw(index, self._stored[0], self._stored[1], seed, epoch)
        stored, batch = x.reshape(len(x), *self._stored), out.reshape(len(out), *self._out)
        _augment.gather(stored, index, batch, moves, self._factor, self._shift)


def _positive_pair(function: str, argument: str, value: Any) -> tuple[int, int]:
    try:
        first, second = (int(v) for v in value if v == int(v))
    except (TypeError, ValueError):
        first = second = 0
    if first < 1 or second < 1:
        fail(function, argument, "two whole numbers of at least 1", repr(value))
    return first, second


def _as_image(shape: tuple[int, ...], merge: bool) -> tuple[int, int, int]:
    """The shape as (height, width, channels). Without augmentation rows are only loops: short ones are merged."""
    channels = shape[-1] if shape else 1
    if merge and math.prod(shape) <= _LONGEST_ROW:
        return 1, math.prod(shape[:-1]), channels
    width = shape[-2] if len(shape) > 1 else 1
    return math.prod(shape[:-2]), width, channels


def _normalisation(
    function: str, scale: float, mean: ArrayLike, std: ArrayLike, channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(x * scale - mean) / std as x * factor + shift, one factor and shift a channel."""
    values = {}
    for name, value in (("scale", scale), ("mean", mean), ("std", std)):
        array = np.asarray(value, np.float64)
        if array.shape not in ((), (1,), (channels,)) or (name == "scale" and array.ndim):
            wanted = "a number" if name == "scale" else f"a number or one number for each of the {channels} channels"
            fail(function, name, wanted, f"shape {array.shape}")
        if not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
            fail(function, name, "finite" + (" and positive" if name == "std" else ""), repr(value))
        values[name] = array
    factor = np.broadcast_to(values["scale"] / values["std"], (channels,)).astype(np.float32)
    shift = np.broadcast_to(-values["mean"] / values["std"], (channels,)).astype(np.float32)
    return factor, shift
