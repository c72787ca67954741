"""What ptxas made of every CUDA kernel: registers, spills, shared memory, and whether wanted instructions are there.

    python bench/cuda_registers.py                     # all of csrc/cuda, for sm_90
    python bench/cuda_registers.py --arch 80 softmax   # only the files whose name has that word
    python bench/cuda_registers.py --json FILE
    python bench/cuda_registers.py --built fastnn/_cuda.*.so   # what an extension that is built has in it

Needs nvcc, no GPU. The instructions are read with cuobjdump, of the toolkit or of the packages nvidia-cuda-cuobjdump
and nvidia-cuda-nvdisasm; without it their columns are empty and nothing is said of them. Of a built extension cuobjdump
says everything, no nvcc is needed, and a spill is an access to local memory, which no kernel is meant to have. Exits
with 1 if a kernel spills registers or lacks what MEANT says.
"""

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = runpy.run_path(str(ROOT / "build_cuda.py"))
# Kernel (a pattern of its demangled name) -> the instruction that it is fast by.
MEANT: dict[str, str] = {
    r"(max|average)_(for|back)ward<4": "ld.128",  # also those over whole images
    r"\b((norm_)?(held|long)_rows|mean_terms)<": "ld.128",
    r"\b(normalize|input_gradient|sum_columns|crop_flip)<4": "ld.128",
    r"\bgather<.*Chunk16": "ld.128",
    r"^dropout$": "ld.128",
    r"\b(update|find)_(tensors|layers|norms|matrices)<": "ld.128",
    r"\b(take_directions|combine_kernel|sum_squares)<": "ld.128",
    r"\bsoftmax_(for|back)ward_": "ld.128",
    r"\bdepthwise_(kernel|weights)<(.*, )?4>": "ld.128",
    r"\bproduct_kernel<.*Problem<4[,>]": "cp.async.128",
    r"\bproduct_kernel<.*TensorTile<": "hmma",
}
# Instructions that only GPUs from these on have; Turing's tensor cores take float16 alone.
SINCE = {"cp.async.128": 80, "hmma": 80}
COUNTED = {
    "ld.128": r"\bLDG?\.E\.(?:\w+\.)*128",
    "st.128": r"\bSTG?\.E\.(?:\w+\.)*128",
    "ld": r"\bLDG?\.E",
    "cp.async.128": r"\bLDGSTS\.E\.(?:\w+\.)*128",
    "hmma": r"\b[HI]G?MMA",
    "local": r"\b(?:LDL|STL)\b",
}


@dataclass
class Kernel:
    """One entry function of one file."""

    file: str
    name: str
    registers: int = 0
    spilled: int = 0  # bytes stored and loaded
    stack: int = 0
    shared: int = 0  # bytes, static
    instructions: dict[str, int] = field(default_factory=dict)

    def complaints(self, arch=90):
        """What is wrong with it, for a GPU of this architecture, in sentences."""
        found = [f"{self.file}: {self.name} spills {self.spilled} bytes of registers"] if self.spilled else []
        for pattern, wanted in MEANT.items():
            there = self.instructions and arch >= SINCE.get(wanted, 0)
            if there and re.search(pattern, self.name) and not self.instructions[wanted]:
                found.append(f"{self.file}: {self.name} has no {wanted}")
        return found


def read_ptxas(text, file):
    """{mangled name: Kernel} from what `ptxas -v` wrote."""
    kernels = {}
    for part in re.split(r"Compiling entry function '", text)[1:]:
        symbol = part.split("'", 1)[0]
        kernel = kernels[symbol] = Kernel(file, symbol)
        # A function that isn't inlined has properties too: they count for the kernel before it.
        for stack, stores, loads in re.findall(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        ):
            kernel.stack = max(kernel.stack, int(stack))
            kernel.spilled += int(stores) + int(loads)
        kernel.registers = int(re.search(r"Used (\d+) registers", part)[1])
        shared = re.search(r"(\d+) bytes smem", part)
        kernel.shared = int(shared[1]) if shared else 0
    return kernels


def read_sass(text):
    """{mangled name: {counted instruction: how many}} from `cuobjdump -sass`."""
    found = {}
    for part in re.split(r"Function : ", text)[1:]:
        symbol, code = part.split("\n", 1)
        found[symbol.strip()] = {name: len(re.findall(pattern, code)) for name, pattern in COUNTED.items()}
    return found


def read_resources(text, file):
    """{mangled name: Kernel} from `cuobjdump -res-usage`, the spills still missing."""
    pattern = r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)"
    return {
        symbol: Kernel(file, symbol, int(registers), 0, int(stack), int(shared))
        for symbol, registers, stack, shared in re.findall(pattern, text)
    }


def run_cuobjdump(cuobjdump, *arguments):
    """What it prints; it calls nvdisasm, which lies beside it."""
    path = os.pathsep.join([str(Path(cuobjdump).parent), os.environ.get("PATH", "")])
    done = subprocess.run([cuobjdump, *arguments], capture_output=True, text=True, env={**os.environ, "PATH": path})
    if done.returncode != 0:
        raise SystemExit(f"cuda_registers.py: {cuobjdump} {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def find_tool(name):
    """The path of a CUDA tool beside nvcc, on PATH or in the wheels from PyPI, or None."""
    home = os.environ.get("CUDA_HOME")
    spec = find_spec("nvidia")
    places = [f"{home}/bin"] if home else []
    places += [
        str(folder)
        for path in (spec.submodule_search_locations if spec else [])
        for folder in Path(path).glob("cu*/bin")
    ]
    return shutil.which(name) or next((found for place in places if (found := shutil.which(name, path=place))), None)


def demangled(symbols):
    """The names that C++ has for the symbols, without their parameters."""
    tool = shutil.which("c++filt")
    if not tool or not symbols:
        return list(symbols)
    names = subprocess.run([tool, *symbols], capture_output=True, text=True, check=True).stdout.splitlines()
    return [re.sub(r"\(anonymous namespace\)::|fnn::(cuda::)?|^void ", "", name).rsplit("(", 1)[0] for name in names]


def inspect(source, arch, nvcc, cuobjdump):
    """The kernels of one file."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = f"{folder}/kernels.cubin"
        target = ["-gencode", f"arch=compute_{arch},code=sm_{arch}", "-Xptxas", "-v", "-cubin"]
        done = subprocess.run(
            [nvcc, *BUILD["NVCC_FLAGS"], *target, str(source), "-o", cubin], capture_output=True, text=True, cwd=ROOT
        )
        if done.returncode != 0:
            raise SystemExit(f"cuda_registers.py: nvcc failed on {source}:\n{done.stderr}")
        kernels = read_ptxas(done.stderr, source.name)
        if cuobjdump:
            add_instructions(kernels, run_cuobjdump(cuobjdump, "-sass", cubin))
    return named(kernels)


def inspect_built(extension, cuobjdump):
    """The kernels in an extension, or another file with machine code for GPUs."""
    if not cuobjdump:
        raise SystemExit(
            "cuda_registers.py: --built needs cuobjdump: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
        )
    kernels = read_resources(run_cuobjdump(cuobjdump, "-res-usage", extension), Path(extension).name)
    add_instructions(kernels, run_cuobjdump(cuobjdump, "-sass", extension))
    for kernel in kernels.values():
        kernel.spilled = 4 * kernel.instructions.get("local", 0)
    return named(kernels)


def add_instructions(kernels, sass):
    for symbol, counts in read_sass(sass).items():
        if symbol in kernels:
            kernels[symbol].instructions = counts


def named(kernels):
    """The kernels, with names for people."""
    for kernel, name in zip(kernels.values(), demangled(kernels)):
        kernel.name = name
    return list(kernels.values())


def table(kernels):
    """The kernels as lines of text."""
    heads = ["regs", "spill", "stack", "smem", *COUNTED, "kernel"]
    rows = [
        [k.registers, k.spilled, k.stack, k.shared, *(k.instructions.get(name, "") for name in COUNTED)]
        for k in kernels
    ]
    lines = ["".join(f"{head:>8}" for head in heads[:-1]) + "  kernel"]
    for kernel, row in zip(kernels, rows):
        lines.append("".join(f"{value:>8}" for value in row) + f"  {kernel.file}: {kernel.name[:90]}")
    return lines


def main():
    """Prints the table and the complaints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only files with one of these in their name")
    parser.add_argument("--arch", default="90")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--built", metavar="FILE", help="an extension that is built, instead of the sources")
    options = parser.parse_args()
    kernels = (
        compiled_kernels(options) if options.built is None else inspect_built(options.built, find_tool("cuobjdump"))
    )
    print("\n".join(table(kernels)))
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(kernel) for kernel in kernels], indent=1))
    arch = int(re.match(r"\d+", options.arch)[0])
    complaints = [line for kernel in kernels for line in kernel.complaints(arch)]
    if not options.words:  # a name that has changed must not end the check of it
        complaints += [f"No kernel is called {pattern}." for pattern in MEANT if not any_called(pattern, kernels)]
    print("\n".join(complaints) or f"{len(kernels)} kernels, none spills.")
    return 1 if complaints or not kernels else 0


def any_called(pattern, kernels):
    return any(re.search(pattern, kernel.name) for kernel in kernels)


def compiled_kernels(options):
    """Those of the sources in csrc/cuda, compiled now."""
    nvcc = BUILD["find_nvcc"]()
    if nvcc is None:
        raise SystemExit(f"cuda_registers.py: there is no nvcc: {BUILD['HOW_TO_GET']}")
    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    sources = [path for path in sources if not options.words or any(word in path.stem for word in options.words)]
    cuobjdump = find_tool("cuobjdump")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        kernels = sum(pool.map(lambda source: inspect(source, options.arch, nvcc, cuobjdump), sources), [])
    if not cuobjdump:
        print("There is no cuobjdump: instructions are not looked at.")
    return kernels


if __name__ == "__main__":
    sys.exit(main())
