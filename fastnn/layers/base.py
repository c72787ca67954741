"""What every layer is: parameters, a forward and a backward pass over buffers that stay.

A layer owns its buffers, so a step of training allocates nothing: ``self.buffer(name, shape)`` returns the same memory
each time it is asked for the same shape, and smaller batches use the beginning of a larger one's. What ``forward`` and
``backward`` return is such a buffer and is overwritten by the next call; a layer that is called, ``layer(x)``, returns
a copy.
"""

import inspect
import re
from typing import Any

import numpy as np

from fastnn import activations, initializers, random, regularizers
from fastnn._backend import assign, kernels, to_host
from fastnn._check import fail
from fastnn.layers.buffers import Buffers, GradientBuffers
from fastnn.layers.parameter import Parameter, Shape


class Layer:
    """Base of all layers. A subclass writes ``build``, ``forward``, ``backward`` and, for its own arguments,
    ``get_config``.

    Args:
        name: None takes the class's name in snake case; a model makes it unique.
        trainable: False keeps the layer's parameters as they are. Change it before ``compile``.
        input_shape: shape of a sample, without the batch axis; only needed by the first layer of a model.

    Attributes:
        parameters: list of ``Parameter``, in the order in which they were added.
        input_shape, output_shape: of a sample, known once the layer is built.
        built: whether ``build`` was called.
        stream: number of the layer in its model; layers that draw random numbers use it to draw different ones.
        input_limit: None, or what the ids must be below that the layer takes, int32, instead of float32 numbers.
        random_state: a uint64 array (seed, counter) if the layer draws random numbers in training, else None.
    """

    random_state: np.ndarray | None = None
    input_limit: int | None = None

    def __init__(
        self, name: str | None = None, trainable: bool = True, input_shape: Shape | int | None = None, **unknown: Any
    ):
        cls = type(self).__name__
        if unknown:
            known = ", ".join(known_arguments(type(self)))
            remedy = f"{cls} takes: {known}"
            fail(cls, "every argument", "known", ", ".join(unknown), remedy, error=TypeError)
        if name is not None and not isinstance(name, str):
            fail(cls, "name", "a string or None", repr(name))
        if name is not None and ("/" in name or name in ("", "optimizer")):
            fail(cls, "name", "neither empty nor 'optimizer', without '/', as files are laid out by it", repr(name))
        self.given_name = name
        self.name = name or snake_case(cls)
        self.trainable = bool(trainable)
        self.input_shape: Shape | None = None if input_shape is None else check_shape(input_shape, cls)
        self.output_shape: Shape | None = None
        self.built = False
        self.parameters: list[Parameter] = []
        self.stream = 0
        self._buffers, self.gradients = Buffers(), GradientBuffers()

    def rename(self, name: str) -> None:
        """Another name, for the layer and in front of its parameters' names."""
        self.name = name
        for parameter in self.parameters:
            parameter.name = f"{name}/{parameter.name.rsplit('/', 1)[1]}"

    def build(self, input_shape: Shape) -> None:
        """Check the shape of a sample, add the weights and set ``output_shape``."""
        self.output_shape = input_shape

    def ensure_built(self, input_shape: Shape) -> None:
        """Build for samples of this shape, once; a second call with another shape is an error."""
        if self.built:
            if self.input_shape != input_shape:
                fail(self.name, "input_shape", f"{self.input_shape}, for which it was built", input_shape)
            return
        if self.input_shape is not None and self.input_shape != input_shape:
            fail(self.name, "input_shape", f"the shape of what comes before it, {input_shape}", self.input_shape)
        self.build(input_shape)
        self.input_shape = input_shape
        self.built = True

    def add_weight(
        self, name: str, shape: Shape, initializer: Any = "zeros", regularizer: Any = None, trainable: bool = True
    ) -> Parameter:
        """Add a parameter, initialized at once."""
        cls = type(self).__name__
        initializer = initializers.get(initializer, cls, f"{name}_initializer")
        regularizer = regularizers.get(regularizer, cls, f"{name}_regularizer")
        parameter = Parameter(f"{self.name}/{name}", tuple(shape), initializer, regularizer, trainable)
        self.parameters.append(parameter)
        return parameter

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        """y for x, float32[n, *input_shape], C-contiguous; a buffer of the layer's, or x itself."""
        raise NotImplementedError

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        """Gradients, after ``forward(x, training=True)``.

        Args:
            dy: gradient with respect to y, float32[n, *output_shape]; may be overwritten.
            need_dx: whether the gradient with respect to x is wanted.
            accumulate: add to the parameters' ``grad`` instead of replacing it.

        Returns:
            dx, float32[n, *input_shape], or None; what it lies in is used again by the layers below.
        """
        raise NotImplementedError

    def self_updating(self) -> list[Parameter]:
        """The parameters that ``update`` can update; none unless a layer says so."""
        return []

    def update(self) -> None:
        """Gradient and update of the ``self_updating`` parameters in one: what ``backward`` left out because their
        ``Parameter.update`` was set. It has gone through all layers before the first one's ``update`` is called."""
        raise NotImplementedError

    def __call__(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Forward pass alone; builds the layer if needed. Returns a new array. float32, C-contiguous [n, ...] only."""
        self.ensure_built(tuple(x.shape[1:]))
        if training and self.random_state is not None:
            random.advance(self.random_state)
        return self.forward(x, training).copy()

    def place(self) -> None:
        """Moves what the layer keeps to the device that the thread is on; its parameters are moved by the model."""
        self._buffers, self.gradients = Buffers(), GradientBuffers()
        if self.random_state is not None:
            self.random_state = random.place(self.random_state)

    def buffer(self, name: str, shape: Shape, dtype: Any = np.float32) -> np.ndarray:
        """An array of this shape whose memory stays; its content is whatever was last written there."""
        return self._buffers.get(name, shape, dtype)

    def gradient_buffer(self, shape: Shape, dy: np.ndarray) -> np.ndarray:
        """Where ``backward`` may leave dx: memory that all layers of the model share in turn, apart from dy's."""
        return self.gradients.take(shape, dy)

    @property
    def trainable_parameters(self) -> list[Parameter]:
        """The parameters that an optimizer changes: none if the layer isn't trainable."""
        return [p for p in self.parameters if p.trainable] if self.trainable else []

    def count_params(self) -> int:
        """Number of weights."""
        return sum(p.size for p in self.parameters)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the values, in the order of ``parameters``."""
        return weight_copies(self.parameters)

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Copy values in; as many as ``parameters``, of the same shapes."""
        copy_weights(self.parameters, weights, f"{self.name}.set_weights")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON types, so that ``from_config`` makes an equal, unbuilt layer."""
        config: dict[str, Any] = {"name": self.name}
        if not self.trainable:
            config["trainable"] = False
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """The inverse of ``get_config``."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}, output_shape={self.output_shape}>"


class ActivatedLayer(Layer):
    """A layer that ends in an activation, applied inside its own kernel where that's possible.

    Softmax isn't elementwise: the kernel runs linear, then the softmax kernel follows. A model whose loss takes the
    activation over sets ``emit_logits``; then ``forward`` leaves it out and ``backward`` takes the gradient with
    respect to the logits.

    Attributes:
        rule: the activation.
        emit_logits: see above.
    """

    def __init__(self, activation: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rule = activations.from_config(activation, type(self).__name__)
        self.emit_logits = False
        self._softmax = self.rule.name == "softmax"
        self._saved: np.ndarray | None = None

    def _begin(self, shape: Shape, training: bool) -> tuple[np.ndarray, np.ndarray | None, int]:
        """(y, z, activation) to hand to the kernel; remembers what the backward pass needs."""
        rule = self.rule
        if self._softmax or self.emit_logits:
            self._saved = None
            return self.buffer("z", shape), None, 0
        y = self.buffer("y", shape)
        if not rule.saves_input:
            self._saved = y if rule.code else None
            return y, None, rule.code
        self._saved = self.buffer("z", shape) if training else None
        return y, self._saved, rule.code

    def _end(self, y: np.ndarray) -> np.ndarray:
        """The layer's output, given the kernel's."""
        if self._softmax and not self.emit_logits:
            self._saved = self.buffer("y", y.shape)
            kernels.softmax_forward(as_rows(y), as_rows(self._saved))
            return self._saved
        return y

    def _begin_backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, int]:
        """(dy, saved, activation) to hand to the kernel."""
        if self.emit_logits:
            return dy, None, 0
        if self._softmax:
            assert self._saved is not None
            dz = self.buffer("dz", dy.shape)
            kernels.softmax_backward(as_rows(self._saved), as_rows(dy), as_rows(dz))
            return dz, None, 0
        return dy, self._saved, self.rule.code

    def activate(self, logits: np.ndarray) -> np.ndarray:
        """The activation of logits that ``forward`` emitted, in a buffer of its own."""
        y = self.buffer("activated", logits.shape)
        if self._softmax:
            kernels.softmax_forward(as_rows(logits), as_rows(y))
        else:
            kernels.activation_forward(logits, y, self.rule.code, self.rule.alpha)
        return y


def as_rows(x: np.ndarray) -> np.ndarray:
    """x as [rows, last axis], the same memory."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def snake_case(name: str) -> str:
    """``MaxPooling2D`` -> ``max_pooling2d``, as Keras names its layers."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])(?=[a-z]|[A-Z]{2})", r"_\1", name).lower()


def check_shape(shape: Any, function: str, argument: str = "input_shape") -> Shape:
    """A shape without the batch axis: a tuple of integers >= 1 (an integer n means (n,))."""
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else shape
    if not isinstance(sizes, (tuple, list)) or not all(isinstance(s, (int, np.integer)) and s > 0 for s in sizes):
        fail(function, argument, "a tuple of integers >= 1, without the batch axis", repr(shape))
    return tuple(int(s) for s in sizes)


def known_arguments(cls: type) -> list[str]:
    """Every argument that the constructors of a layer's class and its bases take."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
                if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                    names[name] = None
    return list(names)


def weight_copies(parameters: list[Parameter]) -> list[np.ndarray]:
    """New arrays on the CPU with the values of parameters."""
    return [np.array(to_host(p.value)) for p in parameters]


def copy_weights(parameters: list[Parameter], weights: Any, function: str) -> None:
    """Copy arrays into parameters, all or none: shapes are checked first."""
    arrays = [np.asarray(w) for w in weights]
    if len(arrays) != len(parameters):
        fail(function, "weights", f"a list of {len(parameters)} arrays", f"{len(arrays)}")
    for i, (parameter, array) in enumerate(zip(parameters, arrays)):
        if array.shape != parameter.shape or array.dtype.kind not in "fiub":
            wanted = f"numbers of shape {parameter.shape} ({parameter.name})"
            fail(function, f"weights[{i}]", wanted, f"{array.dtype} of shape {array.shape}")
    for parameter, array in zip(parameters, arrays):
        assign(parameter.value, array)
