"""Training: what a step, an epoch and a run compute, from arrays, iterables and loaders."""

import numpy as np
import pytest
from toy_models import X, Y, mlp, same_weights, softmax_loss

import fastnn
from fastnn import data, layers, losses, models, optimizers


def test_training_learns_and_history_has_an_entry_an_epoch():
    model = mlp()
    history = model.fit(X, Y, epochs=30, batch_size=10, verbose=0)
    assert history is model.history and history.epoch == list(range(30))
    assert len(history.history["loss"]) == 30 and history.history["accuracy"][-1] > 0.95
    assert model.optimizer.iterations == 150


def test_a_step_is_the_one_computed_by_hand():
    model = mlp()
    w1, b1, w2, b2 = (w.astype(np.float64) for w in model.get_weights())
    h = np.tanh(X @ w1 + b1)
    p = np.exp(h @ w2 + b2)
    p /= p.sum(axis=1, keepdims=True)
    dz = (p - np.eye(3)[Y]) / len(X)
    dh = (dz @ w2.T) * (1 - h * h)
    expected = [w1 - 0.5 * X.T @ dh, b1 - 0.5 * dh.sum(0), w2 - 0.5 * h.T @ dz, b2 - 0.5 * dz.sum(0)]
    loss, _ = model.train_on_batch(X, Y)
    assert loss == pytest.approx(-np.log(p[np.arange(len(Y)), Y]).mean(), rel=1e-5)
    for found, wanted in zip(model.get_weights(), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "head, loss, target",
    [
        ([layers.Dense(3, "softmax")], "sparse_categorical_crossentropy", Y),
        ([layers.Dense(3), layers.Softmax()], "sparse_categorical_crossentropy", Y),
        ([layers.Dense(3)], losses.SparseCategoricalCrossentropy(from_logits=True), Y),
        ([layers.Dense(3, "softmax"), layers.Flatten()], "sparse_categorical_crossentropy", Y),
        ([layers.Dense(3), layers.Activation("softmax")], "categorical_crossentropy", np.eye(3)[Y]),
    ],
)
def test_a_fused_loss_trains_like_the_others(head, loss, target):
    fastnn.set_seed(4)
    for layer in head:
        layer.__init__(**{k: v for k, v in layer.get_config().items() if k != "name"})  # a fresh layer in each run
    model = models.Sequential([layers.Input((6,)), layers.Dense(8, "tanh"), *head])
    model.compile(optimizers.SGD(0.5), loss)
    for _ in range(3):
        model.train_on_batch(X, target)
    reference = mlp(metrics=None)
    for _ in range(3):
        reference.train_on_batch(X, Y)
    same_weights(model, reference, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_seed_repeats_a_run_to_the_bit(shuffle):
    def run():
        fastnn.set_seed(11)
        model = models.Sequential([layers.Dense(16, "relu"), layers.Dropout(0.3), layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(X, Y, epochs=3, batch_size=8, shuffle=shuffle, verbose=0)
        return model.get_weights(), history.history["loss"]

    (first, losses_1), (second, losses_2) = run(), run()
    assert losses_1 == losses_2
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("steps", [2, 3, 7, 100])
def test_accumulated_parts_give_the_large_batch(steps):
    large, parts = mlp(), mlp(accumulate_steps=steps)
    weights = np.linspace(0, 2, len(X))
    for _ in range(4):
        expected = large.train_on_batch(X, Y, sample_weight=weights)
        assert parts.train_on_batch(X, Y, sample_weight=weights) == pytest.approx(expected, rel=1e-5)
    same_weights(large, parts, rtol=1e-4, atol=1e-6)
    assert parts.optimizer.iterations == 4


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weights_are_sample_weights(one_hot):
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    target = np.eye(3)[Y] if one_hot else Y
    by_class, by_sample = mlp(loss=loss), mlp(loss=loss)
    by_class.fit(X, target, class_weight={0: 3.0, 2: 0.5}, shuffle=False, epochs=2, verbose=0)
    by_sample.fit(X, target, sample_weight=np.array([3.0, 1.0, 0.5])[Y], shuffle=False, epochs=2, verbose=0)
    same_weights(by_class, by_sample, rtol=0)


def test_the_penalty_is_in_the_loss_and_in_the_update():
    fastnn.set_seed(4)
    model = models.Sequential([layers.Dense(1, use_bias=False, kernel_regularizer=fastnn.regularizers.L1L2(0.1, 0.2))])
    model.build((None, 6))
    model.compile(optimizers.SGD(0.5), "mse")
    w = model.get_weights()[0].astype(np.float64)
    target = np.zeros((len(X), 1))
    penalty = 0.1 * np.abs(w).sum() + 0.2 * (w * w).sum()
    expected = ((X @ w) ** 2).mean() + penalty
    assert model.evaluate(X, target, batch_size=9, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.train_on_batch(X, target) == pytest.approx(expected, rel=1e-5)
    gradient = 2 * X.T.astype(np.float64) @ (X @ w) / len(X) + 0.1 * np.sign(w) + 0.4 * w
    np.testing.assert_allclose(model.get_weights()[0], w - 0.5 * gradient, rtol=1e-4, atol=1e-6)


def test_a_model_without_trainable_weights_still_evaluates():
    model = mlp()
    model.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_validation_split_takes_the_last_samples():
    model = mlp(optimizer=optimizers.SGD(0.0))
    history = model.fit(X, Y, validation_split=0.2, batch_size=8, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(softmax_loss(model, X[40:], Y[40:]), rel=1e-5)
    assert history["loss"][0] == pytest.approx(softmax_loss(model, X[:40], Y[:40]), rel=1e-5)


def test_validation_data_and_frequency():
    model = mlp(optimizer=optimizers.SGD(0.0))
    weights = np.linspace(0, 1, 10)
    history = model.fit(X, Y, validation_data=(X[:10], Y[:10], weights), epochs=4, validation_freq=2, verbose=0).history
    assert len(history["loss"]) == 4 and len(history["val_loss"]) == 2
    assert history["val_loss"][0] == pytest.approx(softmax_loss(model, X[:10], Y[:10], weights), rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_iterables_of_batches(weighted):
    parts = [slice(0, 20), slice(20, 30), slice(30, 50)]
    batches = [(X[s], Y[s], np.ones(len(X[s])))[: 3 if weighted else 2] for s in parts]
    by_list, by_hand = mlp(), mlp()
    by_list.fit(batches, epochs=2, verbose=0)
    for _ in range(2):
        for batch in batches:
            by_hand.train_on_batch(*batch)
    same_weights(by_list, by_hand, rtol=0)
    assert by_list.evaluate(batches, verbose=0) == pytest.approx(by_hand.evaluate(X, Y, verbose=0), rel=1e-5)
    np.testing.assert_allclose(by_list.predict(batches), by_hand.predict(X), rtol=1e-6)


def test_a_generator_takes_steps():
    def endless():
        while True:
            yield X[:8], Y[:8]

    model = mlp()
    model.fit(endless(), steps_per_epoch=5, epochs=2, validation_data=endless(), validation_steps=2, verbose=0)
    assert model.optimizer.iterations == 10
    model.fit(iter([(X[:8], Y[:8])] * 3), verbose=0)
    assert model.optimizer.iterations == 13
    model.fit(X, Y, batch_size=10, steps_per_epoch=7, verbose=0)
    assert model.optimizer.iterations == 20


def test_steps_go_on_where_the_epoch_before_stopped():
    seen = []

    class Spy(layers.Layer):
        def forward(self, x, training):
            seen.append((int(x[0, 0]), training))
            return x

        def backward(self, dy, need_dx, accumulate):
            return dy

    model = models.Sequential([Spy(), layers.Dense(1)])
    model.compile("sgd", "mse", capture=False)
    x = np.arange(5, dtype=np.float32)[:, None]
    for data_set in [(x, x), ([(x[i : i + 1], x[i : i + 1]) for i in range(5)],)]:
        seen.clear()
        size = {"batch_size": 1, "shuffle": False} if len(data_set) == 2 else {}
        validation = data_set if len(data_set) == 2 else data_set[0]
        model.fit(
            *data_set, epochs=3, steps_per_epoch=2, validation_data=validation, validation_steps=1, verbose=0, **size
        )
        assert [i for i, training in seen if training] == [0, 1, 2, 3, 4, 0]
        assert [i for i, training in seen if not training] == [0, 0, 0]


def test_a_loader_trains():
    model = mlp()
    loader = data.Loader(X, Y, batch_size=10, shuffle=True, seed=1)
    history = model.fit(loader, epochs=20, validation_data=loader, verbose=0).history
    assert history["val_accuracy"][-1] > 0.9 and model.optimizer.iterations == 100


def test_initial_epoch_counts_on():
    model = mlp()
    assert model.fit(X, Y, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_cnn_learns_the_digits(optimizer):
    (x, y), (x_test, y_test) = data.datasets.load_digits()
    fastnn.set_seed(0)
    model = models.Sequential(
        [
            layers.Conv2D(16, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    rule = optimizers.Adam(2e-3) if optimizer == "adam" else optimizers.SGD(0.05, momentum=0.9)
    model.compile(rule, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x / 16, y, batch_size=32, epochs=16, verbose=0)
    _, accuracy = model.evaluate(x_test / 16, y_test, verbose=0)
    assert accuracy >= 0.97


@pytest.mark.parametrize("drop_last, total", [(False, 50), (True, 48)])
def test_progress_and_predictions_of_a_loader_count_its_samples(drop_last, total, capsys):
    model = mlp()
    loader = data.Loader(X, Y, batch_size=16, drop_last=drop_last)
    model.fit(loader, verbose=1)
    assert f"{total}/{total}" in capsys.readouterr().err
    np.testing.assert_allclose(model.predict(loader), model.predict(X[:total]), rtol=1e-6)
