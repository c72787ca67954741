"""What a model says to input that is wrong: who complains, what was wanted, what was given, what to do."""

import re
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import layers, models, optimizers

X = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
Y = np.arange(20) % 3


def mlp(loss="sparse_categorical_crossentropy", **options):
    fastnn.set_seed(0)
    model = models.Sequential([layers.Input((6,)), layers.Dense(3, "softmax")])
    model.compile("sgd", loss, **options)
    return model


def cnn():
    model = models.Sequential([layers.Conv2D(2, 3, input_shape=(8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    model.compile("sgd", "mse")
    return model


IMAGES = np.zeros((20, 8, 8), np.float32)
FITS = [
    (mlp, (X[0], Y), {}, r"fit: x must be of shape \(n, 6\), got \(6,\). For a single sample pass x\[None\]"),
    (mlp, (X[:, :5], Y), {}, r"fit: x must be of shape \(n, 6\), got \(20, 5\). The model was built for another"),
    (cnn, (IMAGES, Y), {}, r"fit: x must be of shape \(n, 8, 8, 1\), got \(20, 8, 8\). Add .* x\[..., None\]"),
    (cnn, (IMAGES.reshape(20, 64), Y), {}, r"got \(20, 64\). x.reshape\(-1, 8, 8, 1\) has that shape"),
    (mlp, (X[:0], Y[:0]), {}, r"fit: x must be an array with at least one sample, got an empty one of shape \(0, 6\)"),
    (mlp, (X, Y[:19]), {}, "fit: y must be of as many samples as x, 20, got 19"),
    (mlp, (X, None), {}, r"fit: y must be the targets of x, got None. An iterable of batches yields \(x, y\)"),
    (mlp, (X, Y + 1), {}, r"y must be integers in \[0, 3\), got 3 at index 2"),
    (mlp, (X, Y - 1), {}, r"y must be integers in \[0, 3\), got -1 at index 0"),
    (mlp, (X, np.eye(3)[Y]), {}, r"y must be class indices .*One-hot targets go with categorical_cross"),
    (mlp, (X, Y), {"batch_size": 21}, "fit: batch_size must be at most the number of samples, 20, got 21"),
    (mlp, (X, Y), {"batch_size": 0}, "fit: batch_size must be a whole number of at least 1, got 0"),
    (mlp, (X, Y), {"epochs": -1}, "fit: epochs must be a whole number of at least 0, got -1"),
    (mlp, (X, Y), {"validation_split": 1.0}, r"fit: validation_split must be in \[0, 1\), got 1.0"),
    (mlp, (X, Y), {"validation_split": -0.1}, r"fit: validation_split must be in \[0, 1\), got -0.1"),
    (mlp, (X, Y), {"validation_split": 0.99}, "one that leaves both parts of the 20 samples some"),
    (mlp, (X, Y), {"sample_weight": np.ones(19)}, r"sample_weight must be numbers of shape \(20,\), got float64"),
    (mlp, (X, Y), {"class_weight": {3: 1.0}}, r"fit: class_weight must be keyed by class indices in \[0, 3\), got 3"),
    (mlp, (X, Y), {"class_weight": {0: 2.0}, "sample_weight": np.ones(20)}, "must be None where sample_weight is"),
    (mlp, (X, Y), {"verbose": 3}, "fit: verbose must be 0, 1, 2 or 'auto', got 3"),
    (mlp, (X, Y), {"steps_per_epoch": 0}, "fit: the number of steps must be a whole number of at least 1, got 0"),
    (mlp, ([(X, Y)],), {"batch_size": 4}, "fit: batch_size must be None where x is an iterable of batches, got 4"),
    (mlp, ([(X, Y)],), {"validation_split": 0.1}, "validation_split must be 0 with an iterable of b"),
    (mlp, (iter([]),), {"steps_per_epoch": 2}, "fit: x must be an iterable with at least one batch left"),
    (mlp, (iter([]),), {}, "fit: x must be an iterable with at least one batch left, got an exhausted one"),
    (mlp, ([(X, Y, None, None)],), {}, r"fit: each batch must be \(x, y\) or \(x, y, sample_weight\), got 4 entries"),
    (mlp, ([[1, 2], [3]], Y), {}, "fit: x must be an array of numbers, got what NumPy can't make one of"),
    (models.Sequential, (X, Y), {}, "fit: the model must be compiled, got one that isn't. Call model.compile"),
]  # fmt: skip


@pytest.mark.parametrize("make, arguments, options, message", FITS)
def test_fit(make, arguments, options, message):
    model = make()
    with pytest.raises(ValueError, match=message):
        model.fit(*arguments, **options)


TYPES = [
    ((np.full((20, 6), "a"), Y), {}, "fit: x must be an array of numbers, got dtype <U1"),
    ((X + 1j, Y), {}, "fit: x must be an array of numbers, got dtype complex64"),
    ((7, Y), {}, "fit: x must be an array or an iterable of batches, got 7"),
    ((X, Y), {"class_weight": [1, 2, 3]}, r"fit: class_weight must be a dict \{class index: weight\}"),
    ((X, Y), {"callbacks": [fastnn.callbacks.EarlyStopping]}, r"callbacks must be a list.*Write EarlyStopping\(\)"),
    ((X, Y), {"shuffle": "batch"}, "fit: shuffle must be True or False, got 'batch'"),
]


@pytest.mark.parametrize("arguments, options, message", TYPES)
def test_fit_types(arguments, options, message):
    with pytest.raises(TypeError, match=message):
        mlp().fit(*arguments, verbose=0, **options)


OTHERS = [
    (lambda: models.Sequential().compile("adam"), "compile: loss must be given, got None. Known: categorical_cross"),
    (lambda: mlp("crossentropy"), "losses.get: loss must be one of .*got 'crossentropy'"),
    (lambda: mlp(metrics=["acurracy"]), "metrics.get: metric must be one of .*got 'acurracy'"),
    (lambda: mlp(metrics=["accuracy", "accuracy"]), "compile: metrics must be of different names, got 'accuracy'"),
    (lambda: mlp(accumulate_steps=0), "compile: accumulate_steps must be a whole number of at least 1, got 0"),
    (lambda: mlp(device="gpu"), "compile: device must be one of 'auto', 'cpu', 'cuda', got 'gpu'"),
    (lambda: models.Sequential().compile("adamm", "mse"), "optimizer must be one of .*'adam'.*got 'adamm'"),
    (lambda: models.Sequential([layers.Dense(2)]).summary(), "Sequential.summary: the model must be built"),
    (lambda: models.Sequential([layers.Dense(2)]).get_weights(), "Sequential.get_weights: the model must be built"),
    (lambda: models.Sequential([layers.Dense(2)]).build(), "Sequential.build: input_shape must be given or known"),
    (lambda: models.Sequential([layers.Dense(2)]).build((5,)), r"build: input_shape must be \(None, ...\), got \(5,\)"),
    (lambda: models.Sequential([layers.Input((3,))]).build(), "Sequential.build: the model must be one with layers"),
    (lambda: mlp().build((None, 7)), r"Sequential.build: input_shape must be \(None, 6\), got \(None, 7\)"),
    (lambda: mlp().add(layers.Input((3,))), "Sequential.add: Input must be the first entry and the only one"),
    (lambda: mlp().add(layers.Dense(2, name="dense")), "Sequential.add: name must be unique in the model, got 'dense'"),
    (lambda: mlp().add(mlp().layers[0].__class__(2, input_shape=(5,))), "input_shape must be the shape of what comes"),
    (lambda: mlp().get_layer("x"), "Sequential.get_layer: name must be one of dense, got 'x'"),
    (lambda: mlp().get_layer(index=1), "Sequential.get_layer: index must be a place among 1 layers, got 1"),
    (lambda: mlp().set_weights([]), "Sequential.set_weights: weights must be a list of 2 arrays, got 0"),
    (lambda: mlp().predict(X[:, :4]), r"predict: x must be of shape \(n, 6\), got \(20, 4\)"),
    (lambda: mlp().evaluate(X, Y[:3]), "evaluate: y must be of as many samples as x, 20, got 3"),
    (lambda: mlp().train_on_batch(X, Y[:3]), "train_on_batch: y must be of as many samples as x, 20, got 3"),
    (lambda: models.Sequential([layers.Dense(1)]).predict(X[:, 0]), r"x must be samples along .*Try x\[:, None\]"),
]  # fmt: skip


@pytest.mark.parametrize("make, message", OTHERS)
def test_others(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_add_takes_layers_only():
    with pytest.raises(TypeError, match="Sequential.add: layer must be a layer, got <class.*Write Dense"):
        models.Sequential([layers.Dense])
    with pytest.raises(ValueError, match="Sequential.add: layer must be one that isn't part of the model yet"):
        model = mlp()
        model.add(model.layers[0])
    with pytest.raises(TypeError, match="compile: metrics must be a list, got 'accuracy'. Write"):
        mlp(metrics="accuracy")


def test_nan_in_the_data_is_warned_of_and_stops_training():
    x = X.copy()
    x[13, 4] = np.nan
    model = mlp()
    before = model.get_weights()
    with (
        pytest.warns(UserWarning, match=r"fit: x should be finite, got nan at index \(13, 4\). Replace such values"),
        pytest.raises(
            FloatingPointError, match=r"fit: loss must be finite, got nan at epoch 1, batch 1 \(x\[3, 4\] of"
        ),
    ):
        model.fit(x, Y, batch_size=10, shuffle=False, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert any((a != b).any() for a, b in zip(before, model.get_weights()))  # the first batch was fine


def test_a_diverging_run_stops_with_the_batch_named():
    model = models.Sequential([layers.Dense(4, input_shape=(6,)), layers.Dense(1)])
    model.compile(optimizers.SGD(1e6), "mse")
    with pytest.raises(
        FloatingPointError,
        match=r"fit: loss must be finite, got (inf|nan) at epoch \d+, batch \d \(x of the.*global_clip",
    ):
        model.fit(X, X[:, :1], batch_size=5, epochs=50, verbose=0)


def test_train_on_batch_stops_too():
    with pytest.raises(FloatingPointError, match="train_on_batch: loss must be finite, got nan at this batch"):
        mlp().train_on_batch(np.full((4, 6), np.nan), Y[:4])


def test_good_data_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mlp().fit(X, Y, verbose=0)


def test_trainable_after_compile_is_warned_of():
    model = mlp()
    model.layers[0].trainable = False
    with pytest.warns(UserWarning, match="fit: trainable was changed after compile, which has no effect until compile"):
        model.fit(X, Y, verbose=0)


def test_a_layer_of_softmax_with_logits_expected_is_warned_of():
    model = models.Sequential([layers.Dense(3, "softmax", input_shape=(6,))])
    with pytest.warns(
        UserWarning, match=re.escape("loss has from_logits=True, but the last layer (dense) ends in softmax")
    ):
        model.compile("sgd", fastnn.losses.SparseCategoricalCrossentropy(from_logits=True))
