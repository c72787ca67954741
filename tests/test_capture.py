"""The captured step: the same bits as the eager one for every layer, and the same behaviour when things go wrong."""

import warnings

import numpy as np
import pytest
from layer_stacks import IMAGES, LABELS, LAYERS, Halve, N

import fastnn
from fastnn import callbacks, layers, losses, metrics, models, optimizers, schedules

RNG = np.random.default_rng(6)


def train(make_layers, capture, threads=2, optimizer="adam", shuffle=True, weights=None, **options):
    """(history, weights) of three epochs."""
    fastnn.set_num_threads(threads)
    fastnn.set_seed(7)
    model = models.Sequential([layers.Input(IMAGES.shape[1:]), *make_layers(), layers.Flatten()])
    model.add(layers.Dense(3, activation="softmax"))
    model.compile(
        optimizer() if callable(optimizer) else optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy", metrics.SparseTopKCategoricalAccuracy(2)],
        capture=capture,
        **options,
    )
    history = model.fit(IMAGES, LABELS, 32, epochs=3, verbose=0, shuffle=shuffle, sample_weight=weights)
    return history.history, model.get_weights()


def assert_same_bits(make_layers, **options):
    histories, weights = zip(*(train(make_layers, capture, **options) for capture in (True, False)))
    assert histories[0] == histories[1]
    for captured, eager in zip(*weights):
        np.testing.assert_array_equal(captured, eager)


@pytest.fixture(autouse=True)
def keep_threads():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


@pytest.mark.parametrize("name", LAYERS)
def test_captured_and_eager_give_the_same_bits(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "uncaptured" would be a warning
        assert_same_bits(LAYERS[name])


@pytest.mark.parametrize("threads", [1, 3])
def test_same_bits_with_other_thread_counts(threads):
    assert_same_bits(LAYERS["conv"], threads=threads)


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_steps": 3},
        {"shuffle": False},
        {"weights": np.linspace(0, 2, N)},
        {"optimizer": lambda: optimizers.AdamW(schedules.warmup(3) >> schedules.cosine(1e-2, steps=9))},
        {"optimizer": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, global_clipnorm=0.1)},
        {"optimizer": lambda: optimizers.RMSprop(0.01, centered=True, momentum=0.5, clipvalue=0.01)},
        {"optimizer": lambda: optimizers.Lamb(0.01, weight_decay=0.1)},
        {"optimizer": lambda: optimizers.Muon(0.01, global_clipnorm=0.1, skip_nonfinite=True)},
    ],
    ids=["accumulate", "in-order", "weights", "schedule", "clipped-sgd", "rmsprop", "lamb", "muon"],
)
def test_same_bits_with(options):
    assert_same_bits(LAYERS["dropout"], **options)


@pytest.mark.parametrize(
    ("loss", "activation", "targets"),
    [
        ("mse", None, RNG.standard_normal((N, 2))),
        ("mae", "tanh", RNG.standard_normal((N, 2))),
        (losses.Huber(0.5), "sigmoid", RNG.standard_normal((N, 2))),
        ("binary_crossentropy", "sigmoid", RNG.integers(0, 2, (N, 2))),
        ("categorical_crossentropy", "softmax", np.eye(2)[RNG.integers(0, 2, N)]),
    ],
)
def test_same_bits_for_losses(loss, activation, targets):
    results = []
    for capture in (True, False):
        fastnn.set_seed(1)
        model = models.Sequential([layers.Input((256,)), layers.Dense(2, activation=activation)])
        model.compile("adam", loss, metrics=["mae", metrics.AUC(num_thresholds=5)], capture=capture)
        history = model.fit(IMAGES.reshape(N, -1), targets, 32, epochs=2, verbose=0)
        results.append((history.history, model.get_weights()))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1][0], results[1][1][0])


def test_a_layer_in_numpy_trains_uncaptured_with_one_warning():
    model = models.Sequential([layers.Input((8, 8, 4)), Halve(), layers.Flatten(), layers.Dense(3)])
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.warns(UserWarning, match="halve compute outside of fastnn's kernels"):
        model.fit(IMAGES, LABELS, epochs=1, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(IMAGES, LABELS, epochs=5, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_subclass_that_overrides_forward_is_not_captured():
    class Louder(layers.Dense):
        def forward(self, x, training):
            return super().forward(x, training) * np.float32(2)

    model = models.Sequential([layers.Input((256,)), Louder(3)])
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.warns(UserWarning, match="uncaptured"):
        model.fit(IMAGES.reshape(N, -1), LABELS, epochs=1, verbose=0)


def test_a_loss_that_is_not_finite_stops_before_its_update():
    x = IMAGES.reshape(N, -1).copy()
    x[40] = np.inf  # in the second batch, which is replayed
    results = []
    for capture in (True, False):
        fastnn.set_seed(3)
        model = models.Sequential([layers.Input((256,)), layers.Dense(3)])
        model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), capture=capture)
        with pytest.warns(UserWarning, match="inf"), pytest.raises(FloatingPointError, match="epoch 1, batch 4"):
            model.fit(x, LABELS, batch_size=8 + 1, shuffle=False, verbose=0)
        results.append((model.get_weights(), model.optimizer.iterations))
    assert results[0][1] == results[1][1] == 4
    np.testing.assert_array_equal(results[0][0][0], results[1][0][0])


class Recorder(callbacks.Callback):
    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.stop_after = [], stop_after

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch, logs["loss"]))
        if batch == self.stop_after:
            self.model.stop_training = True


@pytest.mark.parametrize("stop_after", [None, 1])
def test_callbacks_see_every_batch(stop_after):
    seen = []
    for capture in (True, False):
        fastnn.set_seed(3)
        model = models.Sequential([layers.Input((256,)), layers.Dense(3)])
        model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), capture=capture)
        recorder = Recorder(stop_after)
        model.fit(IMAGES.reshape(N, -1), LABELS, epochs=2, verbose=0, callbacks=[recorder])
        seen.append(recorder.calls)
    assert seen[0] == seen[1]
    assert len(seen[0]) == (12 if stop_after is None else 4)


def test_a_new_thread_count_is_recorded_anew():
    class Resize(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            fastnn.set_num_threads(1 + epoch % 3)

    model = models.Sequential([layers.Input((256,)), layers.Dense(40, activation="relu"), layers.Dense(3)])
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(IMAGES.reshape(N, -1), LABELS, epochs=6, verbose=0, callbacks=[Resize()])
    assert history.history["loss"][-1] < history.history["loss"][0]
