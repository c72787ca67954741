"""RayCheckpoint: what BackupAndRestore does, with Ray Train as the keeper of the files."""

import tempfile
from pathlib import Path
from typing import Any

from fastnn import _check
from fastnn.callbacks.backup import BackupAndRestore
from fastnn.callbacks.base import Logs


class RayCheckpoint(BackupAndRestore):
    """Report each epoch's metrics and a checkpoint to Ray Train; a run that Ray starts anew goes on from the last one.

    For programs that `fastnn.distributed.ray.trainer` or another trainer of Ray's starts. All ranks report; the
    metrics are the logs and "epoch", from 1. The checkpoint holds what ``BackupAndRestore`` saves, of all ranks: that
    of rank 0, "epoch-*.rank-0-of-*.safetensors", is also a model that ``models.load_model`` reads.

    Raises:
        ValueError: Ray's workers aren't the ranks of `fastnn.distributed.init`.
    """

    def __init__(self) -> None:
        super().__init__(".", delete_checkpoint=False)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        from ray import train

        self._join()
        workers = train.get_context().get_world_size()
        if workers != self._world:
            remedy = "Call fastnn.distributed.init() before fit."
            _check.fail("RayCheckpoint", "the group", f"one of Ray's {workers} workers", f"{self._world}", remedy)
        checkpoint = train.get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                self.backup_dir = Path(folder)
                self._restore_newest()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        from ray import train

        metrics: dict[str, Any] = {**(logs or {}), "epoch": epoch + 1}
        with tempfile.TemporaryDirectory() as folder:
            self.backup_dir = Path(folder)
            self._save(epoch + 1)
            train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))
