"""Seeds: one call makes initial weights, shuffles, augmentation and dropout repeatable to the bit.

Two generators, both counter-based (Philox, Salmon et al. 2011):

- ``generator()`` is NumPy's, for everything drawn outside a training step: initial weights, permutations.
- ``dropout_state`` is a small array ``(seed, counter)`` that the kernels read at every call, so that a mask is a pure
  function of (seed, counter, layer) and the backward pass draws it again instead of storing it. A training step adds
  one to the counter.
"""

import secrets
from typing import Any

import numpy as np

from fastnn import _backend, _check, _devices

dropout_state = np.zeros(2, dtype=np.uint64)
_dropout_state_on_gpu: Any = None
_GENERATOR_POSITION = ("buffer_pos", "has_uint32", "uinteger")
_generator: np.random.Generator | None = None


def set_seed(seed: int) -> None:
    """Start every generator of the package again from ``seed``.

    Args:
        seed: an integer, 0 <= seed < 2**64. With the same seed, thread count and ISA level a run gives the same bits.

    Raises:
        ValueError: seed is negative or needs more than 64 bits.
        TypeError: seed isn't an integer.
    """
    global _generator
    seed = _check.integer("set_seed", "seed", seed, 0, 2**64 - 1)
    _generator = np.random.Generator(np.random.Philox(key=seed))
    restore_dropout(seed, 0)


def restore_dropout(seed: int, counter: int) -> None:
    """Set the shared stream of dropout masks, on all devices, as if ``counter`` had been drawn since ``set_seed``."""
    dropout_state[:] = seed, counter
    if _dropout_state_on_gpu is not None:
        _backend.assign(_dropout_state_on_gpu, dropout_state)


def generator() -> np.random.Generator:
    """The generator of initial weights and permutations; seeded by the operating system until ``set_seed`` is
    called."""
    if _generator is None:
        set_seed(secrets.randbits(63))
        assert _generator is not None
    return _generator


def generator_state() -> np.ndarray:
    """Where ``generator()`` is, uint64[13], for ``set_generator_state``."""
    state: Any = generator().bit_generator.state
    inner = state["state"]
    numbers = [*inner["counter"], *inner["key"], *state["buffer"]]
    return np.array([*numbers, *(state[name] for name in _GENERATOR_POSITION)], np.uint64)


def set_generator_state(state: np.ndarray) -> None:
    """Put ``generator()`` where it was."""
    philox: Any = np.random.Philox(key=0)
    inner = {"counter": state[:4], "key": state[4:6]}
    position = {name: int(number) for name, number in zip(_GENERATOR_POSITION, state[10:])}
    philox.state = {"bit_generator": "Philox", "state": inner, "buffer": state[6:10], **position}
    generator().bit_generator.state = philox.state


def new_state(seed: int) -> np.ndarray:
    """A dropout state of its own, for a layer that is given a seed: uint64 ``(seed, counter)``."""
    return np.array([seed, 0], dtype=np.uint64)


def place(state: Any) -> Any:
    """A layer's dropout state on the device that the thread is on; the shared one is shared there, too."""
    global _dropout_state_on_gpu
    if state is not dropout_state and state is not _dropout_state_on_gpu:
        return _backend.to_device(_backend.to_host(state))
    if _devices.current() is None:
        return dropout_state
    if _dropout_state_on_gpu is None:
        _dropout_state_on_gpu = _backend.to_device(dropout_state)
    return _dropout_state_on_gpu


def advance(state: np.ndarray = dropout_state) -> None:
    """Move on to the next masks: called once before a forward pass of training. A kernel, so that a tape records it."""
    _backend.kernels.advance_random(state)
