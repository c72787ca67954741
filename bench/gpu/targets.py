"""What fastnn means to reach on a GPU, at sizes beyond the caches; a JSON object a line.

optimizers      through fastnn.torch: the share of a copy's bandwidth, and times as fast as torch's fastest form
memory-bound    losses, pooling, normalization: the share of a copy's bandwidth, each array counted once
convolutions    in bfloat16, times as fast as cuDNN through torch
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
from gpu_arrays import OnGpu, mapped_on_gpu  # noqa: E402
from makers import conv2d, pooling  # noqa: E402
from normalization_makers import batch_norm, layer_norm  # noqa: E402
from timing import flush_buffer, limits, seconds, wall_seconds  # noqa: E402
from torch_kernels import PEERS  # noqa: E402
from training_makers import loss  # noqa: E402

DEVICE = "cuda"
MANY = 25_000_000  # parameters
MEMORY_BOUND = (
    lambda: [loss("sparse_softmax_cross_entropy", 32_768, 1024, weights=False)],
    lambda: pooling(128, 56, 56, 64, (2, 2), (2, 2)),
    lambda: batch_norm(128 * 56 * 56, 64),
    lambda: layer_norm(32_768, 1024),
)
CONVOLUTIONS = (
    lambda: conv2d(128, 28, 28, 128, 128, (3, 3)),
    lambda: conv2d(128, 14, 14, 256, 256, (3, 3)),
    lambda: conv2d(128, 56, 56, 64, 256, (1, 1)),
)


@dataclass(frozen=True)
class Contest:
    """An optimizer of fastnn.torch and torch's form of it."""

    name: str
    make: str
    peer: str
    bytes: int  # that a parameter moves
    form: dict
    options: dict
    wanted: float

    def steps(self, shapes):
        """(our step, torch's step), with parameters of their own."""
        ours, theirs = import_module("fastnn.torch"), torch.optim
        made = []
        for package, name, form in ((ours, self.make, {}), (theirs, self.peer, self.form)):
            params = [torch.nn.Parameter(torch.randn(shape, device=DEVICE)) for shape in shapes]
            for param in params:
                param.grad = torch.randn_like(param)
            made.append(getattr(package, name)(params, lr=1e-3, **form, **self.options).step)
        return made


ADAMW = Contest("AdamW", "AdamW", "AdamW", 28, {"fused": True}, {}, 1.0)
RMSPROP = Contest("RMSprop", "RMSprop", "RMSprop", 20, {"foreach": True}, {}, 3.0)


def target(name, reached, wanted, of):
    """A line."""
    print(json.dumps({"what": "target", "name": name, "reached": reached, "wanted": wanted, "of": of}), flush=True)


def optimizers(copy, flush):
    """At 25M parameters in one tensor, by the GPU's clock; at 1000 tensors of 1000 as a program sees it."""
    for contest in (ADAMW, RMSPROP):
        ours, theirs = contest.steps([(MANY,)])
        mine, peer = seconds(ours, flush), seconds(theirs, flush)
        target(f"{contest.name}, {MANY // 10**6}M", contest.bytes * MANY / mine / copy, 0.9, "copy")
        form = next(iter(contest.form))
        target(f"{contest.name}, {MANY // 10**6}M", peer / mine, contest.wanted, f"torch {form}")
    ours, theirs = ADAMW.steps([(1000,)] * 1000)
    target("AdamW, 1000 x 1000", wall_seconds(theirs) / wall_seconds(ours), 2.0, "torch fused")


def memory_bound(kernels, copy, flush):
    """Rows of losses, pooling and normalization."""
    for case in (case for make in MEMORY_BOUND for case in make()):
        placed = OnGpu(case.arguments(), case.outputs, case.alias, aligned=True)
        target(case.name, case.bytes / seconds(case.call(kernels, placed.arguments), flush) / copy, 0.85, "copy")


def halved(tensor):
    """A tensor in bfloat16, if it is one of float32."""
    return tensor.bfloat16() if tensor.dtype == torch.float32 else tensor


def convolutions(kernels, flush):
    """Ours rounds float32 to bfloat16 on the way to the tensor cores; torch's arrays are bfloat16."""
    kernels.set_compute("bfloat16")
    for case in (case for make in CONVOLUTIONS for case in make()):
        placed = OnGpu(case.arguments(), case.outputs, case.alias, aligned=True)
        tensors = mapped_on_gpu(lambda array: halved(torch.from_dlpack(array)), placed.arguments)
        peer = PEERS[case.kernel](tensors, case.options)
        mine = seconds(case.call(kernels, placed.arguments), flush)
        target(f"{case.name}, bfloat16", seconds(peer, flush) / mine, 0.8, "cuDNN")
    kernels.set_compute("float32")


def main():
    """Prints a line a target; a group that fails doesn't stop the others. Returns the exit code."""
    kernels, flush, failed = import_module("fastnn._cuda"), flush_buffer(), 0
    copy = limits(flush)["copy"]
    for group in (
        partial(optimizers, copy, flush),
        partial(memory_bound, kernels, copy, flush),
        partial(convolutions, kernels, flush),
    ):
        try:
            group()
        except Exception as error:
            failed = 1
            found = {"what": "target", "name": group.func.__name__, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(found), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
