"""What a row of the table in cases.py is, and how a kernel is called on it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import references

Arguments = dict[str, Any]  # argument's name -> array, None, or (optimizers) nested lists of arrays
_SETTINGS = ("l1", "l2", "decay", "lr_scale")  # what a TensorTable takes beside the tensors


@dataclass(frozen=True, eq=False)
class Case:
    """One kernel call: at one shape, with its parameters. The same row is a test and, with `bench`, a benchmark.

    Attributes:
        kernel: its name in the kernel module; the reference has the same name and signature.
        label: what tells this row from the kernel's others.
        make: returns the arrays of the call by argument name, from a seeded generator.
        options: the other arguments; `activation` is written by name.
        outputs: the arguments that the kernel writes.
        tolerance: a key of tolerances.TOLERANCES.
        alias: output -> the input whose memory it shares, for kernels that work in place.
        flops: floating point operations of the call.
    """

    kernel: str
    label: str
    make: Callable[[np.random.Generator], Arguments]
    outputs: tuple[str, ...]
    tolerance: str
    options: dict[str, Any] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    bench: bool = False
    flops: int = 0

    @property
    def name(self) -> str:
        return f"{self.kernel}[{self.label}]"

    @property
    def bytes(self) -> int:
        """What the call must move at least: every array once, and twice what it adds to or updates."""
        updated = {"params", "states"} | ({"w", "b"} if self.kernel == "dense_update" else set())
        updated |= {"c", "dw", "db"} if self.options.get("accumulate") else set()
        sizes = {name: sum(array.nbytes for array in arrays_in(value)) for name, value in self.arguments().items()}
        return sum(size * (2 if name in updated else 1) for name, size in sizes.items())

    def arguments(self) -> Arguments:
        """The arrays of the call, the same ones every time."""
        return self.make(np.random.default_rng(zlib.crc32(self.name.encode())))

    def expected(self) -> Arguments:
        """What the reference makes of the arguments, in float64."""
        arguments = map_arrays(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a.copy(), self.arguments())
        with np.errstate(all="ignore"):
            return getattr(references, self.kernel)(**arguments, **self.options)

    def call(self, kernels: Any, arguments: Arguments) -> Callable[[], Any]:
        """The kernel bound to the arguments: call the result, as often as you like, to run it."""
        function, options = getattr(kernels, self.kernel), dict(self.options)
        for name in ("activation", "recurrent_activation"):
            if name in options:
                options[name] = kernels.ACTIVATIONS[options[name]]
        if self.kernel == "dense_update":
            return _update_call(kernels, function, arguments, options)
        if self.kernel.endswith("_rule"):
            return _optimizer_call(kernels, function(**options), arguments)
        return lambda: function(**arguments, **options)


def _optimizer_call(kernels: Any, rule: Any, arguments: Arguments) -> Callable[[], None]:
    """All steps of an optimizer row: `grads` holds the gradients of each step, `step` is counted up."""
    by_step, lr, step = arguments["grads"], arguments["lr"], arguments["step"].copy()
    grads = by_step[0] if len(by_step) == 1 else [grad.copy() for grad in by_step[0]]
    settings = {key: _on_host(arguments[key]) for key in _SETTINGS if key in arguments}
    table = kernels.TensorTable(arguments["params"], grads, arguments["states"], **settings)
    if "adapts" in arguments:
        table.set_adapts(_on_host(arguments["adapts"]))
    if "rows" in arguments:
        table.set_rows(_on_host(arguments["rows"]))

    def run() -> None:
        for index, fresh in enumerate(by_step):
            if grads is not by_step[0]:
                for grad, new in zip(grads, fresh):
                    grad[...] = new
            if index > 0:
                step[0] += 1
            kernels.update(rule, table, lr, step)

    return run


def _on_host(settings: Any) -> np.ndarray:
    """What a table is told of its tensors, which lies on the host wherever those are."""
    return settings.get() if hasattr(settings, "get") else np.array(settings)


def _update_call(kernels: Any, function: Any, arguments: Arguments, options: dict[str, Any]) -> Callable[[], None]:
    """A kernel that updates the tensors w and b, each given as [param, *states] or None."""
    tensors = {name: arguments[name] for name in ("w", "b") if arguments[name] is not None}
    params, *states = (list(arrays) for arrays in zip(*tensors.values()))
    table = kernels.TensorTable(params, [np.zeros_like(param) for param in params], states)
    rule = getattr(kernels, options.pop("rule"))(**options)
    updates = kernels.updates(rule, table, arguments["lr"], arguments["step"])
    given = {name: (updates, number) for number, name in enumerate(tensors)}

    def run() -> None:
        updates.prepare()
        function(arguments["x"], arguments["dz"], given.get("w"), given.get("b"))

    return run


def map_arrays(function: Callable[[np.ndarray], Any], value: Any) -> Any:
    """`value` with the function applied to each array in its dicts and lists; None stays None."""
    if isinstance(value, dict):
        return {key: map_arrays(function, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_arrays(function, item) for item in value]
    return function(value) if isinstance(value, np.ndarray) else value


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Each array in the dicts and lists of `value`, in order."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from arrays_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from arrays_in(item)
