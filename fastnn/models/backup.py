"""All that training goes on from, in one file: weights, the optimizer's state, where the random numbers are.

With several ranks each writes a file: rank 0 what all have in common, the others what is their own alone. Groups of
ranks bring the rest together as `fit` begins.
"""

import contextlib
from typing import Any

import numpy as np

from fastnn import __version__, random
from fastnn._backend import assign
from fastnn._check import fail
from fastnn.distributed.sharded import Sharded
from fastnn.models import saving


def save_backup(model: Any, filepath: Any, whole: bool) -> None:
    """Write the state of a built and compiled model, and that of the random numbers, into one safetensors file.

    Args:
        model: compiled and built.
        filepath: the file; it's there complete or not at all.
        whole: write a model's file, as ``model.save`` does, with what is needed beside it; False leaves out what all
            ranks have in common. A model that can't be saved, as its loss is a function, can still be backed up.
    """
    tensors, header = saving.tensors_of(model), {"version": __version__, "whole": whole}
    if whole:
        with contextlib.suppress(ValueError):  # a loss of the user's own has no name: then it's no model's file
            header.update(saving.header_of(model))
    else:
        divided = isinstance(model.optimizer, Sharded)
        tensors = {name: array for name, array in tensors.items() if divided and name.startswith("optimizer/")}
    tensors.update({f"random/{name}": array for name, array in _random_arrays(model).items()})
    rate = model.optimizer.learning_rate
    header["learning_rate"] = None if callable(rate) else float(rate)
    saving.write_tensors(filepath, tensors, header, "BackupAndRestore")


def load_backup(model: Any, filepath: Any) -> None:
    """Bring back what `save_backup` wrote.

    Raises:
        ValueError: the file is damaged, or of another model or optimizer.
    """
    header, tensors = saving.read_tensors(filepath, "BackupAndRestore")
    parts: dict[str, dict[str, np.ndarray]] = {"optimizer": {}, "random": {}}
    for name, array in tensors.items():
        part, _, own_name = name.partition("/")
        if part in parts:
            parts[part][own_name] = array
    if header["whole"]:
        saving.assign_weights(model, saving.weights_of(tensors), filepath, "BackupAndRestore")
    if parts["optimizer"]:
        model.optimizer.load_state_arrays(parts["optimizer"])
    if header["learning_rate"] is not None:
        model.optimizer.learning_rate = header["learning_rate"]
    own = _random_arrays(model)
    if own.keys() != parts["random"].keys():
        fail("BackupAndRestore", "filepath", "a file of this model", f"one with other layers in {str(filepath)!r}")
    random.set_generator_state(parts["random"]["generator"])
    for name in own.keys() - {"generator"}:
        assign(own[name], parts["random"][name])


def _random_arrays(model: Any) -> dict[str, Any]:
    states = {f"layers/{i}": state for i, state in enumerate(model._random_states())}
    return {"generator": random.generator_state(), "shared": random.dropout_state, **states}
