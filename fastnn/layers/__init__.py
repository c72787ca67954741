"""Layers, with Keras' names, arguments and defaults. Images are NHWC."""

from typing import Any

from fastnn._check import choice, fail
from fastnn.layers.augmentation import RandomCrop, RandomFlip
from fastnn.layers.base import ActivatedLayer, Layer, Parameter
from fastnn.layers.conv import Conv2D, DepthwiseConv2D
from fastnn.layers.core import (
    ELU,
    Activation,
    Dense,
    Dropout,
    Flatten,
    Input,
    InputLayer,
    LeakyReLU,
    ReLU,
    Reshape,
    Softmax,
)
from fastnn.layers.embedding import Embedding
from fastnn.layers.gated import GRU, LSTM
from fastnn.layers.normalization import BatchNormalization, LayerNormalization
from fastnn.layers.pooling import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from fastnn.layers.recurrent import Recurrent, SimpleRNN

MaxPool2D, AvgPool2D = MaxPooling2D, AveragePooling2D
GlobalAvgPool2D, GlobalMaxPool2D = GlobalAveragePooling2D, GlobalMaxPooling2D

__all__ = ["ELU", "GRU", "LSTM", "ActivatedLayer", "Activation", "AveragePooling2D", "AvgPool2D", "BatchNormalization"]
__all__ += ["Conv2D", "Dense", "DepthwiseConv2D", "Dropout", "Embedding", "Flatten", "GlobalAveragePooling2D"]
__all__ += ["GlobalAvgPool2D", "GlobalMaxPool2D", "GlobalMaxPooling2D", "Input", "InputLayer", "Layer"]
__all__ += ["LayerNormalization", "LeakyReLU", "MaxPool2D", "MaxPooling2D", "Parameter", "RandomCrop", "RandomFlip"]
__all__ += ["ReLU", "Recurrent", "Reshape", "SimpleRNN", "Softmax", "deserialize", "serialize"]


def serialize(layer: Layer) -> dict[str, Any]:
    """A layer's class and arguments as JSON types."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize(config: Any, custom_objects: dict[str, type[Layer]] | None = None) -> Layer:
    """An unbuilt layer from what ``serialize`` returned.

    Args:
        config: {"class_name": ..., "config": {...}}.
        custom_objects: classes by name, looked up first; for layers that aren't part of fastnn.
    """
    if not isinstance(config, dict) or not isinstance(config.get("config", {}), dict):
        fail("layers.deserialize", "config", "a dict with class_name and config", repr(config))
    known: dict[str, type[Layer]] = {**_classes(), **(custom_objects or {})}
    remedy = "Pass custom_objects={name: class} for a layer of your own."
    name = choice("layers.deserialize", "class_name", config.get("class_name"), sorted(known), remedy)
    return known[name].from_config(config.get("config", {}))


def _classes() -> dict[str, type[Layer]]:
    values = list(globals().values())
    return {v.__name__: v for v in values if isinstance(v, type) and issubclass(v, Layer)}
