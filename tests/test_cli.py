"""The command line: what it prints, what it leaves behind, and its one-line complaints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import _devices, cli, models
from fastnn.cli import train
from fastnn.data import datasets

FAST = ["train", "--model", "mlp", "--epochs", "2", "--batch-size", "128"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(threads)


def complaint(capsys, *arguments):
    """The one line that a wrong command prints, after checking that it is one and the exit code is 2."""
    assert cli.main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    return captured.err


def test_train_says_what_it_does(capsys, tmp_path):
    assert cli.main([*FAST, "--threads", "1"]) == 0
    captured = capsys.readouterr()
    out, bar = captured.out, captured.err
    assert re.search(r"^fastnn [\d.]+\S* on cpu: \S+ kernels, threads: 1 \(--threads\)$", out, re.M)
    assert "digits: 1,442 images for training, 355 for testing, (8, 8, 1)" in out
    assert 'Model: "mlp"' in out and "Total params: 17,226" in out
    assert "adam, 2 epochs, batches of 128, learning rate 0.003" in out
    assert re.search(r"test accuracy \d\d\.\d\d%, test loss 0\.\d+", out)
    assert "saved to digits-mlp.safetensors" in out and (tmp_path / "digits-mlp.safetensors").is_file()
    for epoch in ("Epoch 1/2", "Epoch 2/2"):
        assert re.search(rf"{epoch}: 100%.*1442/1442 .*samples/s, loss=[\d.]+, accuracy=[\d.]+", bar)


def test_a_saved_model_predicts_what_was_tested(capsys):
    assert cli.main([*FAST, "--save", "net.safetensors"]) == 0
    printed = float(re.search(r"test accuracy ([\d.]+)%", capsys.readouterr().out)[1])
    _, (x, y) = datasets.load_digits()
    model = models.load_model("net.safetensors")
    predicted = model.predict((x / 16 - 0.305) / 0.376, verbose=0).argmax(1)
    assert np.mean(predicted == y) == pytest.approx(printed / 100, abs=1e-4)


@pytest.mark.parametrize("augment", [[], ["--augment"]])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_resume_is_the_same_as_not_stopping(model, augment, monkeypatch):
    """Two of three epochs, Ctrl-C, then the third: the same bits as three at once, dropout and order included."""
    options = ["--batch-size", "128", "--epochs", "3", *augment]
    assert cli.main(["train", "--model", model, *options, "--save", "whole.safetensors"]) == 0
    fit, calls = models.Sequential.fit, []

    def interrupted(self, source, **arguments):
        calls.append(arguments["initial_epoch"])
        fit(self, source, **{**arguments, "epochs": 2})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models.Sequential, "fit", interrupted)
        assert cli.main(["train", "--model", model, *options, "--save", "half.safetensors"]) == 130
    assert cli.main(["train", "--resume", "half.safetensors", *options]) == 0
    whole, resumed = models.load_model("whole.safetensors"), models.load_model("half.safetensors")
    assert calls == [0] and resumed.optimizer.iterations == whole.optimizer.iterations == 36
    for one, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_training_on_a_gpu_and_going_on_there(stand_in_gpu, capsys):
    """The bits of the CPU, with a stand-in for the GPU."""
    for device in ("cpu", "cuda"):
        where = ["--device", device, "--save", f"{device}.safetensors"]
        assert cli.main([*FAST, "--model", "cnn", "--augment", *where]) == 0
        assert f" on {device}: " in capsys.readouterr().out
        more = ["--epochs", "3", "--batch-size", "128", "--augment", "--device", device]
        assert cli.main(["train", "--resume", f"{device}.safetensors", *more]) == 0
    one, other = (models.load_model(f"{device}.safetensors") for device in ("cpu", "cuda"))
    assert one.optimizer.iterations == other.optimizer.iterations == 36
    for a, b in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_without_a_gpu_it_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(_devices, "missing", lambda: "There is no NVIDIA driver: install one.")
    said = complaint(capsys, *FAST, "--device", "cuda")
    assert said == "fastnn train: device must be 'auto' or 'cpu', got 'cuda'. There is no NVIDIA driver: install one.\n"


def test_seed_and_options_change_the_result():
    runs = {}
    for name, options in {
        "same": [],
        "again": [],
        "seed": ["--seed", "1"],
        "lr": ["--lr", "0.01"],
        "sgd": ["--optimizer", "sgd"],
        "augment": ["--augment"],
        "batch": ["--batch-size", "64"],
    }.items():
        assert cli.main([*FAST, *options, "--save", f"{name}.safetensors"]) == 0
        runs[name] = models.load_model(f"{name}.safetensors").get_weights()
    np.testing.assert_array_equal(runs["same"][0], runs["again"][0])
    for name in ("seed", "lr", "sgd", "augment", "batch"):
        assert (runs["same"][0] != runs[name][0]).any(), name


def test_interrupting_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(self, source, **arguments):
        arguments["callbacks"][0].on_epoch_end(0, {})
        self.optimizer._step[0] = len(source)
        raise KeyboardInterrupt

    monkeypatch.setattr(models.Sequential, "fit", interrupted)
    assert cli.main([*FAST, "--save", "net.safetensors"]) == 130
    assert "1 epochs are saved to net.safetensors: go on with --resume net.safetensors" in capsys.readouterr().out


def test_fashion_mnist_from_a_folder(capsys, tmp_path):
    import test_datasets

    test_datasets.write_fashion(tmp_path, ".gz")
    arguments = ["train", "--data", "fashion-mnist", "--data-dir", str(tmp_path), "--batch-size", "10", "--epochs", "1"]
    assert cli.main([*arguments, "--augment"]) == 0
    out = capsys.readouterr().out
    assert "fashion-mnist: 20 images for training, 7 for testing, (28, 28, 1), augmented by Augment(" in out
    assert "Total params: 421,642" in out and "saved to fashion-mnist-cnn.safetensors" in out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--optimizer", "adamax"], "optimizer must be one of 'sgd', 'adam', .*, got 'adamax'"),
        (["--epochs", "0"], "fastnn train: --epochs must be a whole number of at least 1, got 0"),
        (["--batch-size", "0"], "fastnn train: --batch-size must be a whole number of at least 1, got 0"),
        (["--batch-size", "5000"], "batch_size must be at most the 1442 samples of x, got 5000"),
        (["--lr", "-1"], "fastnn train: --lr must be a finite number above 0, got -1"),
        (["--lr", "nan"], "fastnn train: --lr must be a finite number above 0, got nan"),
        (["--lr", "fast"], "argument --lr: invalid float value: 'fast'"),
        (["--seed", "-1"], "fastnn train: --seed must be a whole number from 0 to"),
        (["--threads", "0"], "fastnn train: --threads must be a whole number of at least 1, got 0"),
        (["--data", "mnist"], "argument --data: invalid choice: 'mnist'"),
        (["--model", "rnn"], "argument --model: invalid choice: 'rnn'"),
        (
            ["--data-dir", "x"],
            "fastnn train: --data-dir must be left out for the digits, which come with fastnn, got 'x'",
        ),
        (
            ["--data", "fashion-mnist", "--data-dir", "nowhere"],
            "data_dir must be a folder that holds .*, got 'nowhere'",
        ),
        (["--save", "nowhere/net"], "fastnn train: --save must be in a folder that exists, got 'nowhere/net'"),
        (["--save", "."], "fastnn train: --save must be a file's name, got the folder"),
        (["--resume", "nothing"], "load_model: filepath must be an existing file, got 'nothing'"),
        (["--resume", "text"], "load_model: filepath must be a file written by model.save, got 'text'"),
        (
            ["--resume", "text", "--model", "cnn"],
            "--model must be left out with --resume, whose file says it, got 'cnn'",
        ),
        (["--resume", "text", "--optimizer", "sgd"], "--optimizer must be left out with --resume"),
        (["--momentum", "1"], "unrecognized arguments: --momentum 1"),
    ],
)
def test_complaints_are_one_line(capsys, tmp_path, arguments, message):
    (tmp_path / "text").write_text("not a model\n")
    assert re.search(message, complaint(capsys, "train", *arguments))


def test_complaints_about_a_resumed_model(capsys):
    assert cli.main([*FAST, "--save", "net.safetensors"]) == 0
    capsys.readouterr()
    resume = ["train", "--resume", "net.safetensors", "--batch-size", "128"]
    message = "--epochs must be more than the 2 that net.safetensors has had, got 2"
    assert message in complaint(capsys, *resume, "--epochs", "2")
    message = "--batch-size must be the one that net.safetensors was trained with, got 100"
    assert message in complaint(capsys, *resume[:3], "--batch-size", "100")
    other = models.Sequential([fastnn.layers.Dense(10, input_shape=(5,))])
    other.compile("adam", "mse")
    other.save("other.safetensors")
    message = r"--resume must be a model of images (None, 8, 8, 1) and 10 classes for digits, got one of (None, 5)"
    assert message in complaint(capsys, "train", "--resume", "other.safetensors")


def test_a_loss_that_is_nan_ends_with_1(capsys):
    assert cli.main([*FAST, "--optimizer", "sgd", "--lr", "1e30"]) == 1
    assert re.search("fastnn: fit: loss must be finite, got (nan|inf) at epoch 1, batch", capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments, code", [(["--help"], 0), (["train", "--help"], 0), (["--version"], 0), ([], 2), (["x"], 2)]
)
def test_help_and_version(capsys, arguments, code):
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert bool(captured.out) == (code == 0) and bool(captured.err) == (code != 0)


def test_info(capsys):
    assert cli.main(["info"]) == 0
    assert "ISA level chosen" in capsys.readouterr().out


def test_as_a_module():
    environment = {**os.environ, "PYTHONPATH": str(Path(fastnn.__file__).parents[1])}
    command = [sys.executable, "-m", "fastnn", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"fastnn {fastnn.__version__}\n"


def test_the_schedule_warms_up_and_ends_at_zero():
    rate = train.schedule(0.1, 100)
    values = [rate(step) for step in range(101)]
    assert values[0] == 0 and max(values) == values[5] == 0.1 and values[100] == pytest.approx(0, abs=1e-12)
    assert train.peak(rate) == 0.1 and train.peak(0.2) == 0.2 and train.schedule(0.1, 1)(0) == 0.1


def test_a_complaint_names_the_program_once(capsys):
    assert cli.main(["train", "--lr", "-1"]) == 2
    assert capsys.readouterr().err == "fastnn train: --lr must be a finite number above 0, got -1.0\n"
    assert cli.main(["train", "--optimizer", "adamx"]) == 2
    assert capsys.readouterr().err.startswith("fastnn: optimizers.get: optimizer must be one of")
