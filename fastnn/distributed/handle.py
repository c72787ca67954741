"""Collective operations that are on their way."""

from __future__ import annotations

from typing import Any

from fastnn.distributed import errors

_SLICE = 0.05  # seconds between two looks at signals while a handle is waited for


class Handle:
    """An operation on its way; its arrays must not be touched before it's done."""

    def __init__(self, handle: Any, kernels: Any):
        self._handle, self._kernels = handle, kernels

    def done(self) -> bool:
        """Whether the operation has ended, well or not."""
        return bool(self._handle.wait_for(0.0))

    def wait(self) -> None:
        """Return once the operation has ended.

        Raises:
            CommunicationError: it failed.
        """
        while not self._handle.wait_for(_SLICE):
            pass  # between two calls Python runs signal handlers
        try:
            self._handle.check()
        except self._kernels.CommFailed as failed:
            raise errors.of_failure(failed) from None
