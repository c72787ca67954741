"""Callbacks that write the logs down or act on a loss that is no number: CSVLogger, TerminateOnNaN."""

import csv
import math
import os
from typing import Any

from fastnn.callbacks.base import Callback, Logs


class CSVLogger(Callback):
    """Write a line an epoch.

    Args:
        filename: the file.
        separator: between values.
        append: go on with an existing file instead of replacing it.
    """

    for_rank_0_alone = True

    def __init__(self, filename: Any, separator: str = ",", append: bool = False):
        super().__init__()
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._file: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._headed = self.append and os.path.exists(self.filename) and os.path.getsize(self.filename) > 0
        self._file = open(self.filename, "a" if self.append else "w", newline="")
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._writer is None:
            names = ["epoch", *(logs or {})]
            self._writer = csv.DictWriter(
                self._file, names, delimiter=self.separator, extrasaction="ignore", restval="NA"
            )
            if not self._headed:
                self._writer.writeheader()
        self._writer.writerow({"epoch": epoch, **(logs or {})})
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class TerminateOnNaN(Callback):
    """Stop training at a NaN or infinite loss instead of raising. The batch's update isn't applied."""

    handles_nonfinite_loss = True

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            print(f"Batch {batch}: loss is {loss}, training stops")
            self.model.stop_training = True
