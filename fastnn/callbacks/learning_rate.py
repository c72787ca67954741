"""Callbacks that set the learning rate. Schedules (``fastnn.schedules``) do it for each step, without a callback."""

from collections.abc import Callable
from typing import Any

from fastnn import _check
from fastnn._check import fail
from fastnn.callbacks.base import Callback, Logs
from fastnn.callbacks.monitor import Monitor


class LearningRateScheduler(Callback):
    """Set the learning rate at the start of each epoch.

    Args:
        schedule: f(epoch, lr) -> lr, or f(epoch) -> lr.
        verbose: 1 prints the value.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            fail("LearningRateScheduler", "schedule", "a function of epoch and learning rate", repr(schedule))
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        current = constant_learning_rate(self.model, "LearningRateScheduler")
        try:
            rate = self.schedule(epoch, current)
        except TypeError:
            rate = self.schedule(epoch)
        self.model.optimizer.learning_rate = _check.number("LearningRateScheduler", "schedule's result", rate, 0.0)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {rate:.6g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate by ``factor`` when a value no longer gets better.

    Args:
        monitor: name in the logs.
        factor: 0 < factor < 1.
        patience: epochs without a gain before it acts.
        verbose: 1 prints when it acts.
        mode: "min", "max" or "auto" (by the name).
        min_delta: a smaller gain doesn't count.
        cooldown: epochs to wait after acting.
        min_lr: never below.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode)
        self.factor = _check.number("ReduceLROnPlateau", "factor", factor, above=0.0, below=1.0)
        self.patience, self.verbose, self.min_delta = patience, verbose, min_delta
        self.cooldown, self.min_lr = cooldown, min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.cooldown_counter = self.worst, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        rate = constant_learning_rate(self.model, "ReduceLROnPlateau")
        if logs is not None:
            logs["learning_rate"] = rate
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best, self.min_delta):
            self.best, self.wait = value, 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                self.model.optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: learning rate reduced to {self.model.optimizer.learning_rate:.6g}")


def constant_learning_rate(model: Any, function: str) -> float:
    """The optimizer's learning rate; an error if it's a schedule, which a callback can't set."""
    rate = model.optimizer.learning_rate
    if not isinstance(rate, (int, float)):
        remedy = "Use either a schedule or the callback."
        fail(function, "the optimizer's learning_rate", "a number", repr(rate), remedy, error=TypeError)
    return float(rate)
