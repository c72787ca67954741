"""csrc/xla/ffi.h against the header that jaxlib brings: the structs' sizes, every field's place, and the numbers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

jax = pytest.importorskip("jax")

ROOT = Path(__file__).resolve().parents[1]
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

# ours -> (XLA's, {our field: XLA's}); "" for fields of the same name is left out.
STRUCTS = {
    "Extension": ("XLA_FFI_Extension_Base", "struct_size type next"),
    "Version": ("XLA_FFI_Api_Version", "struct_size extension_start major_version minor_version"),
    "ErrorArguments": ("XLA_FFI_Error_Create_Args", "struct_size extension_start message code=errc"),
    "ScheduleArguments": ("XLA_FFI_ThreadPool_Schedule_Args", "struct_size extension_start context=ctx task data"),
    "ThreadCountArguments": (
        "XLA_FFI_ThreadPool_NumThreads_Args",
        "struct_size extension_start context=ctx threads=num_threads",
    ),
    "StreamArguments": ("XLA_FFI_Stream_Get_Args", "struct_size extension_start context=ctx stream"),
    "DestroyArguments": ("XLA_FFI_Error_Destroy_Args", "struct_size extension_start error"),
    "Buffer": ("XLA_FFI_Buffer", "struct_size extension_start dtype data rank dims"),
    "Text": ("XLA_FFI_ByteSpan", "begin=ptr size=len"),
    "ScalarAttribute": ("XLA_FFI_Scalar", "dtype value"),
    "ArrayAttribute": ("XLA_FFI_Array", "dtype size data"),
    "Buffers": ("XLA_FFI_Args", "struct_size extension_start size types items=args"),
    "Buffers ": ("XLA_FFI_Rets", "struct_size extension_start size types items=rets"),
    "Attributes": ("XLA_FFI_Attrs", "struct_size extension_start size types names items=attrs"),
    "CallFrame": (
        "XLA_FFI_CallFrame",
        "struct_size extension_start api context=ctx stage arguments=args results=rets attributes=attrs",
    ),
    "MetadataExtension": ("XLA_FFI_Metadata_Extension", "base=extension_base metadata"),
    "Metadata": ("XLA_FFI_Metadata", "struct_size version=api_version traits"),
    "Api": (
        "XLA_FFI_Api",
        "struct_size extension_start version=api_version internal=internal_api create_error=XLA_FFI_Error_Create "
        "error_message=XLA_FFI_Error_GetMessage destroy_error=XLA_FFI_Error_Destroy "
        "register_handler=XLA_FFI_Handler_Register get_stream=XLA_FFI_Stream_Get "
        "schedule=XLA_FFI_ThreadPool_Schedule thread_count=XLA_FFI_ThreadPool_NumThreads",
    ),
}
LONGER = {"Api", "CallFrame", "Metadata"}  # XLA's have more fields behind, in some versions
NUMBERS = {
    "ErrorCode::invalid_argument": "XLA_FFI_Error_Code_INVALID_ARGUMENT",
    "ErrorCode::internal": "XLA_FFI_Error_Code_INTERNAL",
    "DataType::s32": "XLA_FFI_DataType_S32",
    "DataType::s64": "XLA_FFI_DataType_S64",
    "DataType::f16": "XLA_FFI_DataType_F16",
    "DataType::bf16": "XLA_FFI_DataType_BF16",
    "DataType::f32": "XLA_FFI_DataType_F32",
    "DataType::f64": "XLA_FFI_DataType_F64",
    "Stage::execute": "XLA_FFI_ExecutionStage_EXECUTE",
    "ArgumentType::buffer": "XLA_FFI_ArgType_BUFFER",
    "AttributeType::array": "XLA_FFI_AttrType_ARRAY",
    "AttributeType::dictionary": "XLA_FFI_AttrType_DICTIONARY",
    "AttributeType::scalar": "XLA_FFI_AttrType_SCALAR",
    "AttributeType::string": "XLA_FFI_AttrType_STRING",
    "ExtensionType::metadata": "XLA_FFI_Extension_Metadata",
}


def assertions():
    for ours, (theirs, fields) in STRUCTS.items():
        own = f"fnn::xla::{ours.strip()}"
        if ours not in LONGER:
            yield f"sizeof({own}) == sizeof({theirs})"
        for field in fields.split():
            mine, _, other = field.partition("=")
            other = other or mine
            yield f"offsetof({own}, {mine}) == offsetof({theirs}, {other})"
            yield f"sizeof({own}::{mine}) == sizeof({theirs}::{other})"
    for ours, theirs in NUMBERS.items():
        yield f"int(fnn::xla::{ours}) == int({theirs})"
    yield "XLA_FFI_API_MAJOR == fnn::xla::kMajorVersion"
    yield "XLA_FFI_API_MINOR >= 1"


def declared():
    """{struct: [fields]} of csrc/xla/ffi.h."""
    text = re.sub(r"//.*", "", (ROOT / "csrc/xla/ffi.h").read_text())
    found = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", text, re.DOTALL):
        names = re.findall(r"(\w+)(?:\)\([^)]*\))?(?=[;,])", body.replace(", minor", "; int minor"))
        found[name] = [field for field in names if field not in ("ErrorArguments",)]
    return found


def test_every_declared_field_is_compared():
    compared = {}
    for ours, (_, fields) in STRUCTS.items():
        compared[ours.strip()] = [field.partition("=")[0] for field in fields.split()]
    compared["Metadata"].append("state_type")  # not in version 0.1
    assert declared() == compared


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_the_layout_is_xlas(tmp_path):
    lines = ['#include <cstddef>\n#include "xla/ffi/api/c_api.h"\n#include "%s"' % (ROOT / "csrc/xla/ffi.h")]
    lines += [f'static_assert({condition}, "{condition}");' for condition in assertions()]
    source = tmp_path / "compare.cpp"
    source.write_text("\n".join(lines) + "\nint main() {}\n")
    command = [
        COMPILER,
        "-std=c++17",
        "-Wno-invalid-offsetof",
        "-fsyntax-only",
        f"-I{jax.ffi.include_dir()}",
        str(source),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
