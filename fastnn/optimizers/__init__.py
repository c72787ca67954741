"""Optimizers, with Keras' names, arguments and defaults, over flat buffers.

Every optimizer keeps its state ("slots") in buffers laid out like the model's flat parameters, and a step is one kernel
call over a table of all tensors: the regularizers' gradients, clipping, weight decay and the update in one pass. Where
g is the gradient, lr the learning rate and t the number of the step, counted from 1:

    g += l1 * sign(p) + l2 * p                       the kernel_regularizer of the layer
    g *= min(1, clipnorm / ||g||)                    clipnorm: norm of one tensor; global_clipnorm: of all together
    g = clip(g, -clipvalue, clipvalue)
    p -= lr * weight_decay * p                       decoupled from g, as in AdamW (Loshchilov & Hutter 2019)
    p -= the update that the class describes

With `skip_nonfinite` a step in which a gradient isn't finite changes nothing.

`learning_rate` is a number, a schedule of `fastnn.schedules` or any callable `f(step) -> float`, called with the number
of steps made so far.
"""

from __future__ import annotations

from typing import Any

from fastnn import _check
from fastnn.optimizers.base import Optimizer
from fastnn.optimizers.layerwise import LARS, Lamb
from fastnn.optimizers.muon import Muon
from fastnn.optimizers.rules import SGD, Adagrad, Adam, AdamW, Lion, RMSprop

__all__ = ["KNOWN", "LARS", "SGD", "Adagrad", "Adam", "AdamW", "Lamb", "Lion", "Muon", "Optimizer", "RMSprop"]
__all__ += ["deserialize", "get", "serialize"]

_CLASSES: tuple[type[Optimizer], ...] = (SGD, Adam, AdamW, RMSprop, Adagrad, Lion, Lamb, LARS, Muon)
KNOWN: dict[str, type[Optimizer]] = {cls.default_name: cls for cls in _CLASSES}


def get(spec: Any) -> Optimizer:
    """An optimizer from an optimizer, its name ("adam", "RMSprop", any case), a class, or a saved config.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if isinstance(spec, Optimizer):
        return spec
    if isinstance(spec, type) and issubclass(spec, Optimizer):
        return spec()
    if isinstance(spec, dict):
        return deserialize(spec)
    name = spec.lower() if isinstance(spec, str) else spec
    return KNOWN[_check.choice("optimizers.get", "optimizer", name, KNOWN)]()


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """A dict that JSON can hold; `deserialize` makes an equal optimizer of it (without the state)."""
    return {"class_name": optimizer.default_name, "config": optimizer.get_config()}


def deserialize(config: dict[str, Any]) -> Optimizer:
    """The optimizer that `serialize` described."""
    name = str(config.get("class_name")).lower()
    cls = KNOWN[_check.choice("optimizers.deserialize", "class_name", name, KNOWN)]
    return cls(**config.get("config", {}))
