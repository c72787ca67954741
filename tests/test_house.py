"""The house rules that a machine can hold: includes and imports only point down, files and functions stay short."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "fastnn"

# A folder may include itself and the folders of lower floors.
CPP_FLOORS = {"base": 0, "math": 1, "cpu": 2, "comm": 2, "cuda": 3, "tape": 3, "xla": 4, "bindings": 5}
# A module or subpackage may import itself and those of lower floors; `fastnn` alone is only the version.
PYTHON_FLOORS = [
    {"_check"},
    {"_devices", "_threads"},
    {"_backend"},
    {"random", "_arrays", "_geometry", "_targets", "activations"},
    {"functional", "initializers", "regularizers", "schedules", "losses", "data"},
    {"metrics"},
    {"layers", "optimizers"},
    {"distributed"},
    {"jax", "torch"},
    {"callbacks"},
    {"models"},
    {"benchmark"},
    {"cli"},
    {"__main__"},
]
BANNED_NAMES = re.compile(r"(^|_)(utils?|helpers?|misc|common)(_|$)|_v\d+$|_(old|new|final|tmp)$")
MAX_FILE, MAX_FUNCTION, MAX_SETUP = 300, 60, 150

cpp_files = sorted(path for pattern in ("*.h", "*.cpp", "*.cuh", "*.cu") for path in CSRC.rglob(pattern))
python_files = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return str(path.relative_to(ROOT))


def unit_of(path):
    """The module or subpackage of fastnn that a file belongs to; "" for fastnn/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py").removesuffix("__init__")


def python_floor(unit):
    return next((floor for floor, units in enumerate(PYTHON_FLOORS) if unit in units), None)


def imported_units(tree):
    """Yields (unit of fastnn, line) for every import outside of `if TYPE_CHECKING`."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "fastnn" and len(parts) > 1:
                yield parts[1], node.lineno


def test_there_are_files_to_check():
    assert len(cpp_files) > 10 and len(python_files) > 10


@pytest.mark.parametrize("path", cpp_files, ids=name_of)
def test_includes_point_down(path):
    folder = path.relative_to(CSRC).parts[0]
    text = path.read_text()
    for included in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE):
        target = included.split("/")[0]
        assert (CSRC / included).is_file(), f"{included}: quoted includes are paths below csrc/"
        assert target == folder or CPP_FLOORS[target] < CPP_FLOORS[folder], f"{folder}/ must not include {included}"
    if folder != "bindings":
        assert not re.search(r"#\s*include\s*[<\"](pybind11|Python\.h)", text), "only bindings/ knows Python"


@pytest.mark.parametrize("path", python_files, ids=name_of)
def test_imports_point_down(path):
    unit = unit_of(path)
    floor = python_floor(unit) if unit else -1
    assert floor is not None, f"{unit}: give it a floor in PYTHON_FLOORS"
    tree = ast.parse(path.read_text())
    for target, line in imported_units(tree):
        if target == unit or target == "__version__":
            continue
        target_floor = python_floor(target)
        assert target_floor is not None, f"line {line}: fastnn.{target} has no floor"
        assert target_floor < floor, f"line {line}: {unit or 'fastnn/__init__.py'} must not import {target}"


@pytest.mark.parametrize("path", [*cpp_files, *python_files, *PACKAGE.rglob("*.pyx")], ids=name_of)
def test_files_are_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE, f"{lines} lines, at most {MAX_FILE}: is it still one idea?"


def test_setup_py_is_short():
    assert len((ROOT / "setup.py").read_text().splitlines()) <= MAX_SETUP


@pytest.mark.parametrize("path", python_files, ids=name_of)
def test_python_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            documentation = node.body[0] if ast.get_docstring(node) else None
            length = node.end_lineno - node.lineno + 1
            if documentation is not None:
                length -= documentation.end_lineno - documentation.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name}: {length} lines without its docstring, at most {MAX_FUNCTION}"


@pytest.mark.parametrize("path", cpp_files, ids=name_of)
def test_cpp_functions_are_short(path):
    """A function in clang-format's layout: a line that ends in `) ... {`, until the `}` at the same indentation."""
    lines = path.read_text().splitlines()
    for start, line in enumerate(lines):
        opens = re.match(
            r"( *)(?!if|for|while|switch|else|do|\}|return)\S.*\)( const)?( noexcept)?( override)? \{$", line
        )
        if opens:
            # The parameters may have begun on a line above, indented less.
            ends = (i for i in range(start, len(lines)) if re.match(rf" {{0,{len(opens[1])}}}\}}", lines[i]))
            length = next(ends) - start + 1
            assert length <= MAX_FUNCTION, f"line {start + 1}: function of {length} lines, at most {MAX_FUNCTION}"


def test_names_say_what_is_inside():
    folders = [ROOT / folder for folder in ("csrc", "fastnn", "tests", "bench", "docs", "examples")]
    suffixes = {".h", ".cpp", ".cu", ".cuh", ".py", ".pyx", ".md"}
    sources = [path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes]
    bad = [
        name_of(path) for path in sources if any(BANNED_NAMES.search(part) for part in path.with_suffix("").parts[-2:])
    ]
    assert not bad


def test_no_flag_that_breaks_nan_or_other_machines():
    # Only what is passed to the compiler counts, not what comments say.
    code = ast.dump(ast.parse((ROOT / "setup.py").read_text()))
    assert "'-ffast-math'" not in code and "'-march=native'" not in code
    assert "'-fno-math-errno'" in code
