"""One eager step: forward, loss, backward, update. Kernels are called one by one on buffers that stay."""

from math import isfinite
from typing import Any

import numpy as np

from fastnn import losses, metrics, random
from fastnn._backend import kernels, zeros
from fastnn.models.batches import Batch, Targets


class Step:
    """What ``compile`` makes of a built model. All that doesn't change from step to step is looked up here, once.

    Args:
        model: built.
        loss, metric_list, weighted: the loss, the metrics, and for each whether sample weights count.
        accumulate_steps: a batch is split into this many parts; their gradients add up to the batch's.

    Attributes:
        targets: the forms of y that the loss and the metrics want.
        layers: those of the model.
        fused: whether the loss takes over the last activation, so that the model emits logits.
        total: float64[1], the loss of the batch.
        uncaptured: the names of what isn't all kernel calls, so that a step can't be captured; empty if it can.
    """

    def __init__(
        self,
        model: Any,
        loss: losses.Loss,
        metric_list: list[metrics.Metric],
        weighted: list[bool],
        accumulate_steps: int,
    ):
        layers = self.layers = model.layers
        self.accumulate_steps = accumulate_steps
        self.last = layers[-1]
        self.targets = Targets(loss, metric_list, self.last.output_shape)
        activation = loss.fused_activation
        self.fused = activation is not None and getattr(getattr(self.last, "rule", None), "name", None) == activation
        self._compute = loss.compute
        self._metrics = [
            (metric.accumulate, slot, use, metric.needs_probabilities and self.fused)
            for metric, slot, use in zip(metric_list, self.targets.slots, weighted)
        ]
        self._step = model.optimizer.step
        self._forwards = [step.forward for step, _ in model.steps]
        self._backwards = _backward_calls(model.steps)
        self.uncaptured = _uncaptured(layers, loss, metric_list)
        self._penalties = [
            (p, p.regularizer.l1, p.regularizer.l2) for p in model.trainable_parameters if p.regularizer is not None
        ]
        self._random_states = model._random_states()
        self.total = zeros((1,), np.float64)

    def train(self, batch: Batch) -> float:
        """One update. Returns the loss of the batch, penalties included; if it isn't finite, nothing is updated."""
        self.total[0] = 0.0
        self.differentiate(batch)
        loss = self.total.item()
        if isfinite(loss):
            self._step()
        return loss

    def differentiate(self, batch: Batch) -> None:
        """Gradients and metrics of a batch; its loss, penalties included, is added to ``total``."""
        n = batch.x.shape[0]
        if self.accumulate_steps == 1:
            self._pass(batch, n, False)
        else:
            size = -(-n // self.accumulate_steps)
            for begin in range(0, n, size):
                self._pass(batch.rows(begin, begin + size), n, begin > 0)
        self._add_penalties()

    def _pass(self, batch: Batch, n: int, accumulate: bool) -> None:
        """Forward and backward pass of one part of a batch of n."""
        for state in self._random_states:
            random.advance(state)
        if self.fused:
            self.last.emit_logits = True
        x, targets, weights = batch
        for forward in self._forwards:
            x = forward(x, True)
        if self._metrics:
            self._measure(x, targets, weights)
        dy = self.last.buffer("loss_gradient", x.shape)
        self._compute(targets[0], x, weights, dy, self.total, 1.0 / n, self.fused)
        for backward, need_dx in self._backwards:
            dy = backward(dy, need_dx, accumulate)
        if self.fused:
            self.last.emit_logits = False

    def test(self, batch: Batch) -> float:
        """The loss of a batch without penalties; metrics are updated."""
        self.total[0] = 0.0
        self.measure(batch)
        return self.total.item()

    def measure(self, batch: Batch) -> None:
        """The forward pass and metrics of a batch; its loss, without penalties, is added to ``total``."""
        if self.fused:
            self.last.emit_logits = True
        x, targets, weights = batch
        n = x.shape[0]
        for forward in self._forwards:
            x = forward(x, False)
        if self.fused:
            self.last.emit_logits = False
        self._measure(x, targets, weights)
        self._compute(targets[0], x, weights, None, self.total, 1.0 / n, self.fused)

    def penalty(self) -> float:
        """The regularizers' part of the loss."""
        self.total[0] = 0.0
        self._add_penalties()
        return self.total.item()

    def _add_penalties(self) -> None:
        for parameter, l1, l2 in self._penalties:
            kernels.regularization_penalty(parameter.value, l1, l2, self.total)

    def _measure(self, y: np.ndarray, targets: tuple[np.ndarray, ...], weights: np.ndarray | None) -> None:
        activated = None
        for accumulate, slot, weighted, needs_probabilities in self._metrics:
            pred = y
            if needs_probabilities:
                if activated is None:
                    activated = self.last.activate(y)
                pred = activated
            accumulate(targets[slot], pred, weights if weighted else None)


def _backward_calls(steps: list[tuple[Any, list[Any]]]) -> list[tuple[Any, bool]]:
    """(backward, need_dx) from the last step to the first that is trained; below that nothing is wanted."""
    trained = [i for i, (_, layers) in enumerate(steps) if any(layer.trainable_parameters for layer in layers)]
    if not trained:
        return []
    return [(steps[i][0].backward, i > trained[0]) for i in range(len(steps) - 1, trained[0] - 1, -1)]


def _uncaptured(layers: list[Any], loss: losses.Loss, metric_list: list[metrics.Metric]) -> list[str]:
    """Names of the layers, loss and metrics that compute outside of kernels: a tape would not see it."""
    parts: list[tuple[Any, tuple[str, ...]]] = [(layer, ("forward", "backward")) for layer in layers]
    parts += [(loss, ("compute",)), *((metric, ("accumulate",)) for metric in metric_list)]
    return [part.name for part, methods in parts if not all(is_native(type(part), method) for method in methods)]


def is_native(cls: type, method: str) -> bool:
    """Whether the class that defines the method says that it does nothing but call kernels."""
    owner = next((base for base in cls.__mro__ if method in vars(base)), cls)
    return bool(vars(owner).get("native", owner.__module__.startswith("fastnn.")))
