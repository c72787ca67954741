"""examples/torch_training.py, PyTorch users' typical script: it learns, it resumes, and what it loads is torch's."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch_runs import assert_equal

import fastnn.torch as ft

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


def test_states_of_8_bits_learn_as_much(script, capsys):
    """Of every parameter, the smallest included."""
    usual = script.main(["--epochs", "4", "--precision", "float32"])
    training = script.Training(script.parse(["--epochs", "4", "--precision", "float32", "--optimizer", "AdamW8bit"]))
    for group in training.optimizer.param_groups:
        group["min_8bit_size"] = 1
    for _ in range(4):
        training.run_epoch()
    assert all(s["exp_avg"].dtype == s["exp_avg_sq"].dtype == torch.uint8 for s in training.optimizer.state.values())
    assert usual.accuracy() > 0.97 and abs(training.accuracy() - usual.accuracy()) < 0.01
    torch.testing.assert_close(training.loss(*training.test), usual.loss(*usual.test), rtol=0.15, atol=0.005)


class Transformer(torch.nn.Module):
    """Of one layer, over 16 symbols of 8."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(8, 32)
        self.places = torch.nn.Parameter(0.1 * torch.randn(16, 32))
        self.layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.head = torch.nn.Linear(32, 8)

    def forward(self, symbols):
        return self.head(self.layer(self.embedding(symbols) + self.places))


def test_a_transformer_learns_as_much_with_states_of_8_bits(script):
    """To turn a sequence round."""
    accuracies, losses = [], []
    for options in ({}, {"state_dtype": torch.uint8, "min_8bit_size": 1}):
        torch.manual_seed(4)
        model, generator = Transformer(), torch.Generator().manual_seed(5)
        optimizer = ft.AdamW(model.parameters(), lr=5e-3, **options)
        for _ in range(300):
            symbols = torch.randint(8, (64, 16), generator=generator)
            optimizer.zero_grad()
            output = model(symbols)
            torch.nn.functional.cross_entropy(output.flatten(0, 1), symbols.flip(1).flatten()).backward()
            optimizer.step()
        with torch.no_grad():
            symbols = torch.randint(8, (256, 16), generator=generator)
            output = model(symbols)
            accuracies.append((output.argmax(2) == symbols.flip(1)).float().mean().item())
            losses.append(torch.nn.functional.cross_entropy(output.flatten(0, 1), symbols.flip(1).flatten()).item())
    assert accuracies[0] > 0.95 and abs(accuracies[1] - accuracies[0]) < 0.02
    assert losses[1] < 2 * losses[0] + 0.02
