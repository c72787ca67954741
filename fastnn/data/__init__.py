"""Data: ``Loader`` makes batches of arrays, ``Augment`` says how images are varied, ``datasets`` reads known data sets.

Submodules load when first asked for, so that importing ``fastnn.data`` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.data import datasets
    from fastnn.data.loader import Loader
    from fastnn.data.transforms import Augment

__all__ = ["Augment", "Loader", "datasets"]

_HOMES = {"Augment": "transforms", "Loader": "loader", "datasets": "datasets"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == "datasets" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
