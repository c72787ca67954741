"""Callbacks that watch a value of the logs: EarlyStopping, ModelCheckpoint."""

import math
import os
from typing import Any

import numpy as np

from fastnn import _check
from fastnn._check import fail
from fastnn.callbacks.base import Callback, Logs


class Monitor(Callback):
    """Watches one value and knows which direction is better."""

    def __init__(self, monitor: str, mode: str, modes: tuple[str, ...] = ("auto", "min", "max")):
        super().__init__()
        self.monitor = monitor
        self.mode = _check.choice(type(self).__name__, "mode", mode, modes)
        if mode == "auto":
            higher = ("acc", "precision", "recall", "auc", "top_k", "f1")
            self.larger_is_better = any(word in monitor.lower() for word in higher)
        else:
            self.larger_is_better = mode == "max"
        self.worst = -math.inf if self.larger_is_better else math.inf

    def value(self, logs: Logs | None) -> float | None:
        """The watched value, None in an epoch without validation; an error that lists what there is if it's missing."""
        found = (logs or {}).get(self.monitor)
        if found is None:
            if self.monitor.startswith("val_") and (self.params.get("validation_freq") or 1) > 1:
                return None
            remedy = "val_ values need validation_split or validation_data." if self.monitor.startswith("val_") else ""
            names = ", ".join(logs or {})
            fail(type(self).__name__, "monitor", f"one of {names}", repr(self.monitor), remedy)
        return float(found)

    def better(self, value: float, than: float, by: float = 0.0) -> bool:
        """Whether a value beats another by more than ``by``; NaN beats nothing."""
        return value - by > than if self.larger_is_better else value + by < than


class EarlyStopping(Monitor):
    """Stop when a value no longer gets better.

    Args:
        monitor: name in the logs.
        min_delta: a smaller gain doesn't count.
        patience: epochs without a gain before stopping.
        verbose: 1 prints when it stops.
        mode: "min", "max" or "auto" (by the name).
        baseline: only better than this counts as a gain.
        restore_best_weights: put the best epoch's weights back at the end.
        start_from_epoch: watch from this epoch on.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode)
        self.min_delta, self.patience, self.verbose = abs(min_delta), patience, verbose
        self.baseline, self.restore_best_weights, self.start_from_epoch = (
            baseline,
            restore_best_weights,
            start_from_epoch,
        )

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best = self.worst
        self.best_weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch < self.start_from_epoch:
            return
        value = self.value(logs)
        if value is None:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.better(value, self.best, self.min_delta):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline, self.min_delta):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping, best {self.monitor} {self.best:.4g}")
        if self.restore_best_weights and self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(Monitor):
    """Save the model while it trains.

    Args:
        filepath: may name "{epoch}" (from 1) and values of the logs: "net-{epoch:02d}-{val_loss:.3f}.safetensors".
        monitor: name in the logs, for ``save_best_only``.
        verbose: 1 prints each save.
        save_best_only: only when the value got better.
        save_weights_only: ``model.save_weights`` instead of ``model.save``.
        mode: "min", "max" or "auto" (by the name).
        save_freq: "epoch" or a number of batches.
        initial_value_threshold: the value to beat at first.
    """

    for_rank_0_alone = True

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode)
        if save_freq != "epoch":
            _check.integer("ModelCheckpoint", "save_freq", save_freq, 1, remedy="Or 'epoch'.")
        self.filepath, self.verbose, self.save_freq = os.fspath(filepath), verbose, save_freq
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.best = self.worst if initial_value_threshold is None else initial_value_threshold
        self._epoch, self._batches = 0, 0

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if self.save_freq == "epoch":  # no batch hook, so that steps cost nothing
            self.on_train_batch_end = super().on_train_batch_end  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches % int(self.save_freq) == 0:
            self._save(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(None, logs)

    def _save(self, batch: int | None, logs: Logs | None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.better(value, self.best):
                return
            self.best = value
        try:
            names = {"batch": batch, **(logs or {})}
            path = self.filepath.format(epoch=self._epoch + 1, **{k: v for k, v in names.items() if v is not None})
        except (KeyError, IndexError, ValueError) as error:
            known = ", ".join(["epoch", *(logs or {})])
            fail("ModelCheckpoint", "filepath", f"made of {known}", f"{self.filepath!r} ({error})")
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: saved to {path}")
