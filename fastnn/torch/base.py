"""What all optimizers for torch share: the step, its hooks, gradient scaling, and that states are interchangeable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, ClassVar, NoReturn

import torch
from torch.optim import optimizer as torch_optimizer

from fastnn import _check
from fastnn.torch import devices, native, storage
from fastnn.torch.options import MANNERS, check_manners, check_options
from fastnn.torch.plan import Plan
from fastnn.torch.tensors import gather_counters

COMMON: dict[str, Any] = {"l1": 0.0, "clip_norm": 0.0, "clip_value": 0.0, "skip_nonfinite": False, **storage.OPTIONS}
_NOT_OPTIONS = {"self", "params", "common", "__class__"}

# To import torch._dynamo takes a second, so that torch.compiler.disable comes second.
_disable_dynamo = getattr(torch, "_disable_dynamo", torch.compiler.disable)

native.borrow_threads()


class Optimizer(torch.optim.Optimizer):
    """Base of the optimizers. A class says which rule it steps by, with which states and which options."""

    rule: ClassVar[str]  # the function that makes the kernels' rule
    counts_steps: ClassVar[bool] = True  # whether torch's class has a counter "step" in its state
    table_options: ClassVar[Sequence[str]] = ()  # those that say what is true of a tensor

    _step_supports_amp_scaling = True  # GradScaler leaves the scaling to us, as to torch's fused optimizers
    # Since GradScaler, or skip_nonfinite, had found an infinity or NaN; None if only a GPU knows (capturable, fused).
    last_step_skipped: bool | None = False

    _plan: Plan | None = None

    def __init__(self, params: Any, arguments: dict[str, Any]) -> None:
        """Args:
        params: parameters, (name, parameter) pairs or groups, as torch takes them.
        arguments: the constructor's `locals()`: every argument is an option of the parameter groups.
        """
        name = type(self).__name__
        defaults = {key: value for key, value in arguments.items() if key not in _NOT_OPTIONS}
        common = arguments.get("common", {})
        unknown = sorted(common.keys() - COMMON.keys())
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument {unknown[0]!r}")
        check_manners(name, defaults)
        check_options(name, {**defaults, **common})
        super().__init__(params, {**defaults, **COMMON, **common})
        if defaults.get("capturable") and not self._capturable():
            remedy = "Steps on the CPU can't be captured in a CUDA graph."
            _check.fail(name, "capturable", "False", "True", remedy)

    # ---- what a class defines

    def method_of(self, param: torch.Tensor, group: dict[str, Any]) -> str:
        """By which method a parameter is updated, where a class has several."""
        return ""

    def check_param(self, place: str, param: torch.Tensor, group: dict[str, Any]) -> None:
        """Fails if the class can't update such a parameter."""

    def fail(self, place: str, wanted: str, given: str) -> NoReturn:
        """Raises ValueError in the class's name."""
        _check.fail(type(self).__name__, place, wanted, given)

    def rule_of(self, method: str) -> str:
        """The function that makes the kernels' rule."""
        return self.rule

    def slots(self, group: dict[str, Any], method: str = "") -> Sequence[str]:
        """Names of the states that a step of this group needs, in the rule's order."""
        return ()

    def counts(self, group: dict[str, Any], method: str = "") -> bool:
        """Whether a parameter of this group has a step counter: for torch's sake, or for the random numbers'."""
        return self.counts_steps or group["stochastic_rounding"]

    def rule_options(self, group: dict[str, Any], method: str = "") -> dict[str, Any]:
        """The rule's arguments beside those that all optimizers share."""
        return {}

    def tensor_settings(self, params: list[torch.Tensor], group: dict[str, Any], method: str) -> dict[str, Any]:
        """What is true of single tensors: arrays for a table's decay, lr_scale, adapts and rows."""
        return {}

    def new_state(self, name: str, param: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        """The state of this name that a parameter begins with."""
        dtype = storage.new_dtype(group, param)
        return torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format, requires_grad=False)

    def make_states(self) -> None:
        """Makes what a step would make, of all parameters."""
        gather_counters([self.state[param] for group in self.param_groups for param in group["params"]])
        for group in self.param_groups:
            for param in group["params"]:
                for name in self.slots(group):
                    self.state[param][name] = self.new_state(name, param, group)

    # ---- torch's protocol

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's, with the group's options checked."""
        if isinstance(param_group, dict):
            check_options(type(self).__name__, {**self.defaults, **param_group})
        super().add_param_group(param_group)
        self._plan = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but that states of a `state_dtype` keep it."""
        last_hook = self.register_load_state_dict_pre_hook(lambda _, loaded: storage.keep(loaded))
        try:
            super().load_state_dict(state_dict)
        finally:
            last_hook.remove()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes a state that torch's class or this one has saved; options that torch doesn't have get our defaults."""
        super().__setstate__(state)
        self._plan = None
        storage.unpack(self.state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        if any("step" in entries for entries in self.state.values()):
            gather_counters([entries for entries in self.state.values() if "step" in entries])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates all parameters that have a gradient.

        Args:
            closure: evaluates the model anew and returns the loss.

        Returns:
            What the closure returned, or None.

        Raises:
            ValueError: something isn't possible here: a sparse gradient, another dtype or device, ...; nothing has
                been changed then, but for states that were made.
        """
        if torch.compiler.is_dynamo_compiling():
            return self._untraced_step(closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or torch_optimizer._global_optimizer_pre_hooks
            or torch_optimizer._global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()
        ):
            return self._observed_step() if closure is None else self._observed_step(closure)
        return self._step(closure)

    # Torch would wrap `step` in what calls the hooks and tells the profiler, 6 microseconds in each step. The wrapper
    # is there as `_observed_step`, for when somebody observes.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.last_step_skipped = self._update()
        return loss

    _observed_step = torch.optim.Optimizer.profile_hook_step(_step)
    # In a function under torch.compile the step is no part of the graph.
    _untraced_step = _disable_dynamo(lambda self, closure: self.step(closure))

    def _update(self) -> bool | None:
        """Does the step; returns whether it was skipped as a gradient isn't finite, None if only a GPU knows."""
        found_inf = self.__dict__.get("found_inf")  # GradScaler's
        if found_inf is not None and not self._capturable() and float(found_inf) != 0:
            return True
        plan, self._plan = self._plan, None  # an error on the way leaves none
        if plan is None or not plan.holds(self):
            with torch.no_grad():
                plan = Plan(self)
        scale = self.__dict__.get("grad_scale")  # GradScaler's: the gradients are as many times too large
        skipped: bool | None = None
        if plan.stays:
            with torch.no_grad():
                plan.enqueue(found_inf, scale)
        else:
            skipped = plan.run(1.0 if scale is None else 1.0 / float(scale))
        if scale is not None:
            self._unscale(scale)
        if plan.watch is not None:
            self._plan = plan
        return skipped

    def _unscale(self, scale: torch.Tensor) -> None:
        """Divides the gradients themselves, as torch does: after the step they are there for who wants to see them."""
        params = dict.fromkeys(param for group in self.param_groups for param in group["params"])
        grads = [param.grad for param in params if param.grad is not None]
        with torch.no_grad():
            torch._foreach_div_(grads, scale)

    def _capturable(self) -> bool:
        """Whether the counters of all parameters stay on a GPU."""
        return all(devices.stays(group, param) for group in self.param_groups for param in group["params"])

    def option_reader(self) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
        """Of a group, the options that a step depends on."""
        return itemgetter(*(name for name in self.defaults if name != "lr" and name not in MANNERS))
