"""``Loader``: batches of arrays, shuffled by seed, normalised and augmented in one pass, prepared ahead by threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import _backend, random
from fastnn._check import describe, fail, integer
from fastnn.data.transforms import Augment, BatchMaker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

Batch = tuple["NDArray[Any]", ...]


class Loader:
    """Iterate over (x[, y[, sample_weight]]) in batches; each ``for`` over it is one epoch.

    ``x`` of a batch is float32: (x * scale - mean) / std, cropped and flipped as ``augment`` says. ``y`` and
    ``sample_weight`` are gathered unchanged. Every batch is made of fresh arrays, which the consumer may keep.

    Storage, decided once at construction: uint8 and float32 ``x`` stay as they are (no copy if C-contiguous), any other
    dtype is converted to float32; integer and boolean ``y`` become int32, floating ``y`` float32, weights float32.

    The shuffled order depends on (seed, epoch), a sample's crop and flip on (seed, epoch, index of the sample): the
    same seed gives the same batches whatever ``prefetch`` and ``workers`` are. ``epoch`` counts the iterations begun;
    set it to repeat one or to go on where a run was left.

    Args:
        x: array [n, ...], images as (n, height, width, channels).
        y: array [n, ...] or None.
        sample_weight: array [n] or None; needs y.
        batch_size: samples in a batch, at most n.
        shuffle: a new order in each epoch.
        seed: an integer in [0, 2**64); None draws one from ``fastnn.random``, so that ``fastnn.set_seed`` rules it.
        drop_last: leave out the last batch if it's smaller than the others.
        augment: None or ``fastnn.data.Augment(...)``.
        scale, mean, std: numbers, mean and std also one number a channel; ``scale=1 / 255`` maps uint8 to [0, 1].
        prefetch: batches prepared ahead; 0 prepares each when asked for, without a thread.
        workers: threads that prepare batches. They live as long as an iteration, and end with it if it's left early.

    Raises:
        ValueError, TypeError: an argument isn't of this form, or the arrays' lengths differ.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int | None = None,
        drop_last: bool = False,
        augment: Augment | None = None,
        scale: float = 1.0,
        mean: ArrayLike = 0.0,
        std: ArrayLike = 1.0,
        prefetch: int = 2,
        workers: int = 1,
    ) -> None:
        self.x = _storage(x)
        n = len(self.x)
        self.y = None if y is None else _targets("y", y, n)
        self.sample_weight = None if sample_weight is None else _weights(sample_weight, n, y is not None)
        self.batch_size = integer("Loader", "batch_size", batch_size, 1)
        if self.batch_size > n:
            remedy = f"Pass batch_size={n} or less."
            fail("Loader", "batch_size", f"at most the {n} samples of x", batch_size, remedy)
        self.shuffle = bool(shuffle)
        self.seed = _new_seed() if seed is None else integer("Loader", "seed", seed, 0, 2**64 - 1)
        self.drop_last = bool(drop_last)
        self.augment = augment
        self.prefetch = integer("Loader", "prefetch", prefetch, 0)
        self.workers = integer("Loader", "workers", workers, 1)
        self.epoch = 0
        self.maker = BatchMaker(self.x.shape[1:], augment, scale, mean, std, function="Loader")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample of a batch, as a model's ``input_shape``."""
        return self.maker.shape

    def __len__(self) -> int:
        """Batches in an epoch."""
        n = len(self.x)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    @property
    def samples(self) -> int:
        """Samples in an epoch."""
        return len(self) * self.batch_size if self.drop_last else len(self.x)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        self.epoch += 1
        return self._iterate(epoch)

    def _iterate(self, epoch: int) -> Iterator[Batch]:
        """Futures wait in order: nothing blocks but the wait for the oldest, whose exception ``result`` raises here."""
        if self.prefetch == 0:
            for index in self._indices(epoch):
                yield self._prepare(index, epoch)
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fastnn-loader")
        pending: deque[Future[Batch]] = deque()
        try:
            for index in self._indices(epoch):
                pending.append(pool.submit(self._prepare, index, epoch))
                if len(pending) > self.prefetch:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Which sample comes when in this epoch."""
        if self.shuffle:
            bits = np.random.Philox(key=np.array([self.seed, epoch], np.uint64))
            order = np.random.Generator(bits).permutation(len(self.x))
        else:
            order = np.arange(len(self.x))
        return order.astype(np.int64, copy=False)

    def _indices(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        order = self.order(epoch)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _prepare(self, index: NDArray[np.int64], epoch: int) -> Batch:
        x = _backend.host_empty((len(index), *self.input_shape), np.float32)
        self.maker.make(self.x, index, x, self.seed, epoch)
        rest = (self.y, self.sample_weight)
        return (x, *(array.take(index, axis=0) for array in rest if array is not None))


def _new_seed() -> int:
    return int(random.generator().integers(2**63))


def _numeric(argument: str, value: ArrayLike) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        fail("Loader", argument, "an array of numbers", describe(array), error=TypeError)
    return array


def _storage(x: ArrayLike) -> NDArray[Any]:
    array = _numeric("x", x)
    if array.ndim == 0 or array.size == 0:
        fail("Loader", "x", "an array of at least one sample", describe(array))
    dtype = array.dtype if array.dtype in (np.uint8, np.float32) else np.float32
    return np.ascontiguousarray(array, dtype)


def _targets(argument: str, y: ArrayLike, samples: int) -> NDArray[Any]:
    array = _numeric(argument, y)
    if array.ndim == 0 or len(array) != samples:
        fail("Loader", argument, f"of length {samples}, as x is", describe(array))
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, np.float32)
    limits = np.iinfo(np.int32)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        fail("Loader", argument, "integers that fit int32", f"values from {int(array.min())} to {int(array.max())}")
    return np.ascontiguousarray(array, np.int32)


def _weights(weights: ArrayLike, samples: int, has_targets: bool) -> NDArray[np.float32]:
    if not has_targets:
        fail("Loader", "y", "given with sample_weight", "None")
    array = np.ascontiguousarray(_numeric("sample_weight", weights), np.float32)
    if array.shape != (samples,):
        fail("Loader", "sample_weight", f"of shape ({samples},)", f"{array.shape}")
    return array
