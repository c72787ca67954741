"""bench/cuda_registers.py reads what ptxas and cuobjdump write. No CUDA toolkit is needed."""

import importlib
import re
from pathlib import Path

import pytest

PTXAS = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN3fnn4softIfEEvPKT_i' for 'sm_90'
ptxas info    : Function properties for _ZN3fnn4softIfEEvPKT_i
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 128 bytes smem
ptxas info    : Compile time = 2.507 ms
ptxas info    : Compiling entry function '_Z4gemmPfi' for 'sm_90'
ptxas info    : Function properties for _Z4gemmPfi
    48 bytes stack frame, 40 bytes spill stores, 44 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 48 bytes cumulative stack size
ptxas info    : Compile time = 12.507 ms
"""
SASS = """	code for sm_90
		Function : _ZN3fnn4softIfEEvPKT_i
        /*0050*/                   LDG.E.128.CONSTANT R0, desc[UR8][R2.64] ;
        /*0060*/                   LDG.E R4, desc[UR8][R2.64+0x10] ;
        /*0070*/                   STG.E.128 desc[UR8][R2.64], R0 ;
		Function : _Z4gemmPfi
        /*0050*/                   LDG.E.64 R0, desc[UR8][R2.64] ;
        /*0058*/                   LDGSTS.E.BYPASS.128 [R5], [R2.64] ;
        /*0060*/                   HMMA.16816.F32.BF16 R4, R8, R2, R4 ;
        /*0070*/                   STL [R1], R4 ;
"""
RESOURCES = """
Resource usage:
 Common:
  GLOBAL:0
 Function _ZN3fnn4softIfEEvPKT_i:
  REG:32 STACK:0 SHARED:128 LOCAL:0 CONSTANT[0]:908 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z4gemmPfi:
  REG:255 STACK:48 SHARED:0 LOCAL:0 CONSTANT[0]:380 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
CUOBJDUMP = """#!/bin/sh
case "$1" in
-res-usage) cat <<'END'
%s
END
;;
-sass) cat <<'END'
%s
END
;;
esac
"""


@pytest.fixture
def registers(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "bench"))
    return importlib.import_module("cuda_registers")


def test_registers_spills_and_shared_memory_are_read(registers):
    soft, gemm = registers.read_ptxas(PTXAS, "kernels.cu").values()
    assert (soft.registers, soft.spilled, soft.stack, soft.shared) == (32, 0, 0, 128)
    assert (gemm.registers, gemm.spilled, gemm.stack, gemm.shared) == (255, 84, 48, 0)


def test_instructions_are_counted(registers):
    soft, gemm = registers.read_sass(SASS).values()
    assert soft == {"ld.128": 1, "st.128": 1, "ld": 2, "cp.async.128": 0, "hmma": 0, "local": 0}
    assert gemm == {"ld.128": 0, "st.128": 0, "ld": 1, "cp.async.128": 1, "hmma": 1, "local": 1}


def test_a_spill_and_a_missing_instruction_are_complaints(registers, monkeypatch):
    monkeypatch.setattr(registers, "MEANT", {"gemm": "ld.128", "soft": "hmma"})
    kernels = registers.read_ptxas(PTXAS, "kernels.cu")
    for symbol, counts in registers.read_sass(SASS).items():
        kernels[symbol].instructions = counts
    said = [line for kernel in kernels.values() for line in kernel.complaints()]
    assert said == [
        "kernels.cu: _ZN3fnn4softIfEEvPKT_i has no hmma",
        "kernels.cu: _Z4gemmPfi spills 84 bytes of registers",
        "kernels.cu: _Z4gemmPfi has no ld.128",
    ]


def test_the_table_has_a_line_a_kernel(registers):
    lines = registers.table(list(registers.read_ptxas(PTXAS, "kernels.cu").values()))
    assert lines[0].split()[:4] == ["regs", "spill", "stack", "smem"] and len(lines) == 3
    assert lines[2].split()[:4] == ["255", "84", "48", "0"] and "kernels.cu: _Z4gemmPfi" in lines[2]


def test_demangled_names_are_short(registers):
    names = registers.demangled(["_ZN3fnn4softIfEEvPKT_i", "plain"])
    assert names in (["soft<float>", "plain"], ["_ZN3fnn4softIfEEvPKT_i", "plain"])


def test_a_built_extension_is_read(registers, monkeypatch, capsys, tmp_path):
    tool = tmp_path / "cuobjdump"
    tool.write_text(CUOBJDUMP % (RESOURCES, SASS))
    tool.chmod(0o755)
    monkeypatch.setattr(registers, "find_tool", lambda name: str(tool))
    monkeypatch.setattr(registers.sys, "argv", ["cuda_registers.py", "--built", "_cuda.so"])
    monkeypatch.setattr(registers, "MEANT", {"soft": "ld.128", "renamed": "hmma"})
    assert registers.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["32", "0", "0", "128"] and lines[2].split()[:4] == ["255", "4", "48", "0"]
    assert re.fullmatch(r"_cuda.so: \S*gemm\S* spills 4 bytes of registers", lines[3])
    assert lines[4:] == ["No kernel is called renamed."]


def test_without_cuobjdump_a_built_extension_cannot_be_read(registers, monkeypatch):
    monkeypatch.setattr(registers, "find_tool", lambda name: None)
    monkeypatch.setattr(registers.sys, "argv", ["cuda_registers.py", "--built", "_cuda.so"])
    with pytest.raises(SystemExit, match="--built needs cuobjdump"):
        registers.main()
