"""The update of a captured step: layers that can do so compute a gradient and apply it in one kernel, block by block
while it is in cache, instead of leaving it in memory for the optimizer's pass over all parameters.

That comes after the backward pass has gone through all layers: the gradients that it hands down are computed from the
weights as they were, and the loss is known to be finite. It gives the bits of the two passes one after the other. The
layers' ``Parameter.grad`` isn't written then.
"""

from typing import Any

from fastnn.models.step import Step


class SelfUpdates:
    """A context around a backward pass, in which layers leave out the gradients of what ``run`` lets them update.

    Args:
        step: whose layers are asked.
        optimizer: may refuse (see ``Optimizer.self_updates``); then, and where gradients of parts of a batch are added
            up, all parameters are updated by its own pass.
    """

    def __init__(self, step: Step, optimizer: Any):
        self._layers = [layer for layer in step.layers if layer.self_updating()]
        self._parameters = [p for layer in self._layers for p in layer.self_updating()]
        split = optimizer.self_updates(self._parameters) if step.accumulate_steps == 1 and self._layers else None
        if split is None:
            self._layers, self._parameters = [], []
        self._updates: Any
        self._step: Any
        self._updates, self._step = split or (None, optimizer.common_step)

    def __enter__(self) -> None:
        for number, parameter in enumerate(self._parameters):
            parameter.update = (self._updates, number)

    def __exit__(self, *error: Any) -> None:
        for parameter in self._parameters:
            parameter.update = None

    def run(self) -> None:
        """The update of all parameters, after ``Optimizer.begin_step``; nothing but kernel calls."""
        if self._layers:
            self._updates.prepare()
        for layer in reversed(self._layers):
            layer.update()
        if self._step is not None:
            self._step()
