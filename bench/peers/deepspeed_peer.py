"""DeepSpeed's CPUAdam, which compiles itself at its first use (`pip install deepspeed ninja`)."""

import problems
import torch
from protocol import serve
from torch_optimizers import parameters

torch.set_num_threads(problems.threads())


def adamw(variant, shapes):
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    params = parameters(*problems.optimizer_data(shapes))
    return DeepSpeedCPUAdam(params, lr=1e-3, weight_decay=1e-2, adamw_mode=True).step


TASKS = {"adamw": (["CPUAdam"], adamw)}

if __name__ == "__main__":
    serve("DeepSpeed", TASKS)
