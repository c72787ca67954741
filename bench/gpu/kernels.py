"""Times every kernel of fastnn._cuda at the benchmark rows of tests/cases.py, beside PyTorch; a JSON object a line.

GPU events around one call; the median of some; the caches are written over before each, and while that runs the call is
enqueued, so that the time of Python doesn't count.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
from cases import BENCH  # noqa: E402
from gpu_arrays import OnGpu, mapped_on_gpu  # noqa: E402
from timing import flush_buffer, limits, seconds  # noqa: E402
from torch_kernels import PEERS  # noqa: E402


def set_products(kernels, compute):
    """What products are made of, in torch and here."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = compute == "tf32"
    if hasattr(kernels, "set_compute"):
        kernels.set_compute(compute)


def measure(case, kernels, compute, flush):
    """Our time and torch's, or what went wrong."""
    found = {"what": "kernel", "row": case.name, "compute": compute, "bytes": case.bytes, "flops": case.flops}
    set_products(kernels, compute)
    placed = OnGpu(case.arguments(), case.outputs, case.alias, aligned=True)
    try:
        found["seconds"] = seconds(case.call(kernels, placed.arguments), flush)
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
    make = PEERS.get(case.kernel)
    try:
        peer = make and make(mapped_on_gpu(torch.from_dlpack, placed.arguments), case.options)
        found["torch"] = seconds(peer, flush) if peer else None
    except Exception as error:
        found["torch_error"] = f"{type(error).__name__}: {error}"
    return found


def main():
    """Prints the limits, then a line a row."""
    kernels = import_module("fastnn._cuda")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    flush = flush_buffer()
    print(json.dumps(limits(flush)), flush=True)
    for case in BENCH:
        if not hasattr(kernels, case.kernel):
            continue
        products = case.kernel == "gemm" or case.kernel.startswith(("dense", "conv2d"))
        for compute in ("float32", "tf32") if products and hasattr(kernels, "set_compute") else ("float32",):
            print(json.dumps(measure(case, kernels, compute, flush)), flush=True)


if __name__ == "__main__":
    main()
