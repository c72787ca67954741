"""fastnn: trains neural networks fast on the machine at hand.

    from fastnn import layers, models

    model = models.Sequential([layers.Dense(10, activation="softmax", input_shape=(784,))])

Submodules load on first use, so that `import fastnn` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_SUBMODULES = (
    "activations",
    "callbacks",
    "data",
    "distributed",
    "functional",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "random",
    "regularizers",
    "schedules",
)
_ADAPTERS = ("jax", "torch")  # to other frameworks, which they import
# Functions of the top level, and the module that each comes from.
_FUNCTIONS = {"set_seed": "random", "set_num_threads": "_backend", "get_num_threads": "_backend"}

__all__ = ["__version__", *_SUBMODULES, *_FUNCTIONS]

if TYPE_CHECKING:
    from fastnn._backend import get_num_threads as get_num_threads
    from fastnn._backend import set_num_threads as set_num_threads
    from fastnn.random import set_seed as set_seed


def __getattr__(name):
    if name in _SUBMODULES or name in _ADAPTERS:
        return importlib.import_module(f"fastnn.{name}")
    if name in _FUNCTIONS:
        value = getattr(importlib.import_module(f"fastnn.{_FUNCTIONS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__, *_ADAPTERS})
