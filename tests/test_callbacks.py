"""Callbacks: when hooks are called, and what each callback does."""

import csv

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, layers, models, optimizers, schedules

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
Y = np.arange(40) % 3


def mlp(rate=0.1):
    fastnn.set_seed(0)
    model = models.Sequential([layers.Dense(3, "softmax", input_shape=(6,))])
    model.compile(optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Script(callbacks.Callback):
    """Puts given values into the logs, before the other callbacks see them."""

    def __init__(self, **values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: values[epoch] for name, values in self.values.items()})


def run(*entries, epochs=10, model=None, **values):
    model = model or mlp()
    model.fit(X, Y, epochs=epochs, batch_size=20, verbose=0, callbacks=[Script(**values), *entries])
    return model


def test_every_hook_is_called_in_order():
    calls = []
    names = [name for name in vars(callbacks.Callback) if name.startswith("on_")]
    spy = callbacks.LambdaCallback(**{n: (lambda *a, n=n: calls.append(n.removeprefix("on_"))) for n in names})
    model = mlp()
    model.fit(X, Y, batch_size=20, epochs=1, validation_data=(X, Y), verbose=0, callbacks=[spy])
    batch = ["train_batch_begin", "train_batch_end"]
    test = ["test_begin", "test_batch_begin", "test_batch_end", "test_end"]
    assert calls == [
        "train_begin",
        "epoch_begin",
        *batch,
        *batch,
        *test[:1],
        *test[1:3] * 2,
        *test[3:],
        "epoch_end",
        "train_end",
    ]
    calls.clear()
    model.evaluate(X, Y, batch_size=40, verbose=0, callbacks=[spy])
    model.predict(X, batch_size=40, callbacks=[spy])
    assert calls == [*test, "predict_begin", "predict_batch_begin", "predict_batch_end", "predict_end"]


def test_logs_and_params():
    seen = {}

    class Spy(callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen["params"] = dict(self.params)

        def on_train_batch_end(self, batch, logs=None):
            seen["batch"] = (batch, sorted(logs))

        def on_epoch_end(self, epoch, logs=None):
            seen["epoch"] = (epoch, sorted(logs))

    model = mlp()
    model.fit(X, Y, batch_size=16, epochs=2, validation_split=0.2, verbose=0, callbacks=Spy())
    assert seen["params"] == {"epochs": 2, "steps": 2, "verbose": 0, "validation_freq": 1}
    assert seen["batch"] == (1, ["accuracy", "loss"])
    assert seen["epoch"] == (1, ["accuracy", "loss", "val_accuracy", "val_loss"])


def test_early_stopping():
    stop = callbacks.EarlyStopping("m", patience=2)
    model = run(stop, m=[5, 4, 3, 3.5, 3.2, 1, 1, 1, 1, 1])
    assert model.history.epoch == [0, 1, 2, 3, 4] and stop.best == 3 and stop.best_epoch == 2
    assert (
        len(run(callbacks.EarlyStopping("m", patience=2, min_delta=0.5), m=[5, 4.9, 4.8, 4.7] + [0] * 6).history.epoch)
        == 3
    )
    assert len(run(callbacks.EarlyStopping("m_acc", patience=1), m_acc=[1, 2, 1] + [9] * 7).history.epoch) == 3
    assert len(run(callbacks.EarlyStopping("m", mode="max", patience=1), m=[1, 2, 1] + [9] * 7).history.epoch) == 3
    late = callbacks.EarlyStopping("m", patience=1, start_from_epoch=3)
    assert len(run(late, m=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).history.epoch) == 5
    assert len(run(callbacks.EarlyStopping("m", patience=3, baseline=0.5), m=[3, 2, 1] + [1] * 7).history.epoch) == 4


def test_epochs_without_validation_are_passed_over(tmp_path):
    watch = [callbacks.EarlyStopping(patience=2), callbacks.ReduceLROnPlateau(patience=1, factor=0.5)]
    watch.append(callbacks.ModelCheckpoint(tmp_path / "{epoch}", save_best_only=True))
    model = mlp(0.0)
    model.fit(X, Y, epochs=20, validation_data=(X, Y), validation_freq=3, callbacks=watch, verbose=0)
    assert model.history.epoch[-1] == 8 and [p.name for p in tmp_path.iterdir()] == ["3"]


def test_early_stopping_restores_the_best_weights(capsys):
    kept = []
    spy = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(spy.model.get_weights()))
    model = run(
        spy, callbacks.EarlyStopping("m", patience=1, restore_best_weights=True, verbose=1), m=[3, 1, 2] + [0] * 7
    )
    np.testing.assert_array_equal(model.get_weights()[0], kept[1][0])
    assert "Epoch 3: early stopping, best m 1" in capsys.readouterr().out


def test_checkpoints(tmp_path):
    run(callbacks.ModelCheckpoint(tmp_path / "{epoch:02d}-{m:.1f}", monitor="m"), epochs=2, m=[1, 2])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01-1.0", "02-2.0"]
    assert models.load_model(tmp_path / "02-2.0").optimizer.iterations == 4


def test_checkpoints_of_the_best_only(tmp_path, capsys):
    best = callbacks.ModelCheckpoint(
        tmp_path / "{epoch}", "m", save_best_only=True, verbose=1, initial_value_threshold=4.5
    )
    run(best, epochs=5, m=[5, 4, 4, 3, 6])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "4"]
    assert "Epoch 4: saved to" in capsys.readouterr().out


def test_checkpoints_of_weights_every_few_batches(tmp_path):
    run(callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_weights_only=True, save_freq=3), epochs=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2-0", "3-1"]
    mlp().load_weights(tmp_path / "2-0")


def test_learning_rate_scheduler(capsys):
    model = run(callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1), epochs=3)
    assert model.history.history["learning_rate"] == [0.05, 0.025, 0.0125]
    assert "Epoch 3: learning rate 0.0125" in capsys.readouterr().out
    model = run(callbacks.LearningRateScheduler(lambda epoch: 1.0 + epoch), epochs=2)
    assert model.optimizer.learning_rate == 2.0


def test_reduce_on_plateau(capsys):
    reduce = callbacks.ReduceLROnPlateau("m", factor=0.5, patience=2, min_lr=0.03, cooldown=1, verbose=1)
    model = run(reduce, m=[3, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    rates = model.history.history["learning_rate"]
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.03, 0.03, 0.03]
    assert "Epoch 3: learning rate reduced to 0.05" in capsys.readouterr().out


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    run(callbacks.CSVLogger(path, separator=";"), epochs=2)
    run(callbacks.CSVLogger(path, separator=";", append=True), epochs=1)
    with open(path) as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert [row["epoch"] for row in rows] == ["0", "1", "0"] and float(rows[0]["loss"]) > 0


def test_terminate_on_nan(capsys):
    model = models.Sequential([layers.Dense(1, input_shape=(6,)), layers.Dense(1)])
    model.compile(optimizers.SGD(1e6), "mse")
    history = model.fit(X, X[:, :1], epochs=50, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    assert len(history.epoch) < 50 and "training stops" in capsys.readouterr().out


def test_stop_training_within_an_epoch():
    stop = callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: setattr(stop.model, "stop_training", b == 1))
    model = mlp()
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0, callbacks=[stop])
    assert model.optimizer.iterations == 2


def scheduled():
    model = mlp()
    model.compile(optimizers.SGD(schedules.exponential(0.1, 0.9, 10)), "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: run(callbacks.EarlyStopping()), ValueError, "EarlyStopping: monitor must be one of loss, accuracy, got"
            " 'val_loss'. val_ values need validation_split"),
        (lambda: callbacks.EarlyStopping(mode="x"), ValueError, "EarlyStopping: mode must be one of 'auto', 'min'"),
        (lambda: run(callbacks.ModelCheckpoint("{foo}")), ValueError, "filepath must be made of epoch, l"),
        (lambda: callbacks.ModelCheckpoint("a", save_freq=0), ValueError, "save_freq must be .* 'epoch'"),
        (lambda: callbacks.LearningRateScheduler(0.1), ValueError, "schedule must be a function"),
        (lambda: callbacks.ReduceLROnPlateau(factor=1.5), ValueError, "ReduceLROnPlateau: factor must be"),
        (lambda: callbacks.LambdaCallback(on_epoch_finish=print), ValueError, "must be one of .*'on_epoch_finish'"),
        (lambda: callbacks.LambdaCallback(on_epoch_end=3), TypeError, "LambdaCallback: on_epoch_end must be callable"),
        (lambda: run(callbacks.LearningRateScheduler(lambda e: 1.0), model=scheduled()), TypeError,
            "LearningRateScheduler: the optimizer's learning_rate must be a number, got .*Use either a schedule or"),
    ],
)  # fmt: skip
def test_messages(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_shows_rate_loss_and_metrics(verbose, capsys):
    model = mlp()
    model.fit(X, Y, batch_size=20, epochs=2, verbose=verbose, validation_split=0.25)
    captured = capsys.readouterr()
    text = captured.err if verbose == 1 else captured.out
    for part in ("Epoch 2/2", "samples/s", "loss=", "accuracy=", "val_loss="):
        assert part in text
    model.fit([(X, Y)], verbose=verbose)
    model.evaluate(X, Y, verbose=verbose)
    model.predict(X, verbose=verbose)
