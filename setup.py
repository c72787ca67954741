"""Builds one extension per instruction set level and one for GPUs from the same sources, and the Cython data path.

Everything else stands in pyproject.toml. Environment, besides what build_cuda.py reads:
  FASTNN_ISA_LEVELS   comma-separated levels to build instead of all (for quick development builds)
  FASTNN_BUILD_JOBS   how many compilers run at once (default: the CPUs this process may use)
  FASTNN_WERROR       1 makes compiler warnings errors
  CXX, CXXFLAGS, LDFLAGS   as everywhere
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import pybind11
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent))  # where pip runs this file, it isn't there
import build_cuda  # noqa: E402

CXX = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")
BINDINGS, FLOORS = "csrc/bindings/module.cpp", ["base", "cpu", "tape", "xla"] + ["comm"] * (sys.platform == "linux")
# No -ffast-math: NaN must live. -fno-math-errno lets sqrt vectorise (4.5x on Adam).
FLAGS = ["-std=c++17", "-fPIC", "-pthread", "-DNDEBUG", "-g0", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"]
WARNINGS = ["-Wall", "-Wextra"] + (["-Werror"] if os.environ.get("FASTNN_WERROR") == "1" else [])
LEVEL_FLAGS = {
    "x86-64-v2": ["-march=x86-64-v2"],
    "x86-64-v3": ["-march=x86-64-v3"],
    "x86-64-v4": ["-march=x86-64-v4", "-mprefer-vector-width=512", "-mtune=skylake-avx512"],  # 10 % on Zen 4
    "baseline": [],
}


def levels_to_build():
    """The levels of this machine's architecture, or those of them that FASTNN_ISA_LEVELS names."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    known = [level for level in LEVEL_FLAGS if (level == "baseline") != x86]
    wanted = [level.strip() for level in os.environ.get("FASTNN_ISA_LEVELS", "").split(",") if level.strip()]
    for level in wanted:
        if level not in known:
            raise SystemExit(f"setup.py: FASTNN_ISA_LEVELS must be a comma list of {', '.join(known)}, got {level!r}.")
    return wanted or known


def kernel_extension(level):
    """The extension module `fastnn._cpu_<level>`: every kernel, compiled for one instruction set level."""
    module = "_cpu_" + level.replace("-", "_")
    sources = sorted(path for floor in FLOORS for path in glob(f"csrc/{floor}/*.cpp"))
    names = [("FNN_MODULE_NAME", module), ("FNN_ISA_NAME", f'"{level}"')]
    flags = LEVEL_FLAGS[level]
    return Extension(f"fastnn.{module}", [BINDINGS, *sources], define_macros=names, extra_compile_args=flags)


def cython_extensions(level):
    """The Cython modules, compiled once for the lowest level that is built."""
    sources = sorted(glob("fastnn/**/*.pyx", recursive=True))
    flags = ["-w", *LEVEL_FLAGS[level]]  # the C++ that Cython writes isn't ours to warn about
    names = {source: source.removesuffix(".pyx").replace(os.sep, ".") for source in sources}
    modules = [Extension(names[source], [source], extra_compile_args=flags, language="c++") for source in sources]
    return cythonize(modules, build_dir="build/cython", language_level=3, quiet=True) if modules else []


def run(output, command, inputs):
    """Runs a compiler or linker unless `output` was made by the same command and is newer than all inputs."""
    # pip's build isolation puts pybind11 into another temporary folder each time.
    text = shlex.join(command).replace(pybind11.get_include(), f"pybind11-{pybind11.__version__}")
    record = Path(f"{output}.cmd")
    if output.exists() and record.exists() and record.read_text() == text:
        made = output.stat().st_mtime
        if all(os.path.exists(path) and os.path.getmtime(path) < made for path in inputs):
            return
    output.parent.mkdir(parents=True, exist_ok=True)
    start = time.time()
    if subprocess.run(command).returncode != 0:
        output.unlink(missing_ok=True)
        raise SystemExit(f"setup.py: this command failed: {shlex.join(command)}")
    os.utime(output, (start, start))  # an input that was edited meanwhile is newer
    record.write_text(text)


class ParallelBuild(build_ext):
    """build_ext that compiles all files of all extensions at once, and only what has changed."""

    def build_extensions(self):
        build_cuda.say_if_left_out()
        sources = [(extension, source) for extension in self.extensions for source in extension.sources]
        sources.sort(key=lambda pair: pair[1] != BINDINGS)  # the longest first
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with ThreadPoolExecutor(int(os.environ.get("FASTNN_BUILD_JOBS") or cpus)) as pool:
            list(pool.map(self.compile_source, *zip(*sources)))
            list(pool.map(self.link, self.extensions))

    def object_path(self, extension, source):
        return Path(self.build_temp, extension.name, source).with_suffix(".o")

    def compile_source(self, extension, source):
        obj = self.object_path(extension, source)
        command = [*CXX, "-O1" if source == BINDINGS else "-O3", *FLAGS, *WARNINGS, *extension.extra_compile_args]
        if source == BINDINGS:  # all in one: to parse pybind11 for each of them would double the time of the build
            others = build_cuda.binding_files(extension.name == build_cuda.NAME)
            command += [word for path in others for word in ("-include", path)]
        command += [f"-D{name}={value}" for name, value in extension.define_macros] + ["-Icsrc"]
        # As system headers they give no warnings, and -MMD leaves them out.
        command += ["-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include")]
        command += shlex.split(os.environ.get("CXXFLAGS", "")) + ["-MMD", "-c", source, "-o", str(obj)]
        if source.startswith("csrc/cuda/"):
            command = build_cuda.compile_command(source, obj)
        listing = obj.with_suffix(".d")  # "object: source header header ...", written by -MMD
        found = listing.read_text().replace("\\\n", " ").split(": ", 1)[1].split() if listing.exists() else []
        run(obj, command, [source, *found])

    def link(self, extension):
        # Only PyInit is exported: inline functions of two levels loaded side by side must never be merged.
        exports = Path(self.build_temp, f"{extension.name}.map")
        exports.write_text("{ global: PyInit_*; local: *; };\n")
        linux = ["-shared", f"-Wl,--version-script={exports}", "-Wl,--gc-sections", "-s"]
        macos = ["-bundle", "-undefined", "dynamic_lookup", "-Wl,-x"]
        objects = [self.object_path(extension, source) for source in extension.sources]
        output = Path(self.build_temp, f"{extension.name}.so")
        command = [*CXX, *(macos if sys.platform == "darwin" else linux), "-pthread", *map(str, objects)]
        command += shlex.split(os.environ.get("LDFLAGS", "")) + ["-o", str(output)]
        if extension.name == build_cuda.NAME:
            command = build_cuda.link_command(objects, exports, output)
        run(output, command, objects)
        self.mkpath(os.path.dirname(self.get_ext_fullpath(extension.name)))
        shutil.copy2(output, self.get_ext_fullpath(extension.name))


class CleanBuild(build):
    """build that starts from an empty build_lib, so that a file removed from the sources isn't installed."""

    def run(self):
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


LEVELS = levels_to_build()
EXTENSIONS = [*map(kernel_extension, LEVELS), *build_cuda.extensions(BINDINGS), *cython_extensions(LEVELS[0])]
setup(ext_modules=EXTENSIONS, cmdclass={"build_ext": ParallelBuild, "build": CleanBuild})
