"""Training: ``fit``, ``evaluate``, ``predict`` and their one-batch forms. The loops are in ``loops.py``."""

from typing import Any

import numpy as np

from fastnn import _backend, _check
from fastnn._check import fail
from fastnn.callbacks import CallbackList, History
from fastnn.models import evaluation, loops
from fastnn.models.batches import Batch, InputRule, as_array, convert_x, is_array_like, make_batch, warn_nonfinite
from fastnn.models.compiling import Compilable
from fastnn.models.loader_batches import loader_on_gpu
from fastnn.models.parallel import need_one_rank
from fastnn.models.progress import resolve_verbose
from fastnn.models.sent_batches import SentBatches
from fastnn.models.sources import ArrayBatches, Repeat, StreamBatches, split_item, split_validation
from fastnn.models.step import Step

_BATCH_SIZE = 32


class Trainer(Compilable):
    """A model that can be trained."""

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train.

        Arrays are converted once: any numbers to float32, labels to int32, without scaling (see ``models/batches.py``).
        A model on a GPU takes x from there as well.

        Args:
            x: array [n, ...], or an iterable of batches (x, y) or (x, y, sample_weight), such as a ``data.Loader``.
            y: targets [n, ...]; None with an iterable.
            batch_size: samples in an update, 32 by default; at most n.
            epochs: number of the last epoch, counted from 1: with ``initial_epoch=2, epochs=5`` three are trained.
            verbose: 0 silent, 1 progress bar, 2 one line an epoch, "auto": 1 on a terminal, else 2.
            callbacks: list of ``fastnn.callbacks``.
            validation_split: this fraction of the samples, the last ones, validates instead of training.
            validation_data: (x, y), (x, y, sample_weight) or an iterable of batches; goes before ``validation_split``.
            shuffle: a new order in each epoch; for arrays only, an iterable has an order of its own.
            class_weight: {class index: weight}; multiplies the loss of the class's samples.
            sample_weight: [n]; multiplies the loss of each sample. The mean is over the number of samples, as in Keras.
            initial_epoch: where to go on.
            steps_per_epoch: batches in an epoch; None takes all. The next epoch goes on where this one stopped,
                and round again at the end. A generator needs it unless there's one epoch only.
            validation_steps: batches of the validation data, from its beginning each time; None takes all.
            validation_batch_size: None takes ``batch_size``.
            validation_freq: validate every so many epochs.

        Returns:
            History: ``history.history["loss"]`` etc., a value an epoch. The loss includes the regularizers' penalties.

        Raises:
            FloatingPointError: a batch's loss is NaN or infinite; its update isn't applied.
            ValueError, TypeError: bad arguments or data.
        """
        epochs = _check.integer("fit", "epochs", epochs, 0)
        initial_epoch = _check.integer("fit", "initial_epoch", initial_epoch, 0)
        if validation_data is None and validation_split != 0.0:
            if not is_array_like(x) or y is None:
                wanted, remedy = "0 with an iterable of batches", "Pass validation_data."
                fail("fit", "validation_split", wanted, validation_split, remedy)
            x = _as_samples(x, self.device)
            (x, y, sample_weight), validation_data = split_validation(x, [y, sample_weight], validation_split, "fit")
        shuffle = _check.boolean("fit", "shuffle", shuffle)
        source = self._source("fit", x, y, sample_weight, batch_size, steps_per_epoch, shuffle, class_weight)
        validation = None
        if validation_data is not None:
            pair = validation_data if is_array_like(validation_data) else None
            vx, vy, vw = split_item(pair, "fit") if pair is not None else (validation_data, None, None)
            size = validation_batch_size or batch_size
            validation = self._source("fit", vx, vy, vw, size, validation_steps, None)
        steps = steps_per_epoch or source.steps
        frequency = _check.integer("fit", "validation_freq", validation_freq, 1)
        params = {"epochs": epochs, "steps": steps, "verbose": resolve_verbose(verbose, "fit")}
        params["validation_freq"] = None if validation is None else frequency
        self.history = History()
        entries = [callbacks] if not isinstance(callbacks, (list, tuple)) and callbacks is not None else callbacks
        hooks = CallbackList([*(entries or ()), self.history], self, params)
        with _backend.on(self.device, self.compute):
            loops.run_fit(self, source, validation, hooks, range(initial_epoch, epochs), frequency)
        return self.history

    def _source(
        self,
        function: str,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        steps: int | None,
        shuffle: bool | None,
        class_weight: Any = None,
    ) -> Any:
        """Batches of arrays or of an iterable. ``shuffle`` None: for evaluation, where a large batch_size does no
        harm."""
        source: Any
        if steps is not None:
            steps = _check.integer(function, "the number of steps", steps, 1)
        if not is_array_like(x):
            plain = shuffle is not None and steps is y is sample_weight is batch_size is None
            source = loader_on_gpu(self, x, class_weight) if plain else None
            source = source or self._stream(function, x, y, sample_weight, batch_size, class_weight)
            return source if steps is None else Repeat(source, steps, going_on=shuffle is not None)
        size = _BATCH_SIZE if batch_size is None else _check.integer(function, "batch_size", batch_size, 1)
        rule = self._input_rule
        step = self._ready(function, self._sample_shape or convert_x(x, None, function, rule).shape[1:])
        assert self._sample_shape is not None
        data = make_batch(x, y, sample_weight, step.targets, self._sample_shape, function, class_weight, rule)
        n = data.x.shape[0]
        if shuffle is not None and batch_size is not None and size > n:
            fail(function, "batch_size", f"at most the number of samples, {n}", size, "Pass a smaller one.")
        warn_nonfinite(data.x, function)
        if data.targets[0].dtype == np.float32:
            warn_nonfinite(data.targets[0], function, "y")
        source = ArrayBatches(self._placed_batch(data), size, bool(shuffle))
        return source if steps is None else Repeat(source, steps, going_on=shuffle is not None)

    def _stream(self, function: str, x: Any, y: Any, weight: Any, batch_size: Any, class_weight: Any) -> Any:
        def convert(bx: Any, by: Any, bw: Any) -> Batch:
            rule = self._input_rule
            step = self._ready(function, self._sample_shape or convert_x(bx, None, function, rule).shape[1:])
            assert self._sample_shape is not None
            return make_batch(bx, by, bw, step.targets, self._sample_shape, function, class_weight, rule)

        stream = StreamBatches(x, convert, function)
        source = stream if self.device == "cpu" else SentBatches(stream)
        for argument, value in (("y", y), ("sample_weight", weight), ("batch_size", batch_size)):
            if value is not None:
                fail(function, argument, "None where x is an iterable of batches", _check.describe(value))
        if self.optimizer is None:
            fail(function, "the model", "compiled", "one that isn't", "Call model.compile(optimizer, loss) first.")
        return source

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics without training.

        Args:
            x, y, batch_size, verbose, sample_weight, callbacks: as in ``fit``.
            steps: batches to take; None takes all.
            return_dict: a dict by name instead of a list.

        Returns:
            The loss if there are no metrics, else [loss, metric, ...], or a dict.
        """
        source = self._source("evaluate", x, y, sample_weight, batch_size, steps, None)
        level = resolve_verbose(verbose, "evaluate")
        hooks = CallbackList(callbacks, self, {"steps": source.steps, "verbose": level}, "evaluate")
        with _backend.on(self.device, self.compute):
            return self._values(evaluation.run_evaluation(self, source, hooks, level), return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> np.ndarray:
        """Outputs, float32[n, *output_shape]. Needs no ``compile``.

        Args:
            x: array [n, ...] or an iterable of batches (of which x is used).
            batch_size: samples at a time, 32 by default.
            verbose: as in ``fit``.
            steps: batches to take; None takes all.
            callbacks: as in ``fit``.
        """
        level = resolve_verbose(verbose, "predict")
        if level == 2 and verbose == "auto":
            level = 0
        source: Any
        if is_array_like(x):
            data = self._convert_batch(x, "predict")
            size = _BATCH_SIZE if batch_size is None else _check.integer("predict", "batch_size", batch_size, 1)
            source = ArrayBatches(Batch(data, (), None), size, False)
        else:
            if batch_size is not None:
                fail("predict", "batch_size", "None where x is an iterable of batches", batch_size)
            source = StreamBatches(x, lambda bx, by, bw: Batch(self._convert_batch(bx, "predict"), (), None), "predict")
        if steps is not None:
            source = Repeat(source, _check.integer("predict", "steps", steps, 1))
        hooks = CallbackList(callbacks, self, {"steps": source.steps, "verbose": level}, "predict")
        with _backend.on("cpu"):  # outputs of all batches are put together there
            return evaluation.run_prediction(self, source, hooks, level)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """Outputs for one batch, float32[n, *output_shape]: a new array that is the caller's. Needs no ``compile``.

        From the second batch of a size on this is one call that replays a tape of kernels, a few microseconds for a
        small model. x is converted as in ``predict``; float32, C-contiguous x is read where it lies.
        """
        y = self._inference.call(x)
        return self._outputs(x, "predict_on_batch") if y is None else y

    def _outputs(self, x: Any, function: str) -> np.ndarray:
        return self._inference.outputs(self._convert_batch(x, function))

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """See ``Sequential.forward``."""
        raise NotImplementedError

    def _convert_batch(self, x: Any, function: str) -> np.ndarray:
        data = convert_x(x, self._sample_shape, function, self._input_rule)
        self._build_for(data.shape[1:], function)
        return data

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One update from one batch. Returns loss and metrics of this batch alone, in the form of ``evaluate``.

        Raises:
            FloatingPointError: the loss is NaN or infinite; the update isn't applied.
        """
        need_one_rank("train_on_batch")
        _, runner, batch = self._one_batch("train_on_batch", x, y, sample_weight, class_weight)
        with _backend.on(self.device, self.compute):
            loss = runner.train(batch)
        if not np.isfinite(loss):
            loops.raise_nonfinite("train_on_batch", loss, "this batch", batch)
        return self._values({"loss": loss, **self._metric_values()}, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, without training, in the form of ``evaluate``."""
        step, runner, batch = self._one_batch("test_on_batch", x, y, sample_weight, None)
        with _backend.on(self.device, self.compute):
            loss = runner.test(batch) + step.penalty()
        return self._values({"loss": loss, **self._metric_values()}, return_dict)

    def _one_batch(
        self, function: str, x: Any, y: Any, sample_weight: Any, class_weight: Any
    ) -> tuple[Step, Any, Batch]:
        """(the step, what runs it, the batch), the metrics having been reset."""
        data = convert_x(x, self._sample_shape, function, self._input_rule)
        step = self._ready(function, data.shape[1:])
        self._reset_metrics()
        batch = make_batch(
            data, y, sample_weight, step.targets, data.shape[1:], function, class_weight, self._input_rule
        )
        return step, self._replay if self.capture and not step.uncaptured else step, self._placed_batch(batch)

    def _placed_batch(self, batch: Batch) -> Batch:
        with _backend.on(self.device, self.compute):
            return batch.placed()

    @property
    def _input_rule(self) -> InputRule:
        return InputRule(self.layers[0].input_limit if self.layers else None, self.device)

    def _metric_values(self) -> dict[str, Any]:
        return {metric.name: metric.result() for metric in self.metrics}

    def _values(self, logs: dict[str, Any], return_dict: bool) -> Any:
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    @property
    def metrics_names(self) -> list[str]:
        """ "loss" and the metrics, in the order in which ``evaluate`` returns them."""
        return ["loss", *(metric.name for metric in self.metrics)]


def _as_samples(x: Any, device: str) -> Any:
    array = as_array(x, "fit", "x", device)
    if array.ndim == 0:
        fail("fit", "x", "an array with samples along its first axis", repr(x))
    return array
