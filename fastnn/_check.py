"""Checks of arguments. Every complaint reads `{function}: {argument} must be {wanted}, got {given}. {remedy}`."""

import math
import numbers
import operator
from typing import Any, NoReturn


def fail(
    function: str, argument: str, wanted: str, given: Any, remedy: str = "", error: type[Exception] = ValueError
) -> NoReturn:
    """Raises `error` with the message `{function}: {argument} must be {wanted}, got {given}. {remedy}`.

    Args:
        function: what the caller called, e.g. "Dense" or "Sequential.fit".
        argument: the argument's name, as the caller writes it.
        wanted: what it must be, e.g. "a whole number of at least 1".
        given: what it was; text is inserted as it is, so pass `describe(value)` for a value or an array.
        remedy: a sentence that says what to do, with its full stop; may be empty.
        error: the exception class.
    """
    message = f"{function}: {argument} must be {wanted}, got {given}"
    raise error(f"{message}. {remedy}" if remedy else message)


def describe(value: Any) -> str:
    """A short text for a message: dtype and shape of an array, the repr of anything else (cut after 80 characters)."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{dtype} array of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum} to {maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return f" of at most {maximum}" if maximum is not None else ""


def integer(
    function: str, argument: str, value: Any, minimum: int | None = None, maximum: int | None = None, remedy: str = ""
) -> int:
    """Returns `value` as int; fails unless it is a whole number (not a bool) within the bounds."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        fail(function, argument, f"a whole number{_bounds(minimum, maximum)}", describe(value), remedy, TypeError)
    if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        fail(function, argument, f"a whole number{_bounds(minimum, maximum)}", number, remedy)
    return number


def number(
    function: str,
    argument: str,
    value: Any,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    remedy: str = "",
) -> float:
    """Returns `value` as float; fails unless it is finite, minimum <= value <= maximum and above < value < below."""
    if type(value) is not float and (
        isinstance(value, bool) or not (isinstance(value, numbers.Real) or getattr(value, "shape", None) == ())
    ):
        fail(function, argument, _wanted(minimum, maximum, above, below), describe(value), remedy, TypeError)
    result = float(value)
    inside = (
        math.isfinite(result)
        and (minimum is None or result >= minimum)
        and (maximum is None or result <= maximum)
        and (above is None or result > above)
        and (below is None or result < below)
    )
    if not inside:
        fail(function, argument, _wanted(minimum, maximum, above, below), repr(result), remedy)
    return result


def _wanted(minimum: float | None, maximum: float | None, above: float | None, below: float | None) -> str:
    wanted = f"a finite number{_bounds(minimum, maximum)}"
    limits = [f"{word} {limit}" for word, limit in (("above", above), ("below", below)) if limit is not None]
    if limits:
        wanted += f"{',' if minimum is not None or maximum is not None else ''} {' and '.join(limits)}"
    return wanted


def boolean(function: str, argument: str, value: Any) -> bool:
    """Returns `value`; fails unless it is True or False."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):
        fail(function, argument, "True or False", describe(value), error=TypeError)
    return bool(value)


def choice(function: str, argument: str, value: Any, choices, remedy: str = "") -> Any:
    """Returns `value`; fails unless it is one of `choices`, naming them all and the nearest one."""
    known = list(choices)
    if value in known:
        return value
    if isinstance(value, str) and not remedy:
        import difflib

        near = difflib.get_close_matches(value, [name for name in known if isinstance(name, str)], n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else ""
    return fail(function, argument, f"one of {', '.join(map(repr, known))}", describe(value), remedy)
