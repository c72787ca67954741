"""examples/torch_training.py, PyTorch users' typical script: it learns, it resumes, and what it loads is torch's."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch_runs import assert_equal

PATH = Path(__file__).parent.parent / "examples" / "torch_training.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("torch_training", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # steps as small as these are no faster with more, and much slower on a busy machine
    yield module
    torch.set_num_threads(threads)


def final(training):
    return [*training.model.state_dict().values()]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_that_is_cut_goes_on_to_the_bit(script, precision, tmp_path, capsys):
    options = ["--precision", precision, "--checkpoint"]
    whole = script.main(["--epochs", "3", *options, str(tmp_path / "whole.pt")])
    script.main(["--epochs", "2", *options, str(tmp_path / "cut.pt")])
    resumed = script.main(["--epochs", "3", *options, str(tmp_path / "cut.pt")])
    assert "resumed after epoch 2" in capsys.readouterr().out
    assert whole.epoch == resumed.epoch == 3
    assert whole.accuracy() > 0.95
    assert_equal(final(whole), final(resumed))
    assert whole.scheduler.get_last_lr() == resumed.scheduler.get_last_lr() != [2e-3, 2e-3]


def test_the_optimizer_may_change_hands_in_the_middle(script, tmp_path, capsys):
    """From torch's to ours and back, through checkpoints: the same run as torch's alone, within rounding."""
    path, options = tmp_path / "digits.pt", ["--precision", "float32", "--checkpoint"]
    for epochs, library in ((1, "torch"), (2, "fastnn"), (3, "torch")):
        mixed = script.main(["--epochs", str(epochs), "--library", library, *options, str(path)])
    alone = script.main(["--epochs", "3", "--library", "torch", *options, str(tmp_path / "alone.pt")])
    assert abs(mixed.accuracy() - alone.accuracy()) < 0.01
    # A bias before a normalisation has a gradient of rounding errors, so that parameters needn't agree; the loss does.
    torch.testing.assert_close(mixed.loss(*mixed.test), alone.loss(*alone.test), rtol=0.02, atol=0)
