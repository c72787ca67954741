"""How many batches one native call takes: Python is to be back about ten times a second, for the bar and for Ctrl-C."""

import time
from collections.abc import Iterator

# Seconds that a call should take, and the most batches that it may.
_INTERVAL = 0.08
LARGEST_CALL = 4096


class Pace:
    """Doubles or halves the number of batches in a call until it lasts between half the interval and all of it."""

    def __init__(self) -> None:
        self._per_call = 1

    def counts(self, batches: int, one_by_one: bool) -> Iterator[int]:
        """The sizes of the calls that take so many batches together; what the caller does with one is timed.

        Args:
            batches: in all.
            one_by_one: a call for each.
        """
        done = 0
        while done < batches:
            count = 1 if one_by_one else min(self._per_call, batches - done)
            begin = time.perf_counter()
            yield count
            seconds = time.perf_counter() - begin
            done += count
            if count == self._per_call:
                factor = 2 if seconds < _INTERVAL / 2 else 0.5 if seconds > _INTERVAL else 1
                self._per_call = int(min(max(self._per_call * factor, 1), LARGEST_CALL))
