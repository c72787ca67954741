"""The parts of bench/gpu.sh: what runs one after the other, what at the same time, and for how long at most."""

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

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


def gpu_tests():
    """The files that have tests marked gpu: others may import what isn't installed there."""
    files = sorted(Path(__file__).resolve().parents[2].glob("tests/test_*.py"))
    return [f"tests/{path.name}" for path in files if "mark.gpu" in path.read_text()]


def workers():
    """Processes for the tests, whose time goes to references in NumPy, where pytest-xdist is installed."""
    return ("-n", "8") if find_spec("xdist") else ()


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
        [Part("build", (python, "setup.py", "-q", "build_ext", "--inplace"), 130, "nvcc", build)],
        [
            Part(
                "tests",
                (python, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *workers(), *gpu_tests()),
                110,
            ),
            Part("registers", (python, "bench/cuda_registers.py", "--arch", capability), 100, "nvcc"),
        ],
        [Part(tool, (*sanitize, tool, *drive), 100, "compute-sanitizer") for tool in TOOLS],
        [Part("ranks", (python, "bench/gpu/one_card.py"), 30)],
        [Part("targets", (python, "bench/gpu/targets.py"), 60)],
        [Part("kernels", (python, "bench/gpu/kernels.py"), 70)],
        [Part("steps", (python, "bench/gpu/steps.py"), 90)],
        [Part("ncu", (*profile, *drive, "--hot"), 50, "ncu")],
    ]
