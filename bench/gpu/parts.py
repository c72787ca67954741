"""The parts of bench/gpu.sh: what runs one after the other, what at the same time, and for how long at most."""

import sys
from dataclasses import dataclass, field

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
METRICS = (
    "gpu__time_duration.sum",
    "dram__bytes.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "launch__registers_per_thread",
)


@dataclass(frozen=True)
class Part:
    """A command; a line of its output that begins with { is a result in JSON.

    Attributes:
        seconds: how long it may take.
        needs: the program without which it is left out, and that is a failure.
    """

    name: str
    command: tuple[str, ...]
    seconds: int
    needs: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def all_parts(capability):
    """Groups of parts for a card of this compute capability ("90"): the parts of a group run at the same time."""
    python = sys.executable
    build = {"FASTNN_CUDA": "1", "FASTNN_CUDA_ARCHS": capability, "FASTNN_ISA_LEVELS": "x86-64-v3"}
    drive = (python, "bench/gpu/drive.py")
    sanitize = (
        "compute-sanitizer",
        "--error-exitcode",
        "9",
        "--target-processes",
        "all",
        "--print-limit",
        "20",
        "--tool",
    )
    profile = ("ncu", "--csv", "--clock-control", "none", "--metrics", ",".join(METRICS), "--target-processes", "all")
    return [
        [Part("build", (python, "setup.py", "-q", "build_ext", "--inplace"), 150, "nvcc", build)],
        [
            Part("tests", (python, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"), 120),
            Part("registers", (python, "bench/cuda_registers.py", "--arch", capability), 100, "nvcc"),
        ],
        [Part(tool, (*sanitize, tool, *drive), 110, "compute-sanitizer") for tool in TOOLS],
        [Part("kernels", (python, "bench/gpu/kernels.py"), 80)],
        [Part("steps", (python, "bench/gpu/steps.py"), 110)],
        [Part("ncu", (*profile, *drive, "--hot"), 60, "ncu")],
    ]
