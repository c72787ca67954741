"""The progress bar of an epoch, and the line that stands in for it where there is no terminal."""

import sys
import time
from typing import Any

from fastnn._check import fail

# Seconds between two updates: drawing a bar costs about as much as ten steps of a small net, and fills a log file.
_INTERVAL = 0.1 if sys.stderr and sys.stderr.isatty() else 10.0


def resolve_verbose(verbose: Any, function: str) -> int:
    """0 silent, 1 progress bar, 2 one line an epoch; "auto" is 1 on a terminal, else 2."""
    if verbose == "auto":
        return 1 if sys.stderr.isatty() else 2
    if verbose in (0, 1, 2):
        return int(verbose)
    return fail(function, "verbose", "0, 1, 2 or 'auto'", repr(verbose))


def format_logs(logs: dict[str, Any]) -> str:
    """ "loss=0.1234, accuracy=0.9712"."""
    return ", ".join(
        f"{name}={value:.4f}" if isinstance(value, float) else f"{name}={value}" for name, value in logs.items()
    )


class Progress:
    """Shows samples, samples/s, loss and metrics of one epoch, an evaluation or a prediction.

    Args:
        verbose: as ``resolve_verbose`` returns it.
        title: "Epoch 1/10".
        samples: how many there will be; None if that isn't known.
    """

    def __init__(self, verbose: int, title: str, samples: int | None):
        self.verbose, self.title, self.samples = verbose, title, samples
        self.begin = time.perf_counter()
        self.next = self.begin + _INTERVAL
        self.elapsed: float | None = None
        self._bar: Any = None
        if verbose == 1:
            from tqdm import tqdm  # imported when a bar is drawn: it takes longer to load than fastnn

            layout = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
            if samples is None:
                layout = "{desc}: {n_fmt} [{elapsed}{postfix}]"
            self._bar = tqdm(total=samples, desc=title, bar_format=layout, mininterval=0, miniters=0)

    @property
    def due(self) -> bool:
        """Whether it's time to show something new."""
        return self._bar is not None and time.perf_counter() >= self.next

    def update(self, seen: int, logs: dict[str, Any]) -> None:
        """Show where it stands after ``seen`` samples."""
        now = time.perf_counter()
        self.next = now + _INTERVAL
        rate = seen / max(now - self.begin, 1e-9)
        self._bar.n = seen
        self._bar.set_postfix_str(", ".join(filter(None, (f"{rate:,.0f} samples/s", format_logs(logs)))), refresh=True)

    def stop(self) -> None:
        """The rate counts up to here: what follows, such as validation, isn't part of it."""
        self.elapsed = time.perf_counter() - self.begin

    def close(self, seen: int, logs: dict[str, Any]) -> None:
        """Show the final values and end the line."""
        if self.elapsed is None:
            self.stop()
        assert self.elapsed is not None
        shown = ", ".join(filter(None, (f"{seen / max(self.elapsed, 1e-9):,.0f} samples/s", format_logs(logs))))
        if self._bar is not None:
            self._bar.n = seen
            self._bar.set_postfix_str(shown, refresh=False)  # closing draws it
            self._bar.close()
        elif self.verbose == 2:
            print(f"{self.title}: {self.elapsed:.2f} s, {shown}", flush=True)

    def abandon(self) -> None:
        """End the line without new values, after an exception."""
        if self._bar is not None:
            self._bar.close()
