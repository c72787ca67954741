"""``compile``: from names to the objects of a training step, as soon as the shapes are known."""

import warnings
from typing import Any

import numpy as np

from fastnn import _backend, _check, losses, metrics, optimizers
from fastnn._check import fail
from fastnn.callbacks import History
from fastnn.layers.base import Shape
from fastnn.models.batch_graphs import BatchGraphs
from fastnn.models.batch_replay import BatchReplay
from fastnn.models.inference import Inference
from fastnn.models.step import Step


class Compilable:
    """The part of a model that knows how to train; ``Sequential`` adds the architecture.

    Attributes:
        optimizer, loss, metrics: as ``compile`` resolved them.
        history: of the last ``fit``.
        stop_training: set by a callback to end ``fit`` after the batch or epoch.
        device: "cpu" or "cuda".
        compute: what products round their operands to.
    """

    layers: list[Any]
    built: bool
    _sample_shape: Shape | None

    def __init__(self) -> None:
        self.optimizer: Any = None
        self.loss: Any = None
        self.metrics: list[metrics.Metric] = []
        self.history: History | None = None
        self.stop_training = False
        self.device = "cpu"
        self.compute = "float32"
        self.accumulate_steps = 1
        self.capture = True
        self._warned_of_capture = False
        self._metric_specs: tuple[list[Any], list[Any]] = ([], [])
        self._step: Step | None = None
        self._replay: BatchReplay | BatchGraphs | None = None
        self._placed = "cpu"  # where the layers' buffers are
        self._inference = Inference(self)
        self._trained: list[int] = []

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        device: str = "auto",
        accumulate_steps: int = 1,
        capture: bool = True,
        compute: str = "float32",
    ) -> None:
        """Choose how to train. Call it again after changing layers or ``trainable``; the optimizer starts afresh then.

        Args:
            optimizer: name or object, see ``fastnn.optimizers``.
            loss: name or object, see ``fastnn.losses``.
            metrics: list of names and objects, see ``fastnn.metrics``; sample weights don't count, as in Keras.
            weighted_metrics: the same, with sample weights.
            device: "cpu", "cuda" or "auto", which is the CPU: a GPU has to be asked for.
            accumulate_steps: each batch is worked on in this many parts, one update at the end: the result is that of
                the whole batch, the memory that of a part.
            capture: whether steps, tests and predictions are replayed natively, with no Python between kernels and, on
                arrays, between batches; the result is the same to the bit.
            compute: on a GPU, what matrix products and convolutions round their operands to, for its tensor cores:
                "tf32" (10 bits of mantissa), "bfloat16" (7 bits) or "float16" (10 bits; beyond 65504 infinite). Arrays
                and sums stay float32. "float32" rounds nothing, and is all that the CPU has.

        Raises:
            ValueError: an unknown name, no loss, or another ``compute`` than "float32" on the CPU.
        """
        if loss is None:
            fail("compile", "loss", "given", "None", "Known: " + ", ".join(losses.KNOWN) + ".")
        self.device = _backend.resolve_device(device, "compile")
        self.compute = _check.choice("compile", "compute", compute, _backend.COMPUTE)
        if self.device == "cpu" and compute != "float32":
            fail("compile", "compute", "'float32' on the CPU", repr(compute), "Or give it device='cuda'.")
        self.accumulate_steps = _check.integer("compile", "accumulate_steps", accumulate_steps, 1)
        self.capture = _check.boolean("compile", "capture", capture)
        self._warned_of_capture = False
        self._metric_specs = (_as_list(metrics, "metrics"), _as_list(weighted_metrics, "weighted_metrics"))
        self.loss = losses.get(loss)
        self.optimizer = optimizers.get(optimizer)
        self._step = None
        self._inference.forget()
        if self.built:
            self._finish_compile()
        else:
            for spec in (*self._metric_specs[0], *self._metric_specs[1]):
                _metric(spec, self.loss, (1,))

    def _finish_compile(self) -> Step:
        """The part of ``compile`` that needs the shapes."""
        with _backend.on(self.device, self.compute):
            return self._finish_compile_there()

    def _finish_compile_there(self) -> Step:
        shape = self.layers[-1].output_shape
        plain, weighted = ([_metric(spec, self.loss, shape) for spec in specs] for specs in self._metric_specs)
        self.metrics = [*plain, *weighted]
        names = ["loss", *(metric.name for metric in self.metrics)]
        for name in names:
            if names.count(name) > 1:
                fail("compile", "metrics", "of different names", repr(name), "Give one of them name=.")
        self._warn_of_softmax()
        if not self.device == self._placed == "cpu":
            self._place_layers()
            self._placed = self.device
        for metric in self.metrics:
            metric.place()
        flat = self._flatten()
        self._trained = [id(p) for p in flat.trainable]
        self.optimizer.build(flat.trainable, flat.value, flat.grad)
        flags = [False] * len(plain) + [True] * len(weighted)
        self._step = Step(self, self.loss, self.metrics, flags, self.accumulate_steps)
        replay = BatchReplay if self.device == "cpu" else BatchGraphs
        self._replay = replay(self._step, self.optimizer)
        return self._step

    def _warn_of_softmax(self) -> None:
        last = self.layers[-1]
        activation = getattr(getattr(last, "rule", None), "name", None)
        if self.loss.from_logits and activation is not None and activation == self.loss.activation:
            warnings.warn(
                f"compile: loss has from_logits=True, but the last layer ({last.name}) ends in {activation}. "
                "Leave one of them out.",
                stacklevel=4,
            )

    def _reset_metrics(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def _forget_compiled(self) -> None:
        self._step = None
        self._inference.forget()

    def _runner(self, function: str) -> Any:
        """What trains and tests batch by batch: by replay, or kernel by kernel; both have ``train`` and ``test``."""
        assert self._step is not None
        return self._replay if self._captures(function, self._step.uncaptured, 4) else self._step

    def _captures(self, function: str, uncaptured: list[str], level: int = 3) -> bool:
        """Whether `function` replays tapes instead of calling kernel by kernel. Warns once of parts that prevent it.

        Args:
            function: for the message.
            uncaptured: names of parts that compute outside of kernels.
            level: how many callers up from the one that asks the user is.
        """
        if self.capture and uncaptured and not self._warned_of_capture:
            warnings.warn(
                f"{function}: {', '.join(uncaptured)} compute outside of fastnn's kernels, so steps run uncaptured "
                "(slower, same result). compile(capture=False) silences this.",
                stacklevel=level + 2,
            )
            self._warned_of_capture = True
        return self.capture and not uncaptured

    @property
    def trainable_parameters(self) -> list[Any]:
        """Those that an optimizer changes."""
        raise NotImplementedError

    def _place_layers(self) -> None:
        raise NotImplementedError

    def _flatten(self) -> Any:
        raise NotImplementedError

    def _ready(self, function: str, sample_shape: Shape) -> Step:
        """The compiled step, for samples of this shape; builds what isn't built yet."""
        if self.optimizer is None:
            fail(function, "the model", "compiled", "one that isn't", "Call model.compile(optimizer, loss) first.")
        self._build_for(sample_shape, function)
        step = self._step or self._finish_compile()
        if self._trained != [id(p) for p in self.trainable_parameters]:
            warnings.warn(
                f"{function}: trainable was changed after compile, which has no effect until compile is called again.",
                stacklevel=4,
            )
        return step

    def _build_for(self, sample_shape: Shape, function: str) -> None:
        if not self.layers:
            fail(function, "the model", "one with layers", "an empty one", "Call model.add(layer) first.")
        if not self.built:
            self._sample_shape = self._sample_shape or sample_shape
            self._build_layers()

    def _build_layers(self) -> None:
        raise NotImplementedError

    def _random_states(self) -> list[np.ndarray]:
        """The random states of the layers, each once."""
        states = {id(x.random_state): x.random_state for x in self.layers if x.random_state is not None}
        return list(states.values())


def _as_list(specs: Any, argument: str) -> list[Any]:
    if specs is None:
        return []
    if not isinstance(specs, (list, tuple)):
        fail("compile", argument, "a list", repr(specs), "Write ['accuracy'].", error=TypeError)
    return list(specs)


def _metric(spec: Any, loss: losses.Loss, output_shape: Shape) -> metrics.Metric:
    return metrics.get(spec, loss, output_shape)
