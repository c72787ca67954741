"""Where batches come from: arrays, cut and shuffled here, or the user's iterable."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn import random
from fastnn._backend import empty, kernels, lies_on_gpu, to_device
from fastnn._check import describe, fail
from fastnn.models.batches import Batch


class ArrayBatches:
    """Batches of arrays. A shuffled epoch gathers each batch into buffers that stay; else a batch is a slice.

    Args:
        data: the whole data set.
        batch_size: the last batch is what remains.
        shuffle: a new permutation from ``random.generator()`` each epoch.

    Attributes:
        order: int64[samples], which sample comes when in a shuffled or captured epoch.
    """

    def __init__(self, data: Batch, batch_size: int, shuffle: bool):
        self.data, self.samples = data, data.x.shape[0]
        self.batch_size = min(batch_size, self.samples)
        self.shuffle = shuffle
        self.steps: int | None = -(-self.samples // self.batch_size)
        self.order = np.arange(self.samples if shuffle else 0, dtype=np.int64)
        self._buffers: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}

    def sizes(self) -> list[tuple[int, int]]:
        """(batch size, how many such batches) in the order of an epoch: the last one may be smaller."""
        full, rest = divmod(self.samples, self.batch_size)
        return [(size, count) for size, count in ((self.batch_size, full), (rest, 1)) if size and count]

    def new_order(self) -> np.ndarray:
        """The order of a new epoch, always in the same memory."""
        if len(self.order) != self.samples:
            self.order = np.empty(self.samples, dtype=np.int64)
        # From the same start each time: the order depends on the generator alone, not on the order before.
        self.order[:] = np.arange(self.samples)
        if self.shuffle:
            random.generator().shuffle(self.order)
        return self.order

    def skip_epochs(self, count: int) -> None:
        """Nothing: the order of an epoch follows from the generator's state, which is saved with the weights."""

    def gather(self, index: np.ndarray) -> Batch:
        """The samples of these numbers, in buffers that stay; nothing but kernel calls."""
        pairs = self._buffers.get(len(index))
        if pairs is None:
            sources = [self.data.x, *self.data.targets]
            if self.data.weights is not None:
                sources.append(self.data.weights)
            pairs = [(source, empty((len(index), *source.shape[1:]), source.dtype)) for source in sources]
            self._buffers[len(index)] = pairs
        for source, out in pairs:
            kernels.gather_rows(source, index, out)
        outs = [out for _, out in pairs]
        count = 1 + len(self.data.targets)
        return Batch(outs[0], tuple(outs[1:count]), None if self.data.weights is None else outs[count])

    def __iter__(self) -> Iterator[Batch]:
        if not self.shuffle:
            for begin in range(0, self.samples, self.batch_size):
                yield self.data.rows(begin, begin + self.batch_size)
            return
        order = to_device(self.new_order())
        for begin in range(0, self.samples, self.batch_size):
            yield self.gather(order[begin : begin + self.batch_size])


class StreamBatches:
    """Batches of an iterable: (x, y) or (x, y, sample_weight) each, checked and converted one by one.

    Args:
        stream: iterated anew each epoch if it can be (a Loader, a list), else continued (a generator).
        convert: makes a ``Batch`` of (x, y, sample_weight).
        function: for messages.
    """

    def __init__(self, stream: Any, convert: Callable[[Any, Any, Any], Batch], function: str):
        if not hasattr(stream, "__iter__"):
            fail(function, "x", "an array or an iterable of batches", describe(stream), error=TypeError)
        self.stream, self.convert, self.function = stream, convert, function
        self.samples: int | None = None
        self.steps: int | None = len(stream) if hasattr(stream, "__len__") else None
        samples, size = getattr(stream, "samples", None), getattr(stream, "batch_size", None)
        if self.steps is not None and isinstance(samples, int) and isinstance(size, int):  # a Loader
            self.samples = min(samples, self.steps * size)

    def __iter__(self) -> Iterator[Batch]:
        empty_stream = True
        for item in self.stream:
            empty_stream = False
            yield self.convert(*split_item(item, self.function))
        if empty_stream:
            remedy = "A generator is used up after one epoch: pass steps_per_epoch, or a Loader."
            fail(self.function, "x", "an iterable with at least one batch left", "an exhausted one", remedy)

    def skip_epochs(self, count: int) -> None:
        """Go on so many epochs later, if the stream counts them as a Loader does."""
        if isinstance(getattr(self.stream, "epoch", None), int):
            self.stream.epoch += count


class Repeat:
    """A set number of batches an epoch, fewer or more than the source has; after its last it goes round again.

    Args:
        source: batches.
        steps: how many an epoch has.
        going_on: an epoch begins where the one before stopped, else at the source's beginning.
    """

    def __init__(self, source: Any, steps: int, going_on: bool = False):
        self.source, self.going_on = source, going_on
        self.steps: int | None = steps
        self.samples: int | None = None
        self._iterator: Iterator[Batch] | None = None

    def skip_epochs(self, count: int) -> None:
        """As many batches later, going round as often as that takes, if the source can tell its batches."""
        if self.going_on and self.source.steps:
            rounds, batches = divmod(count * (self.steps or 0), self.source.steps)
            self.source.skip_epochs(rounds)
            self._iterator = iter(self.source)
            for _ in range(batches):
                next(self._iterator)

    def __iter__(self) -> Iterator[Batch]:
        if self._iterator is None or not self.going_on:
            self._iterator = iter(self.source)
        for _ in range(self.steps or 0):
            batch = next(self._iterator, None)
            if batch is None:
                self._iterator = iter(self.source)
                batch = next(self._iterator)
            yield batch


def split_item(item: Any, function: str) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of what an iterable yielded."""
    if not isinstance(item, (tuple, list)):
        return item, None, None
    if not 1 <= len(item) <= 3:
        fail(function, "each batch", "(x, y) or (x, y, sample_weight)", f"{len(item)} entries")
    return (*item, None, None)[:3]


def split_validation(x: np.ndarray, arrays: list[Any], fraction: float, function: str) -> tuple[list[Any], list[Any]]:
    """The last ``fraction`` of the samples for validation, as in Keras, before any shuffling: (training, validation).

    Args:
        x: the samples.
        arrays: what goes with them (y, sample_weight), entries may be None.
    """
    if not isinstance(fraction, (int, float)) or not 0.0 < fraction < 1.0:
        fail(function, "validation_split", "in [0, 1)", repr(fraction))
    n = x.shape[0]
    first = int(n * (1.0 - fraction))
    if first == 0 or first == n:
        fail(function, "validation_split", f"one that leaves both parts of the {n} samples some", fraction)
    both = [x, *arrays]
    for i, array in enumerate(both):
        if array is not None and not isinstance(array, np.ndarray) and not lies_on_gpu(array):
            both[i] = np.asarray(array)
    return [a if a is None else a[:first] for a in both], [a if a is None else a[first:] for a in both]
