"""examples/jax_training.py learns the digits, and an interrupted training ends exactly like one that wasn't."""

import re
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")
pytest.importorskip("optax")

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "jax_training.py"


def test_the_example_trains_stops_and_resumes(monkeypatch, capsys, tmp_path):
    def epochs(*arguments):
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--epochs", "4", *arguments])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        output = capsys.readouterr().out
        return [line for line in output.splitlines() if line.startswith("epoch")], output

    whole, _ = epochs()
    assert len(whole) == 4 and float(re.search(r"accuracy ([\d.]+)%", whole[-1])[1]) >= 95
    checkpoint = ("--checkpoint", str(tmp_path / "digits.npz"))
    first, _ = epochs(*checkpoint, "--stop-after", "2")
    second, output = epochs(*checkpoint)
    assert "resumed after epoch 2" in output
    assert first + second == whole
