"""Windows over images: pairs, paddings and output sizes. Shared by the layers and ``functional``."""

from typing import Any

from fastnn._check import fail

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # top, bottom, left, right


def pair(value: Any, function: str, argument: str, least: int = 1) -> Pair:
    """``value`` as two integers >= ``least``: (height, width)."""
    both = (value, value) if isinstance(value, int) else value
    try:
        first, second = (int(v) for v in both)
        exact = all(int(v) == v for v in both)
    except (TypeError, ValueError):
        return fail(function, argument, "an integer or two integers", repr(value))
    if not exact or isinstance(value, bool) or first < least or second < least:
        fail(function, argument, f"an integer or two integers >= {least}", repr(value))
    return first, second


def check_padding(padding: Any, function: str) -> str | Padding:
    """ "valid", "same", or explicit: p, (vertical, horizontal) or ((top, bottom), (left, right)), made (top, bottom,
    left, right)."""
    if isinstance(padding, str):
        if padding.lower() in ("valid", "same"):
            return padding.lower()
    elif isinstance(padding, int) and not isinstance(padding, bool) and padding >= 0:
        return (padding,) * 4
    elif isinstance(padding, (tuple, list)) and len(padding) == 2:
        vertical, horizontal = padding
        top, bottom = pair(vertical, function, "padding", 0)
        left, right = pair(horizontal, function, "padding", 0)
        return top, bottom, left, right
    elif isinstance(padding, (tuple, list)) and len(padding) == 4:
        return tuple(int(p) for p in padding)  # type: ignore[return-value]
    return fail(
        function,
        "padding",
        "'valid', 'same', p, (vertical, horizontal) or ((top, bottom), (left, right))",
        repr(padding),
    )


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
