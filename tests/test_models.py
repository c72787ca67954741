"""Sequential: putting layers together, what goes in and what comes out."""

import numpy as np
import pytest
from toy_models import GENERATOR, X, Y, mlp, softmax_loss

import fastnn
from fastnn import layers, metrics, models, optimizers


def test_input_shape_comes_from_either_place():
    by_input = models.Sequential([layers.Input((6,)), layers.Dense(3)])
    by_layer = models.Sequential([layers.Dense(3, input_shape=(6,))])
    by_build = models.Sequential([layers.Dense(3)])
    by_build.build((None, 6))
    by_data = models.Sequential([layers.Dense(3)])
    by_data.predict(X)
    for model in (by_input, by_layer, by_build, by_data):
        assert model.built and model.input_shape == (None, 6) and model.output_shape == (None, 3)


def test_names_are_unique():
    model = models.Sequential([layers.Dense(3), layers.Dense(3), layers.Dense(3, name="head"), layers.Dense(3)])
    assert [layer.name for layer in model.layers] == ["dense", "dense_1", "head", "dense_2"]
    model.build((None, 6))
    assert [p.name for p in model.parameters][2:4] == ["dense_1/kernel", "dense_1/bias"]
    assert model.get_layer("head") is model.get_layer(index=2)


def test_parameters_are_views_of_one_aligned_buffer():
    model = mlp()
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    flat = model._flat
    for parameter in model.parameters:
        assert np.shares_memory(parameter.value, flat.values)
        assert parameter.value.__array_interface__["data"][0] % 64 == 0
    assert [p.grad is None for p in model.parameters] == [True, True, False, False]
    assert flat.value.size == 32 + 16 and np.shares_memory(model.parameters[2].value, flat.value)


def test_summary_adds_up(capsys):
    mlp().summary()
    text = capsys.readouterr().out
    assert "dense_1 (Dense)" in text and "(None, 3)" in text
    assert "Total params: 83 (332.00 B)" in text and "Non-trainable params: 0" in text
    lines = []
    mlp().summary(line_length=90, print_fn=lines.append)
    assert max(len(line) for line in lines[0].splitlines()) == 90


def test_reported_loss_and_accuracy_are_the_data_sets():
    model = mlp()
    loss, accuracy = model.evaluate(X, Y, batch_size=7, verbose=0)
    assert loss == pytest.approx(softmax_loss(model, X, Y), rel=1e-5)
    assert accuracy == pytest.approx((model.predict(X).argmax(axis=1) == Y).mean())
    assert model.evaluate(X, Y, return_dict=True, verbose=0) == {"loss": pytest.approx(loss), "accuracy": accuracy}
    assert model.metrics_names == ["loss", "accuracy"]


def test_sample_weights_multiply_the_loss():
    model = mlp(weighted_metrics=[metrics.SparseCategoricalAccuracy(name="weighted")])
    weights = GENERATOR.uniform(0, 2, len(X))
    loss, accuracy, weighted = model.evaluate(X, Y, sample_weight=weights, batch_size=13, verbose=0)
    assert loss == pytest.approx(softmax_loss(model, X, Y, weights), rel=1e-5)
    right = model.predict(X).argmax(axis=1) == Y
    assert accuracy == pytest.approx(right.mean())
    assert weighted == pytest.approx((weights * right).sum() / weights.sum(), rel=1e-6)


def test_frozen_layers_stay():
    model = mlp()
    model.layers[0].trainable = False
    model.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(X, Y, epochs=2, verbose=0)
    after = model.get_weights()
    assert all((a == b).all() for a, b in zip(before[:2], after[:2]))
    assert all((a != b).any() for a, b in zip(before[2:], after[2:]))


def test_a_frozen_model_freezes_what_is_added():
    model = models.Sequential([layers.Dense(3, input_shape=(6,))], trainable=False)
    assert not model.trainable and not model.trainable_parameters and len(model.parameters) == 2
    model.trainable = True
    model.add(layers.Dense(2))
    assert len(model.trainable_parameters) == 4


def test_probabilities_for_metrics_under_a_fused_loss():
    def model_with(**options):
        fastnn.set_seed(4)
        model = models.Sequential([layers.Input((6,)), layers.Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy", **options)
        return model

    model, target = model_with(metrics=["accuracy", metrics.AUC(), "precision"]), (Y == 1).astype(int)
    _, accuracy, auc, precision = model.evaluate(X, target, verbose=0)
    p = model.predict(X)
    assert accuracy == pytest.approx(((p[:, 0] > 0.5) == target).mean())
    for metric, found in ((metrics.AUC(), auc), (metrics.Precision(), precision)):
        assert found == pytest.approx(metric(target[:, None], p))


def test_predict_and_call_give_new_arrays():
    model = mlp()
    y = model.predict(X, batch_size=16)
    assert y.shape == (50, 3) and y.dtype == np.float32
    np.testing.assert_allclose(model(X), y, rtol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(X), y, rtol=1e-6)
    assert model.predict(X, batch_size=16, steps=2).shape == (32, 3)
    model.train_on_batch(X, Y)
    np.testing.assert_allclose(model.predict(X[:5]).sum(axis=1), 1, rtol=1e-6)  # not the logits of training


def test_test_on_batch_changes_nothing():
    model = mlp()
    before = model.get_weights()
    assert model.test_on_batch(X, Y) == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-5)
    assert model.test_on_batch(X, Y, return_dict=True).keys() == {"loss", "accuracy"}
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool", "list", "strided"])
def test_arrays_are_converted(dtype):
    whole = np.abs(np.round(X))
    x = {"list": whole.tolist(), "strided": np.repeat(whole, 2, axis=1)[:, ::2]}.get(dtype)
    x = whole.astype(dtype) if x is None else x
    expected = np.asarray(x, np.float32)
    model = mlp()
    np.testing.assert_allclose(model.predict(x), model.predict(expected), rtol=1e-6)
    model.fit(x, Y.tolist(), verbose=0)


def test_a_sequence_of_outputs():
    x = GENERATOR.standard_normal((12, 5, 6)).astype(np.float32)
    y = GENERATOR.integers(0, 3, (12, 5))
    fastnn.set_seed(0)
    model = models.Sequential([layers.Dense(3, "softmax", input_shape=(5, 6))])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(x, y, verbose=0)
    p = model.predict(x)
    assert loss == pytest.approx(-np.log(np.take_along_axis(p, y[..., None], -1)).mean(), rel=1e-5)
    assert accuracy == pytest.approx((p.argmax(axis=-1) == y).mean())
    model.fit(x, y, batch_size=5, verbose=0)


def test_bfloat16_arrays_are_converted():
    import ml_dtypes

    model = mlp()
    x = X.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(model.predict(x), model.predict(x.astype(np.float32)))
