"""What every callback is, and the list that calls them."""

from collections.abc import Callable
from typing import Any

from fastnn import _backend, _check
from fastnn._check import fail

Logs = dict[str, Any]


class Callback:
    """Base of all callbacks; override what you need.

    Attributes:
        model: the model in training.
        params: {"epochs", "steps", "verbose", "validation_freq"}; the last is None without validation.
        handles_nonfinite_loss: True keeps ``fit`` from raising on a NaN loss, as the callback acts on it.
        for_rank_0_alone: True: it writes files, so that of several ranks that train together only rank 0 calls it.
    """

    handles_nonfinite_loss = False
    for_rank_0_alone = False

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


class CallbackList:
    """Calls a hook of every callback that has it.

    Args:
        callbacks: in the order in which they're called.
        model, params: handed to each.
        function: for messages.
    """

    def __init__(self, callbacks: Any, model: Any, params: dict[str, Any], function: str = "fit"):
        entries = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        for callback in entries:
            if not isinstance(callback, Callback):
                remedy = "Write EarlyStopping(), not EarlyStopping." if isinstance(callback, type) else ""
                fail(function, "callbacks", "a list of callbacks", repr(callback), remedy, error=TypeError)
            callback.set_model(model)
            callback.set_params(params)
        self.callbacks, self.params = entries, params
        self._hooks: dict[str, list[Any]] = {}

    def has(self, hook: str) -> bool:
        """Whether any callback overrides this hook."""
        return bool(self._overriding(hook))

    def _overriding(self, hook: str) -> list[Any]:
        if hook not in self._hooks:
            base = getattr(Callback, hook)
            self._hooks[hook] = [
                getattr(c, hook) for c in self.callbacks if getattr(getattr(c, hook), "__func__", None) is not base
            ]
        return self._hooks[hook]

    def call(self, hook: str, *arguments: Any) -> None:
        """Call ``hook(*arguments)`` where it's overridden."""
        methods = self._overriding(hook)
        if methods:
            with _backend.on("cpu"):  # where a model trains on a GPU, the user's code isn't there
                for method in methods:
                    method(*arguments)


class History(Callback):
    """What ``fit`` returns: ``history`` maps "loss", "accuracy", "val_loss", ... to a value for each epoch; ``epoch``
    their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """Hooks from functions: ``LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs))``; any hook of ``Callback``
    by its name."""

    def __init__(self, **hooks: Callable[..., Any]):
        super().__init__()
        known = [name for name in vars(Callback) if name.startswith("on_")]
        for name, hook in hooks.items():
            _check.choice("LambdaCallback", "hook", name, known)
            if not callable(hook):
                fail("LambdaCallback", name, "callable", repr(hook), error=TypeError)
            setattr(self, name, hook)
