"""Models: layers put together, trained, saved and loaded."""

from fastnn.models.saving import load_model
from fastnn.models.sequential import Sequential

__all__ = ["Sequential", "load_model"]
