"""Training that survives: BackupAndRestore saves all that it goes on from, and goes on from there when started anew."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import _check, distributed
from fastnn.callbacks.base import Callback, Logs

_NAME = re.compile(r"epoch-(\d+)\.rank-(\d+)-of-(\d+)\.safetensors")
_KEPT = 2  # a rank is at most one epoch ahead of the others, so that all of them have the older one
_TOLD = 8  # so many files each rank tells the others of

Backup = tuple[int, int]  # after how many epochs, by how many ranks


class BackupAndRestore(Callback):
    """Save weights, the optimizer's state and where the random numbers are after each epoch; a program that is started
    anew, as `fastnn run --max-restarts` does, then goes on after the last epoch that was saved, to the same bits.

    Each rank of a group saves: rank 0 what all have in common, the others what is their own alone (where their random
    numbers are, their part of a `Sharded` optimizer's state). All of them go on from the newest epoch that every rank
    finds in its folder; files that aren't complete don't count. Two epochs are kept. Another number of ranks may go on,
    unless the optimizer is `Sharded`; the random numbers of ranks that are new are their own.

    Arrays and a ``Loader`` give the batches that they'd have given; with steps_per_epoch arrays come in a new order
    where the run goes on, and of other iterables it must be told (``model._initial_epoch`` is the epoch's number).
    What other callbacks remember isn't saved: list this one last, so that what they set in an epoch is.

    Args:
        backup_dir: the folder; hosts may share one or have their own.
        delete_checkpoint: remove the files when training is over. Where the program does more afterwards, False keeps a
            restart from training again.

    Raises:
        ValueError: the model has no input shape yet; the files are of another model or optimizer.
    """

    def __init__(self, backup_dir: Any, *, delete_checkpoint: bool = True):
        super().__init__()
        self.backup_dir = Path(os.fspath(backup_dir))
        self.delete_checkpoint = _check.boolean("BackupAndRestore", "delete_checkpoint", delete_checkpoint)

    def _join(self) -> None:
        comm = distributed.current()
        self._rank, self._world = (0, 1) if comm is None else (comm.rank, comm.world_size)
        if self.model._step is None:
            remedy = "Give its first layer an input_shape."
            _check.fail("BackupAndRestore", "the model", "built before training", "one without an input shape", remedy)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._join()
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        for draft in self.backup_dir.glob(f".epoch-*.rank-{self._rank}-of-*.safetensors.*"):
            draft.unlink()  # of a process that was killed as it wrote
        found = self._restore_newest()
        for backup in self._backups():
            if found is None or backup > found:  # other ranks lack it
                self._path(*backup).unlink()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._save(epoch + 1)
        for backup in self._backups()[_KEPT:]:
            self._path(*backup).unlink()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            comm = distributed.current()
            if comm is not None:
                comm.barrier()  # while a rank may still fail, all are needed
            for path in self.backup_dir.iterdir():
                match = _NAME.fullmatch(path.name)
                if match and (self._rank == 0 or int(match[2]) == self._rank):
                    path.unlink(missing_ok=True)

    def _save(self, epochs: int) -> None:
        self.model._save_backup(self._path(epochs, self._world), self._rank == 0)

    def _restore_newest(self) -> Backup | None:
        found = newest(self._backups(), distributed.current())
        if found is not None:
            self._restore(found)
        return found

    def _path(self, epochs: int, world: int) -> Path:
        return self.backup_dir / f"epoch-{epochs:05d}.rank-{self._rank}-of-{world}.safetensors"

    def _backups(self) -> list[Backup]:
        """This rank's that are complete, the newest first."""
        matches = [_NAME.fullmatch(path.name) for path in self.backup_dir.iterdir()]
        own = [(int(match[1]), int(match[3])) for match in matches if match and int(match[2]) == self._rank]
        return sorted((backup for backup in own if _is_complete(self._path(*backup))), reverse=True)

    def _restore(self, found: Backup) -> None:
        epochs, world = found
        if world != self._world and isinstance(self.model.optimizer, distributed.Sharded):
            _check.fail(
                "BackupAndRestore",
                "the number of ranks",
                f"{world}, among which the state of the optimizer in {str(self.backup_dir)!r} is divided",
                self._world,
            )
        if self._rank < world:
            self.model._load_backup(self._path(epochs, world))
        self.model._initial_epoch = max(self.model._initial_epoch, epochs)
        comm = distributed.current()
        if comm is not None and not callable(self.model.optimizer.learning_rate):
            rate = np.array([self.model.optimizer.learning_rate])
            comm.broadcast(rate)
            self.model.optimizer.learning_rate = float(rate[0])
        if self._rank == 0 and self.params.get("verbose"):
            print(f"Going on after epoch {epochs}, as saved in {self.backup_dir}")


def newest(own: list[Backup], comm: distributed.Communicator | None) -> Backup | None:
    """The newest backup that every rank has that took part in it; None if there is none.

    Args:
        own: this rank's.
        comm: the group; all ranks call this at the same time.
    """
    if comm is None:
        return max(own, default=None)
    told = np.zeros((_TOLD, 2), np.int64)
    told[: len(own)] = own[:_TOLD] or 0
    of_all = np.zeros((comm.world_size, _TOLD, 2), np.int64)
    comm.all_gather(told, of_all)
    ranks = [{(int(epochs), int(world)) for epochs, world in rank if world} for rank in of_all]
    common = (backup for backup in ranks[0] if all(backup in rank for rank in ranks[: backup[1]]))
    return max(common, default=None)


def _is_complete(path: Path) -> bool:
    """Whether the file is as long as its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return True
    except (SafetensorError, OSError):
        return False
