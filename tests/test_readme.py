"""What the README shows must work as it stands there: its two commands, its examples, its tables and links."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {"README.md": README, **{f"docs/{path.name}": path.read_text() for path in (ROOT / "docs").glob("*.md")}}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text):
    return [line for block in blocks(text, "sh") for line in block.splitlines()]


INSTALLING = [line for line in commands(README) if line.startswith("python3 -m venv")]
FASTNN = [line for line in commands(README) if line.startswith(".venv/bin/fastnn ")]


def test_two_commands_install_and_run():
    make = "python3 -m venv .venv && .venv/bin/pip install"
    assert INSTALLING == [f"{make} . && .venv/bin/fastnn train", f"{make} '.[test]' && .venv/bin/pytest"]
    # .ci/run takes them by this beginning, wherever they stand.
    assert [line for line in README.splitlines() if line.startswith("python3 -m venv")] == INSTALLING


def test_first_command_trains_on_digits(run_python, tmp_path):
    *_, last = INSTALLING[0].split(" && ")
    result = run_python("-m", *shlex.split(last.replace(".venv/bin/", "")))
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    accuracy = re.search(r"test accuracy\D*(\d+(?:\.\d+)?) ?(%?)", output, re.IGNORECASE)
    assert accuracy, output
    assert float(accuracy[1]) / (100 if accuracy[2] else 1) >= 0.97
    assert "samples/s" in output
    saved = re.findall(r"\S+\.safetensors", output)
    assert saved and (tmp_path / saved[-1]).is_file(), output


def test_second_command_runs_these_tests():
    assert os.path.basename(INSTALLING[1].split()[-1]) == "pytest"
    torch = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("test = ")]
    assert len(torch) == 1 and '"torch==2.13.0"' in torch[0]


@pytest.mark.parametrize("command", FASTNN)
def test_command_line_options_exist(run_python, command):
    _, subcommand, *arguments = shlex.split(command)
    help_text = run_python("-m", "fastnn", subcommand, "--help").stdout
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert re.search(rf"{option}\b", help_text), f"{option} isn't in: {help_text}"


@pytest.mark.parametrize("code", blocks(README, "python"), ids=lambda code: code.splitlines()[0])
def test_examples_run(run_python, code):
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr


def test_example_learns(run_python):
    code = f"{blocks(README, 'python')[0]}\nassert accuracy > 0.9, accuracy"
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert target.startswith("https://") or ((ROOT / page).parent / target).exists(), target


def test_extras_are_declared():
    declared = re.search(
        r"^\[project.optional-dependencies\]\n(.*?)^\[", (ROOT / "pyproject.toml").read_text(), re.M | re.S
    )
    names = set(re.findall(r"^(\w+) = ", declared[1], re.MULTILINE))
    table = README.split("## Install it with more")[1].split("##")[0]
    listed = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert listed == names


def test_settings_are_documented():
    """Every environment variable that the code reads stands in the README or the docs, and no other."""
    sources = [
        ROOT / "setup.py",
        ROOT / "build_cuda.py",
        *(ROOT / "fastnn").rglob("*.py"),
        *(ROOT / "csrc").rglob("*.*"),
    ]
    read = {name for path in sources for name in re.findall(r"\bFASTNN_[A-Z_]+", path.read_text())}
    told = {name for text in PAGES.values() for name in re.findall(r"\bFASTNN_[A-Z_]+", text)}
    assert read == told


def test_python_version_matches():
    assert sys.version_info >= (3, 10)
    assert "Python 3.10 or newer" in README
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text()
