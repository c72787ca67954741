"""Windows over images: pairs, paddings and output sizes. Shared by the layers and ``functional``."""

from typing import Any

import numpy as np

from fastnn._check import fail

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # top, bottom, left, right


def pair(value: Any, function: str, argument: str, least: int = 1) -> Pair:
    """``value`` as two integers >= ``least``: (height, width)."""
    both = (value, value) if isinstance(value, (int, np.integer)) else value
    if not _integers(both, 2, least):
        fail(function, argument, f"an integer or two integers >= {least}", repr(value))
    return int(both[0]), int(both[1])


def _integers(values: Any, count: int, least: int) -> bool:
    if not isinstance(values, (tuple, list)) or len(values) != count:
        return False
    return all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and v >= least for v in values)


def check_padding(padding: Any, function: str) -> str | Padding:
    """A padding in one of two forms: "valid" or "same", or explicit (top, bottom, left, right).

    Args:
        padding: also p, (vertical, horizontal) or ((top, bottom), (left, right)).
        function: for the message.
    """
    if isinstance(padding, str) and padding.lower() in ("valid", "same"):
        return padding.lower()
    if _integers(padding, 4, 0):
        return tuple(int(p) for p in padding)  # type: ignore[return-value]
    if _integers((padding,), 1, 0) or _integers(padding, 2, 0):
        vertical, horizontal = pair(padding, function, "padding", 0)
        return vertical, vertical, horizontal, horizontal
    if isinstance(padding, (tuple, list)) and len(padding) == 2 and all(_integers(p, 2, 0) for p in padding):
        (top, bottom), (left, right) = padding
        return int(top), int(bottom), int(left), int(right)
    wanted = "'valid', 'same', p, (vertical, horizontal) or ((top, bottom), (left, right))"
    return fail(function, "padding", wanted, repr(padding))


def _same(size: int, window: int, stride: int) -> Pair:
    """Padding (before, after) for ceil(size / stride) outputs; the odd one goes after, as in Keras and TensorFlow."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def resolve(
    size: Pair, window: Pair, strides: Pair, padding: str | Padding, dilations: Pair, function: str
) -> tuple[Padding, Pair]:
    """The explicit padding and the output's (height, width).

    Raises:
        ValueError: the window is larger than the padded input.
    """
    reach = tuple((w - 1) * d + 1 for w, d in zip(window, dilations, strict=True))
    if padding == "same":
        vertical, horizontal = (_same(s, r, t) for s, r, t in zip(size, reach, strides, strict=True))
        amounts: Padding = (*vertical, *horizontal)
    else:
        amounts = (0, 0, 0, 0) if padding == "valid" else padding  # type: ignore[assignment]
    padded = (size[0] + amounts[0] + amounts[1], size[1] + amounts[2] + amounts[3])
    if reach[0] > padded[0] or reach[1] > padded[1]:
        remedy = "Use padding='same', a smaller window or a larger image."
        fail(
            function, "window", f"at most the padded input of {padded[0]}x{padded[1]}", f"{reach[0]}x{reach[1]}", remedy
        )
    return amounts, ((padded[0] - reach[0]) // strides[0] + 1, (padded[1] - reach[1]) // strides[1] + 1)
