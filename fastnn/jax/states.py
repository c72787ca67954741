"""optax's states: tuples of named tuples, as `chain`, `masked` and the transformations make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp


def parts(state: Any) -> Iterator[Any]:
    """Every named tuple of a chain's state, those inside `masked` too."""
    if hasattr(state, "_fields"):
        if "inner_state" in state._fields:
            yield from parts(state.inner_state)
        else:
            yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from parts(part)


def find(state: Any, field: str, kind: str | None = None) -> Any:
    """The value of the first field of that name, in a part whose class is called `kind` if one is given; else None."""
    for part in parts(state):
        if field in part._fields and kind in (None, type(part).__name__):
            return getattr(part, field)
    return None


def advanced(state: Any, slots: dict[str, Any], skipped: Any = None) -> Any:
    """The state after a step: every `count` one higher, unless it was skipped, and the fields of `slots` replaced."""

    def change(part: Any) -> Any:
        fields = {name: value for name, value in slots.items() if name in part._fields}
        if "count" in part._fields:
            count = incremented(part.count)
            fields["count"] = count if skipped is None else jnp.where(skipped, part.count, count)
        return part._replace(**fields)

    return _map_parts(change, state)


def _map_parts(change: Callable[[Any], Any], state: Any) -> Any:
    if hasattr(state, "_fields"):
        if "inner_state" in state._fields:
            return state._replace(inner_state=_map_parts(change, state.inner_state))
        return change(state)
    return tuple(_map_parts(change, part) for part in state) if isinstance(state, tuple) else state


def incremented(count: Any) -> jax.Array:
    """count + 1, or the largest integer of its type again: a training of 2^31 steps must not start anew."""
    count = jnp.asarray(count)
    largest = jnp.iinfo(count.dtype).max
    return jnp.where(count < largest, count + jnp.ones_like(count), largest)
