"""Types of the Cython module, for mypy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def draw(
    moves: NDArray[np.int32],
    index: NDArray[np.int64],
    seed: int,
    epoch: int,
    stream: int,
    top: tuple[int, int],
    left: tuple[int, int],
    horizontal: bool,
    vertical: bool,
) -> None: ...
def gather(
    x: NDArray[Any],
    index: NDArray[np.int64],
    out: NDArray[np.float32],
    moves: NDArray[np.int32],
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
) -> None: ...
