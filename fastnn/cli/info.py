"""`fastnn info`: what fastnn found on this machine and what it chose, to read and to paste into a report."""

import argparse
import importlib.util
import os
import platform
from importlib import metadata
from pathlib import Path

import fastnn
from fastnn import _backend, _threads


def add_parser(subparsers) -> argparse.ArgumentParser:
    """Adds the command `info` to the command line's parser."""
    text = "version, CPU, instruction set levels, threads, CUDA and CuPy"
    parser = subparsers.add_parser("info", help=text, description=f"Prints what fastnn found: {text}.")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace | None = None) -> int:
    """Prints the report. Returns 0 if fastnn can run here, otherwise 1."""
    rows, usable = report()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0 if usable else 1


def report() -> tuple[list[tuple[str, str]], bool]:
    """Returns the rows of the report, as (name, value), and whether the kernels can run."""
    rows = [
        ("fastnn", f"{fastnn.__version__} in {Path(fastnn.__file__).parent}"),
        ("Python", f"{platform.python_version()}, NumPy {metadata.version('numpy')}"),
        ("CPU", f"{cpu_model()}, {os.cpu_count()} hardware threads, {platform.machine()}"),
        ("ISA levels supported", ", ".join(_backend.supported_levels()) or "none of those fastnn is built for"),
        ("ISA levels built", ", ".join(_backend.built_levels()) or "none"),
    ]
    usable = True
    for name, describe in (("ISA level chosen", chosen_level), ("threads", threads)):
        try:
            rows.append((name, describe()))
        except (ValueError, ImportError) as error:
            rows.append((name, f"none: {error}"))
            usable = False
    rows += [("CUDA", cuda()), ("CuPy", cupy())]
    return rows, usable


def chosen_level() -> str:
    level = _backend.chosen_level()
    _backend.load_level(level)
    return f"{level} ({'FASTNN_ISA' if os.environ.get('FASTNN_ISA') else 'the best one'})"


def threads() -> str:
    count, reason = _threads.decide()
    return f"{count} ({reason})"


def cpu_model() -> str:
    """The CPU's name from /proc/cpuinfo, or what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or "unknown CPU"


def cuda() -> str:
    """The GPUs that the kernel driver shows, and whether there are kernels for them."""
    version = Path("/proc/driver/nvidia/version")
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    if not version.exists():
        return "not found: no NVIDIA driver is loaded"
    models = [
        line.split(":", 1)[1].strip() for gpu in gpus for line in gpu.read_text().splitlines() if "Model:" in line
    ]
    kernels = "kernels built" if importlib.util.find_spec("fastnn._cuda") else "not used: fastnn._cuda isn't built"
    return f"{', '.join(models) or 'a driver without a GPU'}; {kernels}"


def cupy() -> str:
    """CuPy's version (it isn't imported: that takes a second and wants a driver)."""
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy"):
        try:
            return f"{metadata.version(name)} ({name})"
        except metadata.PackageNotFoundError:
            continue
    if importlib.util.find_spec("cupy"):
        return "found, of unknown version"
    return "not found: not installed"
