"""PyTorch's optimizers as one fused pass: write ``fastnn.torch.AdamW`` for ``torch.optim.AdamW``, and nothing else.

    import fastnn.torch

    optimizer = fastnn.torch.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)

Arguments, defaults, state and checkpoints are torch's: a ``state_dict`` can go from torch's class to the one here in
the middle of a training and back, and the training goes on. Learning rate schedulers, parameter groups, hooks,
closures, ``GradScaler`` and ``torch.save`` work as with torch. Beyond torch every class takes, as keyword arguments and
per parameter group:

    l1: adds l1 * sign(p) to the gradient.
    clip_norm: largest norm of the optimizer's gradients together, as ``torch.nn.utils.clip_grad_norm_``; 0 is off.
    clip_value: largest absolute value in a gradient, 0 is off.
    skip_nonfinite: a step in which a gradient isn't finite changes nothing; `last_step_skipped` says so.
    state_dtype: of the states: torch.float32, torch.bfloat16, torch.float16, or torch.uint8 for 8 bits in blocks of
        256; None: that of the parameter, as torch.
    min_8bit_size: parameters of fewer elements have float32 states where others have 8 bits.
    master: of parameters of 16 bits. "float32": a copy that steps are done on. "remainder": the 16 bits by which a
        bfloat16 is short of it, which is as exact.
    stochastic_rounding: of parameters of 16 bits: up or down by chance, so that small steps count on average.
    seed: of that chance; the same seed gives the same numbers, whatever the number of threads.

Parameters are float32, bfloat16 or float16, on the CPU or on NVIDIA GPUs, a step calculating in float32 and rounding
once. They are dense (contiguous, channels_last or any other order of the axes). What isn't possible raises an error
that names it. Steps on the CPU run on the threads of torch's own pool, as many as ``torch.get_num_threads()``; those on
a GPU go to torch's current stream there. ``capturable`` and ``fused`` keep step counters on the GPU, and then nothing
waits for it: `last_step_skipped` is None, since only the GPU knows.
"""

from fastnn import _check

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    _check.fail(
        "fastnn.torch",
        "PyTorch",
        "installed",
        f"{error}",
        "Run `pip install 'fastnn-kernels[torch]'`.",
        ImportError,
    )

from fastnn.torch.base import Optimizer
from fastnn.torch.beyond import LAMB, LARS, Lion
from fastnn.torch.muon import Muon
from fastnn.torch.parallel import DataParallel
from fastnn.torch.rules import SGD, Adagrad, Adam, AdamW, AdamW8bit, RMSprop

__all__ = ["LAMB", "LARS", "SGD", "Adagrad", "Adam", "AdamW", "AdamW8bit", "Lion", "Muon", "Optimizer", "RMSprop"]
__all__ += ["DataParallel"]
