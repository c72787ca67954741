"""What setup.py asks about the extension for NVIDIA GPUs, `fastnn._cuda`: whether, and by which commands it is built.

Environment:
  FASTNN_CUDA         1: build it; 0: leave it out; auto (the default): build it if there is an nvcc
  FASTNN_CUDA_ARCHS   architectures to build for, "80;90" by default: machine code for each, and PTX, from which drivers
                      make code for later GPUs, of those with "+PTX" or else of the last
  CUDA_HOME           the toolkit to use, instead of the nvcc on PATH or that of the wheels from PyPI
  NVCC_CCBIN          the host compiler of nvcc, if not g++ (read by nvcc itself)
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from glob import glob
from pathlib import Path

from setuptools import Extension

NAME = "fastnn._cuda"
# The files in csrc/bindings that are compiled for GPUs too, and those that are for nothing else.
ONLY_CUDA = ["bind_augment", "bind_device", "bind_peer", "bind_products", "device_array"]
BINDINGS = [
    "array_lists",
    "bind_activations",
    "bind_control",
    "bind_conv",
    "bind_conv_pool",
    "bind_crop_flip",
    "bind_dense",
    "bind_dense_update",
    "bind_dropout",
    "bind_embedding",
    "bind_gather",
    "bind_losses",
    "bind_metrics",
    "bind_norm",
    "bind_optimizer",
    "bind_pool",
    "bind_recurrent",
    "bind_reduce",
    "bind_rules",
    "bind_xla",
    "convert",
    "numpy_array",
    "table_formats",
    "tensor_table",
]
XLA = [f"csrc/xla/{name}.cpp" for name in ("call", "optimizer", "tensors")]  # handlers, for GPUs too
DEFAULT_ARCHS = "80;90"
WHEELS = "nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl"
HOW_TO_GET = f"install NVIDIA's CUDA toolkit, or pip install {WHEELS}, and see docs/cuda.md"
LEFT_OUT = (
    f"setup.py: there is no nvcc, so {NAME}, the extension for NVIDIA GPUs, is left out; to have it, {HOW_TO_GET}."
)
# Warnings are errors: a call of a host function in device code is one, and makes a kernel that does nothing. No
# -use_fast_math: NaN must live.
NVCC_FLAGS = ["-std=c++17", "-O3", "--fmad=true", "-DNDEBUG", "-DFNN_CUDA", "-Werror", "all-warnings", "-Icsrc"]
NVCC_FLAGS += ["-Xcompiler", "-fPIC,-fvisibility=hidden,-ffunction-sections,-fdata-sections"]


def nvcc_of_wheels():
    """The nvcc that came from PyPI, or None."""
    package = importlib.util.find_spec("nvidia")
    folders = package.submodule_search_locations if package else None
    found = [path for folder in folders or [] for path in sorted(glob(f"{folder}/cu*/bin/nvcc"))]
    return found[-1] if found else None


@functools.cache
def find_nvcc():
    """The path of the nvcc to use; None if FASTNN_CUDA says that there shall be none, or if there is none."""
    wanted = os.environ.get("FASTNN_CUDA") or "auto"
    if wanted not in ("0", "1", "auto"):
        raise SystemExit(f"setup.py: FASTNN_CUDA must be 0, 1 or auto, got {wanted!r}.")
    if wanted == "0":
        return None
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=os.path.join(home, "bin")) if home else shutil.which("nvcc") or nvcc_of_wheels()
    if nvcc is None and home:
        raise SystemExit(f"setup.py: CUDA_HOME must be a CUDA toolkit, with bin/nvcc in it, got {home!r}.")
    if nvcc is None and wanted == "1":
        raise SystemExit(f"setup.py: FASTNN_CUDA=1 needs nvcc, and there is none: {HOW_TO_GET}.")
    return nvcc


def say_if_left_out():
    """Prints a line if the extension would be built were there an nvcc."""
    if os.environ.get("FASTNN_CUDA") != "0" and find_nvcc() is None:
        print(LEFT_OUT)


@functools.cache
def arch_flags(nvcc):
    """nvcc's options for the architectures of FASTNN_CUDA_ARCHS."""
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    known = re.findall(r"sm_(\d+\w*)", listed)
    given = os.environ.get("FASTNN_CUDA_ARCHS") or DEFAULT_ARCHS
    archs = [arch.strip() for arch in given.split(";") if arch.strip()]
    numbers = [arch.removesuffix("+PTX") for arch in archs]
    for arch, number in zip(archs, numbers):
        if number not in known:
            wanted = f"a list of {', '.join(known)}, separated by semicolons, each perhaps with +PTX"
            raise SystemExit(f"setup.py: FASTNN_CUDA_ARCHS must be {wanted}, got {arch!r}.")
    with_ptx = [number for arch, number in zip(archs, numbers) if arch != number] or numbers[-1:]
    codes = [(number, f"sm_{number}") for number in numbers] + [(number, f"compute_{number}") for number in with_ptx]
    return [word for number, code in codes for word in ("-gencode", f"arch=compute_{number},code={code}")]


def compile_command(source, output):
    """Makes the object file of a file in csrc/cuda, and lists beside it what it includes."""
    listing = Path(output).with_suffix(".d")
    flags = [*NVCC_FLAGS, *arch_flags(find_nvcc())]
    return [find_nvcc(), *flags, "-MMD", "-MF", str(listing), "-c", source, "-o", str(output)]


def link_command(objects, exports, output):
    """Only what `exports` names is visible, and the CUDA runtime is inside: nothing has to be found at run time."""
    options = [f"--version-script={exports}", "--gc-sections", "-s"]
    # NVIDIA's packages from PyPI have their libraries in lib/, and an nvcc that looks in lib64/.
    libraries = Path(os.path.realpath(find_nvcc())).parents[1] / "lib"
    flags = ["-shared", "--cudart=static", f"-L{libraries}", *arch_flags(find_nvcc())]
    flags += ["-Xlinker", ",".join(options)]
    return [find_nvcc(), *flags, *map(str, objects), "-o", str(output)]


def extensions(module):
    """The extension for GPUs, whose bindings begin in the file `module`, if it is to be built."""
    if find_nvcc() is None:
        return []
    arch_flags(find_nvcc())
    names = [("FNN_MODULE_NAME", "_cuda"), ("FNN_ISA_NAME", '"cuda"'), ("FNN_CUDA", "1")]
    sources = sorted(glob("csrc/cuda/*.cu") + glob("csrc/cuda/*.cpp")) + XLA
    return [Extension(NAME, [module, *sources], define_macros=names)]


def binding_files(cuda):
    """The files in csrc/bindings that the module of the CPU or that of the GPU is made of, besides its module.cpp."""
    every = sorted(glob("csrc/bindings/*.cpp"))
    wanted = {f"csrc/bindings/{name}.cpp" for name in (BINDINGS + ONLY_CUDA if cuda else ONLY_CUDA)}
    return [path for path in every if (path in wanted) == cuda and not path.endswith("/module.cpp")]
