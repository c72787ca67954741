"""End to end: ``fastnn train`` as it comes learns the digits, on whatever level and with however many threads."""

import re

import pytest

from fastnn import cli


@pytest.mark.parametrize("seed", [0, 1])
def test_train_reaches_97_percent_on_unseen_digits(seed, capsys, tmp_path):
    assert cli.main(["train", "--seed", str(seed), "--save", str(tmp_path / "digits.safetensors")]) == 0
    out = capsys.readouterr().out
    assert float(re.search(r"test accuracy ([\d.]+)%", out)[1]) >= 97.0
