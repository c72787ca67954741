"""``Sequential``: layers one after the other. Training is in ``training.py``."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastnn import _backend, random
from fastnn import layers as layer_module
from fastnn._check import fail
from fastnn.layers import ActivatedLayer, InputLayer, Layer, Parameter
from fastnn.layers.base import Shape, check_shape, copy_weights, weight_copies
from fastnn.layers.buffers import GradientBuffers
from fastnn.models import backup, saving, summary
from fastnn.models.flat import FlatParameters
from fastnn.models.fusion import Steps, fuse
from fastnn.models.training import Trainer


class Sequential(Trainer):
    """A stack of layers, each fed by the one before.

    The shape of a sample comes from ``Input(shape)`` as the first entry, from ``input_shape=`` of the first layer,
    from ``build``, or from the first data that ``fit``, ``evaluate`` or ``predict`` sees.

    Args:
        layers: the layers, in order; more can be added.
        trainable: False freezes every layer that is added.
        name: for the summary and the saved file; "sequential" if None.

    Example:
        model = Sequential([Input((784,)), Dense(128, activation="relu"), Dense(10, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=32, epochs=5)
    """

    def __init__(self, layers: Iterable[Layer] | None = None, trainable: bool = True, name: str | None = None):
        super().__init__()
        self.name = name or "sequential"
        self._freeze = not trainable
        self.layers: list[Layer] = []
        self._gradients = GradientBuffers()
        self._steps: Steps | None = None
        self.built = False
        self._sample_shape: Shape | None = None
        self._flat: FlatParameters | None = None
        for layer in layers or ():
            self.add(layer)

    def add(self, layer: Layer) -> None:
        """Append a layer. The optimizer of a compiled model starts afresh."""
        if not isinstance(layer, Layer):
            remedy = "Write Dense(10), not Dense." if isinstance(layer, type) else ""
            fail("Sequential.add", "layer", "a layer", repr(layer), remedy, error=TypeError)
        if any(layer is other for other in self.layers):
            fail("Sequential.add", "layer", "one that isn't part of the model yet", repr(layer))
        if isinstance(layer, InputLayer):
            if self._sample_shape is not None or self.layers:
                fail("Sequential.add", "Input", "the first entry and the only one", repr(layer))
            self._sample_shape = layer.input_shape
            return
        self._name(layer)
        self.layers.append(layer)
        if self._freeze:
            layer.trainable = False
        layer.stream = len(self.layers)
        if self._sample_shape is None and len(self.layers) == 1:
            self._sample_shape = layer.input_shape
        if self._sample_shape is not None:
            self._build_layers()
        self._forget_compiled()

    def pop(self) -> Layer:
        """Take the last layer away and return it. The optimizer of a compiled model starts afresh."""
        if not self.layers:
            fail("Sequential.pop", "the model", "one with layers", "an empty one")
        layer = self.layers.pop()
        self.built = self.built and bool(self.layers)
        self._forget_compiled()
        return layer

    def _name(self, layer: Layer) -> None:
        """A name that is unique in the model: dense, dense_1, ..."""
        taken = {other.name for other in self.layers}
        if layer.given_name is not None and layer.name in taken:
            fail("Sequential.add", "name", "unique in the model", repr(layer.name))
        name, number = layer.name, 0
        while name in taken:
            number += 1
            name = f"{layer.name}_{number}"
        layer.rename(name)

    def build(self, input_shape: Any = None) -> None:
        """Give every layer its weights.

        Args:
            input_shape: with the batch axis, as in Keras: (None, 28, 28, 1). None takes what the model knows already.
        """
        if input_shape is not None:
            remedy = "The first entry is the batch axis: build((None, 784))."
            if not isinstance(input_shape, (tuple, list)) or len(input_shape) < 2:
                fail("Sequential.build", "input_shape", "(None, ...)", repr(input_shape), remedy)
            shape = check_shape(tuple(input_shape[1:]), "Sequential.build")
            if self._sample_shape is not None and shape != self._sample_shape:
                fail("Sequential.build", "input_shape", str((None, *self._sample_shape)), repr(input_shape))
            self._sample_shape = shape
        if self._sample_shape is None:
            remedy = "Pass input_shape, or start the model with Input(shape)."
            fail("Sequential.build", "input_shape", "given or known from the first layer", "None", remedy)
        if not self.layers:
            fail("Sequential.build", "the model", "one with layers", "an empty one", "Call model.add(layer) first.")
        self._build_layers()

    def _build_layers(self) -> None:
        shape = self._sample_shape
        for layer in self.layers:
            assert shape is not None
            if layer.input_limit is not None and layer is not self.layers[0]:
                wanted = "the model's first layer, as it takes ids"
                fail("Sequential", layer.name, wanted, f"one behind {self.layers[0].name}")
            layer.ensure_built(shape)
            layer.gradients = self._gradients
            shape = layer.output_shape
        self._steps = None
        self.built = True

    def _place_layers(self) -> None:
        self._gradients = GradientBuffers()
        for layer in self.layers:
            layer.place()
            layer.gradients = self._gradients

    def _flatten(self) -> FlatParameters:
        """Lay the parameters out anew, trainable ones first; the values stay."""
        trained = self.trainable_parameters
        kept = {id(p) for p in trained}
        self._flat = FlatParameters(trained, [p for p in self.parameters if id(p) not in kept])
        return self._flat

    def _need_built(self, function: str) -> None:
        if not self.built:
            remedy = "Call model.build((None, ...)), start with Input(shape), or fit it first."
            fail(function, "the model", "built", "one whose input shape isn't known", remedy)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """With the batch axis: (None, ...)."""
        self._need_built("Sequential.input_shape")
        assert self._sample_shape is not None
        return (None, *self._sample_shape)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """With the batch axis: (None, ...)."""
        self._need_built("Sequential.output_shape")
        return (None, *self.layers[-1].output_shape)  # type: ignore[misc]

    @property
    def parameters(self) -> list[Parameter]:
        """Every parameter, layer by layer; the order of ``get_weights``."""
        return [p for layer in self.layers for p in layer.parameters]

    @property
    def trainable_parameters(self) -> list[Parameter]:
        """Those that an optimizer changes."""
        return [p for layer in self.layers for p in layer.trainable_parameters]

    @property
    def trainable(self) -> bool:
        """Whether any layer is trainable; setting it sets every layer. Takes effect at ``compile``."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._freeze = not value
        for layer in self.layers:
            layer.trainable = bool(value)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or by its place."""
        if (name is None) == (index is None):
            fail("Sequential.get_layer", "name or index", "given, one of them", f"name={name!r}, index={index!r}")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                fail("Sequential.get_layer", "index", f"a place among {len(self.layers)} layers", index)
            return self.layers[index]
        found = [layer for layer in self.layers if layer.name == name]
        if not found:
            fail("Sequential.get_layer", "name", "one of " + ", ".join(x.name for x in self.layers), repr(name))
        return found[0]

    def count_params(self) -> int:
        """Number of weights."""
        self._need_built("Sequential.count_params")
        return sum(layer.count_params() for layer in self.layers)

    def summary(self, line_length: int | None = None, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print a table of the layers, their output shapes and their numbers of weights.

        Args:
            line_length: least width of the table, in characters.
            print_fn: gets the text instead of ``print``.
        """
        self._need_built("Sequential.summary")
        summary.print_summary(self, line_length, print_fn)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of every weight, layer by layer."""
        self._need_built("Sequential.get_weights")
        return weight_copies(self.parameters)

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Copy weights in, as ``get_weights`` returns them: the same number, the same shapes; else nothing changes."""
        self._need_built("Sequential.set_weights")
        copy_weights(self.parameters, weights, "Sequential.set_weights")

    def save(self, filepath: Any) -> None:
        """Write architecture, weights, compile arguments and the optimizer's state into one safetensors file; see
        ``load_model``."""
        self._need_built("Sequential.save")
        saving.save_model(self, filepath)

    def save_weights(self, filepath: Any) -> None:
        """Write the weights alone, as a safetensors file with the tensors "layer/parameter"."""
        self._need_built("Sequential.save_weights")
        saving.save_weights(self, filepath)

    def load_weights(self, filepath: Any) -> None:
        """Read weights written by ``save_weights`` or ``save`` into a model of the same architecture."""
        self._need_built("Sequential.load_weights")
        saving.load_weights(self, filepath)

    def _save_backup(self, filepath: Any, whole: bool) -> None:
        backup.save_backup(self, filepath, whole)

    def _load_backup(self, filepath: Any) -> None:
        backup.load_backup(self, filepath)

    def get_config(self) -> dict[str, Any]:
        """The architecture as JSON types."""
        shape = None if self._sample_shape is None else list(self._sample_shape)
        return {"name": self.name, "input_shape": shape, "layers": [layer_module.serialize(x) for x in self.layers]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None) -> "Sequential":
        """An uncompiled model with new weights, from ``get_config``."""
        model = cls(name=config["name"])
        if config.get("input_shape") is not None:
            model.add(InputLayer(config["input_shape"]))
        for layer in config["layers"]:
            model.add(layer_module.deserialize(layer, custom_objects))
        return model

    @property
    def steps(self) -> Steps:
        """What a pass goes through: layers, or several that run as one; see ``fusion.fuse``."""
        steps = self._steps
        if steps is None or [layer for _, layers in steps for layer in layers] != self.layers:
            steps = self._steps = fuse(self.layers)
        return steps

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Outputs for one batch in the last layer's buffer: float32, C-contiguous x only; no check, no copy."""
        if isinstance(self.layers[-1], ActivatedLayer):
            self.layers[-1].emit_logits = False  # a step that was interrupted may have left it set
        for step, _ in self.steps:
            x = step.forward(x, training)
        return x

    def __call__(self, x: Any, training: bool = False) -> np.ndarray:
        """Outputs for one batch, as a new array that is the caller's; x is converted as in ``predict``.

        Without ``training`` this is the fastest way to the outputs of a small batch: see ``predict_on_batch``.
        """
        if not training:
            y = self._inference.call(x)
            return self._outputs(x, "Sequential.__call__") if y is None else y
        batch = self._convert_batch(x, "Sequential.__call__")
        with _backend.on(self.device, self.compute):
            for state in self._random_states():
                random.advance(state)
            return np.array(_backend.to_host(self.forward(_backend.to_device(batch), True)))
