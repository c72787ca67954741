"""The machine's own limit: x *= a over an array that makes memory carry as many bytes as the step in question."""

import numpy as np
import problems
from protocol import serve

from fastnn import _backend
from fastnn.benchmark.optimizer_contests import STEPS


def scaling(task):
    def build(variant, shapes):
        moved = STEPS[task].moved * problems.count(shapes)
        x = _backend.zeros(max(1, round(moved / 8)), np.float32)  # read and written, 4 bytes each
        return lambda: _backend.kernels.limits.scale_loop(x, 1.0, 1)

    return build


TASKS = {task: (["scale"], scaling(task)) for task in STEPS}

if __name__ == "__main__":
    serve("in-place", TASKS)
