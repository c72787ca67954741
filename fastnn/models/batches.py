"""From the user's arrays to what the kernels take, once, before training.

The rule at the level of ``fit``, ``evaluate`` and ``predict``: any array of booleans, integers or floating-point
numbers (whatever NumPy
makes of it: lists, DataFrames, tensors on the CPU) is converted to C-contiguous float32, targets to the loss's form
(int32 labels or float32). What already is C-contiguous and of the right dtype isn't copied. Values aren't scaled.
Anything else is an error.

A model on a GPU takes x that lies there (CuPy's arrays, torch's tensors, whatever has ``__cuda_array_interface__``) and
leaves it there; targets and weights come to the CPU once, where they are checked.
"""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from fastnn import _devices, losses, metrics
from fastnn._backend import kernels, lies_on_gpu, on, to_device
from fastnn._check import describe, fail
from fastnn.layers.base import Shape


class InputRule(NamedTuple):
    """What a model takes.

    Attributes:
        limit: ``Layer.input_limit`` of the layer that takes x.
        device: "cpu" or "cuda".
    """

    limit: int | None = None
    device: str = "cpu"


ANYTHING = InputRule()


class Batch(NamedTuple):
    """What a step works on; also a whole data set.

    Attributes:
        x: float32[n, *sample_shape], or int32 where the first layer takes ids.
        targets: the loss's form of y first, then what metrics want in another form.
        weights: float32[n] or None.
    """

    x: np.ndarray
    targets: tuple[np.ndarray, ...]
    weights: np.ndarray | None

    def rows(self, begin: int, end: int) -> "Batch":
        """Some of the samples, the same memory."""
        weights = None if self.weights is None else self.weights[begin:end]
        return Batch(self.x[begin:end], tuple(t[begin:end] for t in self.targets), weights)

    def placed(self) -> "Batch":
        """The same on the device that the thread is on."""
        weights = None if self.weights is None else to_device(self.weights)
        return Batch(to_device(self.x), tuple(to_device(t) for t in self.targets), weights)


class Targets:
    """In which forms the loss and the metrics want y.

    Args:
        loss: its form comes first.
        metric_list: those with the loss's form share its array.
        output_shape: of the model, without the batch axis.

    Attributes:
        slots: for each metric, which entry of ``Batch.targets`` is its own.
    """

    def __init__(self, loss: losses.Loss, metric_list: list[metrics.Metric], output_shape: Shape):
        self.output_shape = output_shape
        self.preparers: list[Any] = [loss.prepare_targets]
        self.slots: list[int] = []
        plain = type(loss).prepare_targets is losses.Loss.prepare_targets
        for metric in metric_list:
            own = type(metric).prepare_targets is not metrics.Metric.prepare_targets
            if plain and not own and metric.target_form == loss.target_form:
                self.slots.append(0)
                continue
            self.slots.append(len(self.preparers))
            self.preparers.append(metric.prepare_targets)

    def prepare(self, y: Any) -> tuple[np.ndarray, ...]:
        """Every form of y, checked."""
        return tuple(prepare(y, self.output_shape) for prepare in self.preparers)


def is_array_like(x: Any) -> bool:
    """Whether x is data itself rather than an iterable of batches; a list of tuples is one of batches."""
    if isinstance(x, list) and x and isinstance(x[0], tuple):
        return False
    return isinstance(x, (np.ndarray, list, tuple)) or hasattr(x, "__array__") or hasattr(x, "__array_interface__")


def as_array(x: Any, function: str, name: str, device: str) -> Any:
    """x as an array of NumPy, or of CuPy where it lies on the GPU that the model is on.

    Raises:
        ValueError: x lies on a GPU, and the model doesn't, or NumPy can't make an array of it.
    """
    if not lies_on_gpu(x):
        try:
            return np.asarray(x)
        except ValueError as error:  # lists of different lengths
            fail(function, name, "an array of numbers", f"what NumPy can't make one of: {error}")
    if device == "cpu":
        remedy = "Copy it (CuPy: .get(), torch: .cpu()), or compile the model with device='cuda'."
        fail(function, name, "on the CPU, where the model is", "an array on a GPU", remedy)
    xp = _devices.gpu().xp
    xp.cuda.get_current_stream().synchronize()  # what makes x may be on its way there
    return xp.asarray(x)


def on_host(x: Any, function: str, name: str, device: str) -> Any:
    """x itself, or a copy on the CPU if it lies on the GPU that the model is on; see ``as_array``."""
    return as_array(x, function, name, device).get() if lies_on_gpu(x) else x


def convert_x(x: Any, sample_shape: Shape | None, function: str, rule: InputRule = ANYTHING) -> Any:
    """x as C-contiguous float32, or int32 where it holds ids, by the rule above.

    Args:
        x: samples along the first axis.
        sample_shape: what the model takes; None accepts any.
        function: for the message.
        rule: what the model takes.

    Raises:
        TypeError: x isn't an array of numbers.
        ValueError: x is empty, it lies on a GPU and the model doesn't, its samples have another shape, or an id isn't a
            whole number from 0 to limit - 1.
    """
    array = as_array(x, function, "x", rule.device)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        fail(function, "x", "an array of numbers", f"dtype {array.dtype}", error=TypeError)
    if sample_shape is not None and array.shape[1:] != sample_shape:
        fail(
            function,
            "x",
            f"of shape {_batch_shape(sample_shape)}",
            array.shape,
            _shape_remedy(array.shape, sample_shape),
        )
    if array.ndim < 2:
        fail(function, "x", "samples along the first axis and at least one axis more", array.shape, "Try x[:, None].")
    if array.size == 0:
        fail(function, "x", "an array with at least one sample", f"an empty one of shape {array.shape}")
    if rule.limit is not None:
        return _convert_ids(on_host(array, function, "x", rule.device), function, rule.limit)
    if not lies_on_gpu(array):
        return np.ascontiguousarray(array, np.float32)
    with on(rule.device):
        return _devices.gpu().xp.ascontiguousarray(array, np.float32)


def _convert_ids(array: np.ndarray, function: str, limit: int) -> np.ndarray:
    """Numbers as int32; all must be whole and in [0, limit)."""
    inside = (array >= 0) & (array < limit)
    if array.dtype.kind not in "biu":
        inside &= array == np.floor(array)
    if not inside.all():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(inside)), array.shape))
        fail(function, "x", f"ids, whole numbers from 0 to {limit - 1}", f"{array[index]} at index {index}")
    return np.ascontiguousarray(array, np.int32)


def _batch_shape(sample_shape: Shape) -> str:
    return "(" + ", ".join(["n", *map(str, sample_shape)]) + ")"


def _shape_remedy(shape: Shape, sample_shape: Shape) -> str:
    if shape == sample_shape:
        return "For a single sample pass x[None]."
    if (*shape[1:], 1) == sample_shape:
        return "Add the last axis: x[..., None]."
    if math.prod(shape[1:]) == math.prod(sample_shape):
        return f"x.reshape(-1, {', '.join(map(str, sample_shape))}) has that shape."
    if len(shape) == len(sample_shape) + 1:
        return "The model was built for another number of features."
    return ""


def warn_nonfinite(x: np.ndarray, function: str, argument: str = "x") -> None:
    """A warning that names the first NaN or infinity; ids have none."""
    if x.dtype != np.float32:
        return
    with on("cuda" if lies_on_gpu(x) else "cpu"):
        flat = kernels.first_nonfinite(x)
    if flat < 0:
        return
    index = tuple(int(i) for i in np.unravel_index(flat, x.shape))
    value = float(x.reshape(-1)[flat])
    warnings.warn(
        f"{function}: {argument} should be finite, got {value} at index {index}. Replace such values, "
        f"e.g. with np.nan_to_num({argument}), or drop the samples.",
        stacklevel=3,
    )


def convert_weights(weights: Any, n: int, function: str) -> np.ndarray | None:
    """sample_weight as float32[n]."""
    if weights is None:
        return None
    array = np.asarray(weights)
    if array.shape == (n, 1):
        array = array[:, 0]
    if array.shape != (n,) or array.dtype.kind not in "biuf":
        fail(function, "sample_weight", f"numbers of shape ({n},)", describe(array))
    return np.ascontiguousarray(array, np.float32)


def class_weights(class_weight: Any, targets: np.ndarray, classes: int, function: str) -> np.ndarray:
    """Sample weights from {class: weight}; classes that aren't named weigh 1.

    Args:
        class_weight: dict of class index to weight.
        targets: int32 labels [n], float32 one-hot [n, classes], or [n, 1] of 0 and 1.
        classes: how many there are; for messages.
    """
    if not isinstance(class_weight, dict) or not class_weight:
        fail(function, "class_weight", "a dict {class index: weight}", describe(class_weight), error=TypeError)
    if targets.ndim > 2 or (targets.ndim == 2 and targets.dtype == np.int32):
        fail(function, "class_weight", "None for more than one class a sample", "a dict", "Use sample_weight instead.")
    labels = targets
    if targets.ndim == 2:
        labels = targets[:, 0] > 0.5 if targets.shape[1] == 1 else targets.argmax(axis=1)
    count = max(classes, 2)
    table = np.ones(count, np.float32)
    for key, weight in class_weight.items():
        if not isinstance(key, (int, np.integer)) or not 0 <= key < count:
            fail(function, "class_weight", f"keyed by class indices in [0, {count})", repr(key))
        table[key] = weight
    return table[labels.astype(np.int64)]


def make_batch(
    x: Any,
    y: Any,
    sample_weight: Any,
    targets: Targets,
    sample_shape: Shape,
    function: str,
    class_weight: Any = None,
    rule: InputRule = ANYTHING,
) -> Batch:
    """A batch, or a whole data set, checked and converted; ``rule`` as in ``convert_x``."""
    data = convert_x(x, sample_shape, function, rule)
    return add_targets(data, y, sample_weight, targets, function, class_weight, rule.device)


def add_targets(
    data: Any, y: Any, sample_weight: Any, targets: Targets, function: str, class_weight: Any, device: str
) -> Batch:
    """A batch of x that is converted already, the rest being checked and converted."""
    y, sample_weight = (on_host(a, function, name, device) for name, a in (("y", y), ("sample_weight", sample_weight)))
    n = data.shape[0]
    if y is None:
        fail(
            function, "y", "the targets of x", "None", "An iterable of batches yields (x, y) or (x, y, sample_weight)."
        )
    length = len(y) if hasattr(y, "__len__") else np.asarray(y).shape[:1]
    if length != n:
        fail(function, "y", f"of as many samples as x, {n}", length)
    forms = targets.prepare(y)
    weights = convert_weights(sample_weight, n, function)
    if class_weight is not None:
        if weights is not None:
            remedy = "Multiply the class weights into sample_weight yourself."
            fail(function, "class_weight", "None where sample_weight is given", "both", remedy)
        weights = class_weights(class_weight, forms[0], targets.output_shape[-1], function)
    return Batch(data, forms, weights)
