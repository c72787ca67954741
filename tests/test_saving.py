"""Saving and loading: all that a model is comes back, training goes on, other files are refused."""

import json
import os
import pickle

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastnn
from fastnn import layers, losses, metrics, models, optimizers, schedules

X = np.random.default_rng(0).standard_normal((40, 8, 8, 1)).astype(np.float32)
Y = np.arange(40) % 3


def cnn(optimizer="adam"):
    fastnn.set_seed(2)
    model = models.Sequential(name="net")
    model.add(layers.Conv2D(4, 3, padding="same", activation=layers.LeakyReLU(0.1), input_shape=(8, 8, 1)))
    model.add(layers.DepthwiseConv2D(3, depth_multiplier=2, trainable=False))
    model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.25, seed=3))
    model.add(layers.Dense(3, activation="softmax", kernel_regularizer="l2", bias_initializer="ones", name="head"))
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy", metrics.SparseTopKCategoricalAccuracy(2)])
    return model


OPTIMIZERS = [
    lambda: optimizers.Adam(1e-2, amsgrad=True),
    lambda: optimizers.AdamW(schedules.warmup(3) >> schedules.cosine(1e-2, steps=30), weight_decay=0.1),
    lambda: optimizers.RMSprop(1e-2, momentum=0.5, centered=True, global_clipnorm=1.0),
    lambda: optimizers.SGD(1e-2, momentum=0.9, nesterov=True),
    lambda: optimizers.Muon(1e-2, exclude_layers=["dense"], skip_nonfinite=True),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_training_goes_on_to_the_bit(make, tmp_path):
    path = tmp_path / "net.safetensors"
    model = cnn(make())
    for _ in range(3):
        model.train_on_batch(X, Y)
    model.save(path)
    copy = models.load_model(path)
    assert copy.optimizer.iterations == 3 and copy.name == "net"
    assert copy.get_config() == model.get_config()
    for m in (model, copy):
        m.layers[4].random_state[...] = (3, 100)
    assert copy.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    for _ in range(3):
        assert copy.train_on_batch(X, Y) == model.train_on_batch(X, Y)
    for a, b in zip(model.get_weights(), copy.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_compile_arguments_come_back(tmp_path):
    model = models.Sequential([layers.Dense(1, input_shape=(4,))])
    model.compile(
        optimizers.SGD(0.3), losses.Huber(0.5), metrics=["mae"], weighted_metrics=[metrics.MeanSquaredError(name="w")],
        accumulate_steps=3,
    )  # fmt: skip
    model.save(tmp_path / "a")
    copy = models.load_model(tmp_path / "a")
    assert copy.optimizer.learning_rate == 0.3 and copy.loss.delta == 0.5 and copy.accumulate_steps == 3
    assert copy.metrics_names == ["loss", "mae", "w"]
    assert models.load_model(tmp_path / "a", compile=False).optimizer is None


def test_an_uncompiled_model_is_saved_too(tmp_path):
    model = models.Sequential([layers.Input((4,)), layers.Dense(3)])
    model.save(tmp_path / "a")
    copy = models.load_model(str(tmp_path / "a"))
    np.testing.assert_array_equal(copy.get_weights()[0], model.get_weights()[0])


def test_the_file_is_plain_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    model = cnn()
    model.save(path)
    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["head/kernel"], model.layers[-1].parameters[0].value)
    assert "optimizer/iterations" in tensors
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["fastnn"])
    assert header["version"] == fastnn.__version__ and header["config"]["layers"][0]["class_name"] == "Conv2D"
    assert os.listdir(tmp_path) == ["net.safetensors"]


def test_weights_alone(tmp_path):
    path = tmp_path / "w"
    model = cnn()
    model.save_weights(path)
    other = cnn()
    other.set_weights([w + 1 for w in other.get_weights()])
    other.load_weights(path)
    for a, b in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(a, b)
    model.save(path)
    other.load_weights(path)
    with pytest.raises(
        ValueError, match="load_weights: filepath must be a file with the weights of this model.*missing"
    ):
        models.Sequential([layers.Dense(2, input_shape=(4,))]).load_weights(path)
    with pytest.raises(
        ValueError, match=r"load_model: filepath must be a file written by model.save, got weights alone"
    ):
        model.save_weights(path)
        models.load_model(path)


def test_custom_layers(tmp_path):
    class Twice(layers.Layer):
        def forward(self, x, training):
            y = self.buffer("y", x.shape)
            return np.multiply(x, 2, out=y)

        def backward(self, dy, need_dx, accumulate):
            return np.multiply(dy, 2, out=dy)

    model = models.Sequential([layers.Input((4,)), Twice(), layers.Dense(3)])
    model.save(tmp_path / "a")
    x = np.ones((2, 4), np.float32)
    copy = models.load_model(tmp_path / "a", custom_objects={"Twice": Twice})
    np.testing.assert_array_equal(copy(x), model(x))
    with pytest.raises(
        ValueError, match="layers.deserialize: class_name must be one of .*got 'Twice'. Pass custom_objects"
    ):
        models.load_model(tmp_path / "a")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net"
    model = cnn()
    model.save(path)
    before = path.read_bytes()

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net"]


def not_models(folder):
    model = cnn()
    model.save(folder / "good")
    good = (folder / "good").read_bytes()
    files = {"empty": b"", "text": b"hello", "pickle": pickle.dumps({"a": 1}), "cut": good[: len(good) // 2]}
    files |= {"header_cut": good[:100], "longer": good + b"x"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    save_file({"a": np.ones(3, np.float32)}, folder / "foreign")
    save_file({"a": np.ones(3, np.float32)}, folder / "foreign_json", {"fastnn": "{not json"})
    return [*files, "foreign", "foreign_json"]


def test_files_that_are_not_models(tmp_path):
    for name in not_models(tmp_path):
        with pytest.raises(
            ValueError, match=f"load_model: filepath must be a file written by model.save, got '.*{name}'"
        ):
            models.load_model(tmp_path / name)


def test_other_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match="load_model: filepath must be an existing file, got '.*nothing'"):
        models.load_model(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="save: filepath must be in a folder that exists, got"):
        cnn().save(tmp_path / "no" / "net")
    with pytest.raises(IsADirectoryError, match="save: filepath must be a file's name, got the folder"):
        cnn().save(tmp_path)
    save_file({"a": np.ones(3, np.float32)}, tmp_path / "new", {"fastnn": '{"format": 99, "version": "9.0"}'})
    with pytest.raises(
        ValueError, match="filepath must be of format 1 or older, got format 99. It was written by fastnn 9.0"
    ):
        models.load_model(tmp_path / "new")
    with pytest.raises(ValueError, match="Sequential.save: the model must be built"):
        models.Sequential([layers.Dense(3)]).save(tmp_path / "a")


def test_layers_that_cannot_be_made(tmp_path):
    config = '{"format": 1, "config": {"name": "a", "layers": [{"class_name": "Dense", "config": {"unit": 3}}]}}'
    save_file({"a": np.ones(3, np.float32)}, tmp_path / "odd", {"fastnn": config})
    with pytest.raises(
        ValueError, match="load_model: filepath must be a file written by model.save, got one whose lay"
    ):
        models.load_model(tmp_path / "odd")


def test_file_mode_is_that_of_other_new_files(tmp_path):
    (tmp_path / "other").touch()
    path = tmp_path / "model.safetensors"
    model = cnn()
    model.save(path)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    path.chmod(0o640)
    model.save(path)
    assert path.stat().st_mode & 0o777 == 0o640
