"""A ``Loader``'s batches, made on the GPU inside of the captured step: gathered, cropped, flipped and normalised."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import _devices, distributed
from fastnn._backend import assign, empty, kernels, on, to_device, zeros
from fastnn.data import Loader
from fastnn.models.batches import Batch, add_targets
from fastnn.models.sources import ArrayBatches


class LoaderBatches(ArrayBatches):
    """The samples, orders, crops and flips are those that the loader itself gives on the CPU.

    Args:
        loader: of images.
        data: the loader's x as it is stored, and what belongs to it, all on the GPU that the thread is on.
    """

    def __init__(self, loader: Loader, data: Batch):
        super().__init__(data, loader.batch_size, loader.shuffle)
        self.samples, self.steps = loader.samples, len(loader)
        self._loader, self._maker = loader, loader.maker
        self._scale, self._shift = to_device(self._maker.factor), to_device(self._maker.shift)
        self._state = zeros(2, np.uint64)
        self._images: dict[int, Any] = {}
        self._rest = ArrayBatches(Batch(data.targets[0], data.targets[1:], data.weights), loader.batch_size, True)

    @staticmethod
    def fits(loader: Any, sample_shape: Any) -> bool:
        """Whether it is a loader of such images with targets, and half of the GPU's free memory holds them."""
        if type(loader) is not Loader or loader.y is None or loader.x.ndim != 4 or loader.input_shape != sample_shape:
            return False
        return 2 * (loader.x.nbytes + loader.y.nbytes) <= _devices.gpu().free_memory()

    def new_order(self) -> np.ndarray:
        """The order of the loader's next epoch, always in the same memory."""
        epoch = self._loader.epoch
        self._loader.epoch += 1
        if len(self.order) != self.samples:
            self.order = np.empty(self.samples, dtype=np.int64)
        self.order[:] = self._loader.order(epoch)[: self.samples]
        assign(self._state, np.array([self._loader.seed, epoch & 0xFFFFFFFF], np.uint64))
        return self.order

    def skip_epochs(self, count: int) -> None:
        """Go on so many epochs later."""
        self._loader.epoch += count

    def gather(self, index: Any) -> Batch:
        """See ``ArrayBatches.gather``."""
        x, maker = self.data.x, self._maker
        out = self._images.get(len(index))
        if out is None:
            out = self._images[len(index)] = empty((len(index), *maker.shape))
        top, left, horizontal, vertical = maker.moves(x.shape[1], x.shape[2])
        kernels.augment_batch(x, index, out, self._scale, self._shift, top, left, horizontal, vertical, self._state)
        rest = self._rest.gather(index)
        return Batch(out, (rest.x, *rest.targets), rest.weights)

    def __iter__(self) -> Iterator[Batch]:
        order = to_device(self.new_order())
        for begin in range(0, self.samples, self.batch_size):
            yield self.gather(order[begin : begin + self.batch_size])


def loader_on_gpu(model: Any, loader: Any, class_weight: Any) -> LoaderBatches | None:
    """The batches of a ``Loader`` of images, to train a model on a GPU; None where the CPU has to make them, as for
    several ranks."""
    comm = distributed.current()
    if model.device == "cpu" or model.optimizer is None or model._input_rule.limit is not None:
        return None
    if (comm is not None and comm.world_size > 1) or not LoaderBatches.fits(loader, model._sample_shape):
        return None
    targets = model._ready("fit", loader.input_shape).targets
    data = add_targets(loader.x, loader.y, loader.sample_weight, targets, "fit", class_weight, model.device)
    with on(model.device, model.compute):
        return LoaderBatches(loader, data.placed())
