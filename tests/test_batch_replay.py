"""Batches that lie anywhere, replayed: evaluate, predict, iterables and single steps give the same bits as eagerly."""

import gc
import warnings
import weakref

import numpy as np
import pytest
from layer_stacks import IMAGES, LABELS, LAYERS, Halve, N

import fastnn
from fastnn import callbacks, data, layers, losses, metrics, models
from fastnn.models import pace

WEIGHTS = np.linspace(0, 2, N)
BATCHES = [slice(0, 32), slice(32, 35), slice(35, 67), slice(67, 75)]


@pytest.fixture(autouse=True)
def keep_threads():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def classifier(stack, capture, threads=2):
    fastnn.set_num_threads(threads)
    fastnn.set_seed(7)
    model = models.Sequential([layers.Input(IMAGES.shape[1:]), *stack, layers.Flatten()])
    model.add(layers.Dense(3, activation="softmax"))
    model.compile(
        "adam",
        "sparse_categorical_crossentropy",
        metrics=["accuracy", metrics.SparseTopKCategoricalAccuracy(2)],
        weighted_metrics=[metrics.SparseCategoricalAccuracy(name="weighted")],
        capture=capture,
    )
    return model


def in_both_ways(use, stack=list, threads=2):
    """What `use` returns for a captured and for an eager model, which must be equal to the bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "uncaptured" would be a warning
        captured, eager = (use(classifier(stack(), capture, threads)) for capture in (True, False))
    assert len(captured) == len(eager)
    for a, b in zip(captured, eager):
        np.testing.assert_array_equal(a, b)
    return captured


@pytest.mark.parametrize("name", LAYERS)
def test_evaluate_and_predict_give_the_same_bits(name):
    def use(model):
        values = [model.evaluate(IMAGES, LABELS, size, verbose=0) for size in (1, 32, 32, 200)]
        values += [model.evaluate(IMAGES, LABELS, sample_weight=WEIGHTS, steps=2, verbose=0)]
        model.train_on_batch(IMAGES, LABELS)
        values += [model.evaluate(IMAGES, LABELS, 32, sample_weight=WEIGHTS, verbose=0)]
        return [*values, *(model.predict(IMAGES, size, verbose=0) for size in (1, 32, 32, 200))]

    *_, alone, _, _, whole = in_both_ways(use, LAYERS[name])
    np.testing.assert_allclose(alone, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_iterables_give_the_same_bits(name):
    batches = [(IMAGES[s], LABELS[s], *([WEIGHTS[s]] if s.start % 2 else [])) for s in BATCHES]

    def use(model):
        history = model.fit(batches, epochs=3, validation_data=batches[:3], verbose=0).history
        values = model.evaluate(batches, verbose=0)
        return [*history.values(), values, model.predict(batches, verbose=0), *model.get_weights()]

    in_both_ways(use, LAYERS[name])


@pytest.mark.parametrize("threads", [1, 3])
def test_same_bits_with_other_thread_counts(threads):
    def use(model):
        values = model.evaluate(IMAGES, LABELS, verbose=0)
        model.fit([(IMAGES, LABELS)] * 3, verbose=0)
        return [values, model.predict(IMAGES, verbose=0), *model.get_weights()]

    in_both_ways(use, LAYERS["conv"], threads)


def test_single_steps_give_the_same_bits():
    def use(model):
        values = []
        for s in (*BATCHES, *BATCHES):
            values += [
                model.train_on_batch(IMAGES[s], LABELS[s], WEIGHTS[s]),
                model.test_on_batch(IMAGES[s], LABELS[s]),
            ]
            values += [model.train_on_batch(IMAGES[s].tolist(), LABELS[s], class_weight={1: 3.0})]
        return [*values, *model.get_weights()]

    in_both_ways(use, LAYERS["dropout"])


def test_a_loader_gives_the_same_bits():
    def use(model):
        loader = data.Loader(IMAGES, LABELS, batch_size=32, seed=3, augment=data.Augment(crop=(8, 8), padding=1))
        history = model.fit(loader, epochs=2, verbose=0).history
        history.update(model.fit(IMAGES, LABELS, steps_per_epoch=5, epochs=2, verbose=0).history)
        return [*history.values(), *model.get_weights()]

    in_both_ways(use)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_sequences_give_the_same_bits(weights):
    x, labels = IMAGES.reshape(N, 16, 16), np.arange(N * 16).reshape(N, 16) % 3
    results = []
    for capture in (True, False):
        fastnn.set_seed(1)
        model = models.Sequential([layers.Input((16, 16)), layers.Dense(3, activation="softmax")])
        options = {"metrics": ["accuracy"], "weighted_metrics": [metrics.SparseCategoricalAccuracy(name="w")]}
        model.compile("adam", "sparse_categorical_crossentropy", capture=capture, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            history = model.fit(x, labels, sample_weight=weights, epochs=2, verbose=0).history
            values = model.evaluate(x, labels, sample_weight=weights, verbose=0)
        results.append([*history.values(), values, *model.get_weights()])
    for captured, eager in zip(*results):
        np.testing.assert_array_equal(captured, eager)


def test_targets_may_be_the_samples():
    x = IMAGES.reshape(N, -1)
    weights = []
    for capture in (True, False):
        fastnn.set_seed(1)
        model = models.Sequential([layers.Input((256,)), layers.Dense(8, activation="tanh"), layers.Dense(256)])
        model.compile("adam", "mse", metrics=["mae"], capture=capture)
        model.fit([(x, x), (x[:32], x[:32]), (x[:32], x[32:64])], epochs=2, verbose=0)
        weights.append([model.evaluate(x, x, verbose=0), *model.get_weights()])
    for captured, eager in zip(*weights):
        np.testing.assert_array_equal(captured, eager)


def test_batches_are_not_kept():
    model = classifier([], True)
    x, y = IMAGES.copy(), LABELS.astype(np.int32)
    gone = weakref.ref(x)
    model.train_on_batch(x, y)
    model.train_on_batch(x, y)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    del x
    gc.collect()
    assert gone() is None


def test_a_loss_that_is_not_finite_stops_before_its_update():
    broken = IMAGES[:32].copy()
    broken[3] = np.nan
    batches = [(IMAGES[:32], LABELS[:32])] * 3 + [(broken, LABELS[:32]), (IMAGES[:32], LABELS[:32])]
    results = []
    for capture in (True, False):
        model = classifier([], capture)
        with pytest.raises(FloatingPointError, match=r"epoch 1, batch 3 \(x\[3, 0, 0, 0\] of the batch is nan"):
            model.fit(batches, verbose=0)
        assert model.optimizer.iterations == 3
        with pytest.raises(FloatingPointError, match="train_on_batch: loss must be finite"):
            model.train_on_batch(*batches[3])
        model.train_on_batch(*batches[0])
        results.append(model.get_weights())
    for captured, eager in zip(*results):
        np.testing.assert_array_equal(captured, eager)


class Recorder(callbacks.Callback):
    """Writes down what each batch of evaluate and predict is told."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_test_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_test_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch, logs["loss"], logs["accuracy"]))

    def on_predict_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_predict_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch, logs["outputs"].tolist()))


def test_callbacks_see_every_batch():
    def use(model):
        recorder = Recorder()
        model.evaluate(IMAGES, LABELS, 32, callbacks=[recorder], verbose=0)
        model.predict(IMAGES, 32, callbacks=[recorder], verbose=0)
        assert [call[:2] for call in recorder.calls] == [(w, i) for i in range(3) for w in ("begin", "end")] * 2
        return [np.array(call[2]) for call in recorder.calls if len(call) > 2]

    in_both_ways(use)


@pytest.mark.parametrize("function", ["fit", "evaluate", "predict", "fit on a list", "evaluate a list"])
def test_one_warning_where_a_layer_is_written_in_numpy(function):
    model = classifier([Halve()], True)
    calls = {
        "fit": lambda: model.fit(IMAGES, LABELS, verbose=0),
        "evaluate": lambda: model.evaluate(IMAGES, LABELS, verbose=0),
        "predict": lambda: model.predict(IMAGES, verbose=0),
        "fit on a list": lambda: model.fit([(IMAGES, LABELS)], verbose=0),
        "evaluate a list": lambda: model.evaluate([(IMAGES, LABELS)], verbose=0),
    }
    with pytest.warns(UserWarning, match=f"^{function.split()[0]}: halve compute outside of fastnn's kernels") as found:
        calls[function]()
    assert [w.filename for w in found] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in calls.values():
            call()
    np.testing.assert_array_equal(model.predict(IMAGES), model.forward(IMAGES))


def test_no_warning_without_capture():
    model = classifier([Halve()], False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(IMAGES, LABELS, verbose=0)
        model.predict(IMAGES, verbose=0)


def test_a_model_without_kernels_predicts():
    model = models.Sequential([layers.Input((8, 8, 4)), layers.Flatten()])
    np.testing.assert_array_equal(model.predict(IMAGES, 32), IMAGES.reshape(N, -1))


def test_new_thread_counts_between_calls():
    model = classifier([], True)
    expected = model.forward(IMAGES).copy()
    for threads in (1, 3, 2, 1):
        fastnn.set_num_threads(threads)
        np.testing.assert_array_equal(model.predict(IMAGES, 32), expected)
        model.evaluate(IMAGES, LABELS, verbose=0)
        model.test_on_batch(IMAGES, LABELS)
    model.compile("sgd", losses.SparseCategoricalCrossentropy())
    assert model.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(model.test_on_batch(IMAGES, LABELS))


def test_a_layer_in_two_models():
    first = classifier([], True)
    first.evaluate(IMAGES, LABELS, verbose=0)
    second = models.Sequential([layers.Input((256,)), first.layers[-1]])
    second.compile("adam", "sparse_categorical_crossentropy")  # takes the shared weights into a buffer of its own
    second.fit(IMAGES.reshape(N, -1), LABELS, epochs=5, verbose=0)
    expected = second.evaluate(IMAGES.reshape(N, -1), LABELS, verbose=0)
    assert first.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)["loss"] == expected


def test_pace_returns_about_ten_times_a_second(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock[0])
    counts = []
    for count in pace.Pace().counts(2000, one_by_one=False):
        counts.append(count)
        clock[0] += count * (0.001 if len(counts) < 10 else 0.004)  # seconds a batch; something slows it down
    assert sum(counts) == 2000
    assert counts[:10] == [1, 2, 4, 8, 16, 32, 64, 64, 64, 64]
    assert set(counts[13:-1]) == {16}
    assert list(pace.Pace().counts(3, one_by_one=True)) == [1, 1, 1]
    assert list(pace.Pace().counts(0, one_by_one=False)) == []
