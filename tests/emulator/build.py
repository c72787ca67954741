"""Builds what the emulator runs: kernels and emulator compiled by g++, in the variants plain, asan and race.

    python tests/emulator/build.py                 # the extension in all variants, with times
    python tests/emulator/build.py extension plain # the extension in one variant; prints its path
    python tests/emulator/build.py selftest plain  # a program in one variant

The outputs lie in build/emulator/. Only what has changed is compiled again. Environment: CXX, FASTNN_BUILD_JOBS,
FASTNN_CUDA_INCLUDE (the folder that has cuda_runtime.h; else that of nvcc or of the wheels from PyPI).
"""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = Path(__file__).resolve().parent
OUTPUT = ROOT / "build" / "emulator"
MODULE = "_cuda_emulated"
CXX = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")
# Contracted as nvcc contracts: a * b + c is one operation.
FLAGS = ["-std=c++17", "-O1", "-g1", "-fPIC", "-pthread", "-fvisibility=hidden", "-ffp-contract=fast"]
# Never errors: with each sanitizer and macro g++ sees other things. nvcc and the builds for CPUs are strict.
WARNINGS = ["-Wall", "-Wextra", "-Wno-unknown-pragmas"]
REMEDY = "install the `test` extra, which has CUDA's headers, or set FASTNN_CUDA_INCLUDE to their folder"


@dataclass(frozen=True)
class Variant:
    """How kernels are compiled; `define` is for the emulator too."""

    name: str
    kernel_flags: tuple[str, ...] = ()
    define: str = ""
    link_flags: tuple[str, ...] = ()


# A misaligned access is an error on a GPU; signed overflow is none there, but never meant.
ASAN = ("-fsanitize=address,alignment,signed-integer-overflow,bounds", "-fno-sanitize-recover=all")
ASAN += ("-fno-omit-frame-pointer",)
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("plain"),
        Variant("asan", ASAN, "CUEMU_ASAN", ("-fsanitize=address,undefined",)),
        # Compiled only: the hooks are the emulator's, libtsan isn't linked.
        Variant("race", ("-fsanitize=thread", "--param", "tsan-distinguish-volatile=1", "-Wno-tsan"), "CUEMU_RACE"),
    )
}


HOST = Variant("host")  # what no variant changes: compiled once for all
COVERAGE = Variant("coverage", ("--coverage", "-O0"), link_flags=("--coverage",))  # for coverage.py alone


class BuildError(Exception):
    """A compiler that failed or headers that were not found."""


@cache
def cuda_include():
    """The folders with CUDA's headers, of FASTNN_CUDA_INCLUDE, nvcc's toolkit or the wheels from PyPI."""
    named = os.environ.get("FASTNN_CUDA_INCLUDE")
    folders = [Path(named)] if named else [*toolkit_folders(), *wheel_folders()]
    for folder in folders:
        if (folder / "cuda_runtime.h").is_file():
            beside = [
                other for other in folders if other != folder and (other / "crt").is_dir() | (other / "nv").is_dir()
            ]
            return [folder, *beside]
    raise BuildError(f"CUDA's headers were not found in {[str(folder) for folder in folders]}: {REMEDY}")


def toolkit_folders():
    """The include folder that nvcc itself uses."""
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
    if not nvcc:
        return []
    plan = subprocess.run([nvcc, "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True).stderr
    return [Path(folder).resolve() for folder in re.findall(r'"-I([^"]+)"', plan)]


def wheel_folders():
    """The include folders of the packages nvidia-cuda-runtime, nvidia-cuda-crt and nvidia-cuda-cccl."""
    spec = find_spec("nvidia")
    places = [Path(place) for place in spec.submodule_search_locations or []] if spec else []
    return sorted(folder for place in places for folder in place.glob("*/include") if folder.is_dir())


def run(output, command, inputs):
    """Runs a compiler or linker unless `output` was made by the same command and is newer than all inputs."""
    record = Path(f"{output}.cmd")
    text = shlex.join(map(str, command))
    if output.exists() and record.exists() and record.read_text() == text:
        made = output.stat().st_mtime
        if all(os.path.exists(path) and os.path.getmtime(path) < made for path in inputs):
            return
    output.parent.mkdir(parents=True, exist_ok=True)
    start = time.time()
    ccache = {"CCACHE_SLOPPINESS": "pch_defines,time_macros,include_file_mtime,include_file_ctime"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, **ccache})
    if done.returncode != 0:
        output.unlink(missing_ok=True)
        raise BuildError(f"{text}\n{done.stderr}")
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    os.utime(output, (start, start))  # an input that was edited meanwhile is newer
    record.write_text(text)


def inputs_of(obj):
    """The headers that the last compilation of an object read, from what -MMD wrote."""
    listing = obj.with_suffix(".d")  # "object: source header header ..."
    return listing.read_text().replace("\\\n", " ").split(": ", 1)[1].split() if listing.exists() else []


def flags_of(variant, is_kernel):
    """How a source is compiled; only kernels with the variant's sanitizer."""
    flags = [*CXX, *FLAGS, *WARNINGS, *(variant.kernel_flags if is_kernel else ())]
    flags += [f"-D{variant.define}"] if variant.define else []
    flags += [f"-I{ROOT / 'csrc'}", f"-I{EMULATOR}", *(word for path in cuda_include() for word in ("-isystem", path))]
    return flags


def precompile(variant):
    """Compiles the emulator's header once for all kernels: without CUDA's headers most of them take a third."""
    header = OUTPUT / variant.name / "first.h"
    header.parent.mkdir(parents=True, exist_ok=True)
    if not header.exists():
        header.write_text("#include <cuda_on_cpu.h>\n")
    output = precompiled(variant)
    command = [*flags_of(variant, True), "-MMD", "-MF", output.with_suffix(".d"), "-x", "c++-header", header]
    run(output, [*command, "-o", output], [header, *inputs_of(output)])


def precompiled(variant):
    """Where precompile() leaves it."""
    return OUTPUT / variant.name / "first.h.gch"


def compile_source(source, variant, extra=(), folder=None):
    """The object file of a source."""
    obj = OUTPUT / (folder or variant.name) / source.relative_to(ROOT).with_suffix(source.suffix + ".o")
    is_kernel, inputs = source.suffix == ".cu", [source, *inputs_of(obj)]
    command = [*flags_of(variant, is_kernel), *extra]
    if is_kernel:
        command += ["-include", precompiled(variant).with_suffix(""), "-fpch-preprocess"]  # which ccache needs
        inputs.append(precompiled(variant))
    run(obj, [*command, "-MMD", "-c", "-x", "c++", source, "-o", obj], inputs)
    return obj


@cache
def build_cuda():
    """What build_cuda.py says fastnn._cuda is made of, by name.

    Not imported through sys.path: the tests of an installed package must not find the source folder's there.
    """
    return runpy.run_path(str(ROOT / "build_cuda.py"))


def compile_bindings():
    """The object file of the bindings, all in one as setup.py compiles them; the same for all variants."""
    folder = ROOT / "csrc" / "bindings"
    names = [*build_cuda()["BINDINGS"], *build_cuda()["ONLY_CUDA"]]
    extra = [word for name in sorted(names) for word in ("-include", folder / f"{name}.cpp")]
    extra += [f"-DFNN_MODULE_NAME={MODULE}", '-DFNN_ISA_NAME="emulator"', "-DFNN_CUDA"]
    extra += ["-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include")]
    return compile_source(folder / "module.cpp", HOST, extra)


def in_parallel(jobs):
    """Runs functions at the same time; returns what they return."""
    with ThreadPoolExecutor(int(os.environ.get("FASTNN_BUILD_JOBS") or len(os.sched_getaffinity(0)))) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def emulator_jobs(variant):
    """What compiles the emulator itself."""
    return [partial(compile_source, source, variant) for source in sorted(EMULATOR.glob("*.cpp"))]


def program(name, variant):
    """Builds tests/emulator/<name>.cu with the emulator. Returns the path."""
    variant = VARIANTS[variant]
    output = OUTPUT / variant.name / name
    precompile(variant)
    objects = in_parallel([partial(compile_source, EMULATOR / f"{name}.cu", variant), *emulator_jobs(variant)])
    run(output, [*CXX, *variant.link_flags, "-pthread", *objects, "-o", output], objects)
    return output


def extension(variant):
    """Builds the extension module `_cuda_emulated`: the bindings and kernels of fastnn._cuda. Returns the path."""
    variant = COVERAGE if variant == "coverage" else VARIANTS[variant]
    output = OUTPUT / variant.name / f"{MODULE}.so"
    folder = ROOT / "csrc" / "cuda"
    precompile(variant)
    kernel_jobs = [partial(compile_source, source, variant, ["-DFNN_CUDA"]) for source in sorted(folder.glob("*.cu"))]
    others = [*sorted(folder.glob("*.cpp")), *(ROOT / source for source in build_cuda()["XLA"])]
    host_jobs = [partial(compile_source, source, HOST, ["-DFNN_CUDA"]) for source in others]
    objects = in_parallel([compile_bindings, *kernel_jobs, *host_jobs, *emulator_jobs(variant)])
    exports = OUTPUT / "exports.map"
    exports.write_text("{ global: PyInit_*; cuemu_hide; local: *; };\n")
    link = ["-shared", f"-Wl,--version-script={exports}"]  # a kernel that is missing shows when it is imported
    run(output, [*CXX, *link, *variant.link_flags, "-pthread", *objects, "-o", output], objects)
    return output


def main(arguments):
    """Builds what the arguments name and prints where it lies."""
    for name, variant in [arguments] if arguments else [("extension", variant) for variant in VARIANTS]:
        start = time.time()
        path = extension(variant) if name == "extension" else program(name, variant)
        print(path if arguments else f"{path}: {time.time() - start:.1f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BuildError as error:
        raise SystemExit(str(error)) from None
