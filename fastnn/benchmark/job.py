"""One job that fastnn and its peers all do."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contest:
    """One job that all contenders do.

    Args:
        name: what it is called in the table.
        task: the task in the peers' scripts.
        parameters: what the task's builder is given.
        amount: how much one run does, in `unit` times seconds.
        unit: "samples/s", "calls/s", "GFLOP/s" or "GB/s".
        flops, moved: operations and bytes that one run needs at least; both bound it.
        footprint: bytes it touches.
        steps: how many equal parts one run has; the table shows the time of one.
        kind: the table of docs/performance.md that it belongs to.
        left_out: forms that stay away, as for so large a job not all of them fit into memory.
    """

    name: str
    task: str
    parameters: dict[str, Any]
    amount: float
    unit: str
    flops: float
    moved: float = 0.0
    footprint: float = 0.0
    steps: int = 1
    kind: str = "kernels"
    left_out: tuple[str, ...] = ()
