"""Embedding: in models, where x holds ids from the user's arrays to the kernels."""

import warnings

import numpy as np
import pytest
from case import arrays_in

import fastnn
from fastnn import _backend, layers, models
from fastnn import functional as F  # noqa: N812

RNG = np.random.default_rng(3)
IDS = RNG.integers(0, 11, (50, 6))
LABELS = IDS.max(axis=1) > 9


def model(**options):
    fastnn.set_seed(2)
    made = models.Sequential([layers.Embedding(11, 5), layers.Flatten(), layers.Dense(2, activation="softmax")])
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return made


def test_rows_of_the_table():
    layer = layers.Embedding(11, 5)
    y = layer(IDS.astype(np.int32))
    assert layer.output_shape == (6, 5) and [p.name for p in layer.parameters] == ["embedding/embeddings"]
    np.testing.assert_array_equal(y, layer.get_weights()[0][IDS])
    np.testing.assert_array_equal(F.embedding(IDS, layer.get_weights()[0]), y)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [False, True])
def test_gradient(threads, accumulate):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    layer = layers.Embedding(11, 40)
    layer(IDS.astype(np.int32))
    dy = RNG.standard_normal((*IDS.shape, 40)).astype(np.float32)
    layer.embeddings.grad[...] = 2
    assert layer.backward(dy, False, accumulate) is None
    expected = np.full((11, 40), 2.0 if accumulate else 0.0)
    np.add.at(expected, IDS, dy.astype(np.float64))
    np.testing.assert_allclose(layer.embeddings.grad, expected, rtol=1e-5, atol=1e-5)
    fastnn.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_captured_and_eager_give_the_same_bits(threads):
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(threads)
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "uncaptured" would be a warning
        for capture in (True, False):
            trained = model(capture=capture, accumulate_steps=2)
            history = trained.fit(IDS, LABELS, 16, epochs=3, verbose=0, validation_split=0.2)
            results.append((history.history, *trained.get_weights(), trained.predict(IDS, verbose=0)))
    assert results[0][0] == results[1][0]
    for captured, eager in zip(arrays_in(results[0][1:]), arrays_in(results[1][1:]), strict=True):
        np.testing.assert_array_equal(captured, eager)
    fastnn.set_num_threads(before)


def test_it_learns():
    trained = model()
    history = trained.fit(IDS, LABELS, 10, epochs=200, verbose=0)
    assert history.history["accuracy"][-1] > 0.95


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64, object])
def test_whole_numbers_of_any_type_are_ids(dtype):
    made = model()
    expected = made(IDS)
    given = IDS.tolist() if dtype is object else IDS.astype(dtype)
    np.testing.assert_array_equal(made.predict(given, verbose=0), expected)
    made.train_on_batch(given, LABELS)
    made.evaluate(given, LABELS, verbose=0)
    made.fit([(given, LABELS)], epochs=1, verbose=0)


@pytest.mark.parametrize("bad", [-1, 11, 1.5, np.nan, np.inf, 2**40])
def test_ids_outside_of_the_table(bad):
    made, given = model(), IDS.astype(np.float64)
    made(IDS.astype(np.int32))
    given[3, 4] = bad
    message = "x must be ids, whole numbers from 0 to 10, got .* at index \\(3, 4\\)"
    weights = made.get_weights()
    for call in (
        lambda: made.fit(given, LABELS, verbose=0),
        lambda: made.train_on_batch(given, LABELS),
        lambda: made.evaluate(given, LABELS, verbose=0),
        lambda: made.predict(given, verbose=0),
        lambda: made.predict_on_batch(given),
        lambda: made(given),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for now, then in zip(made.get_weights(), weights):
        np.testing.assert_array_equal(now, then)


def test_replayed_calls_check_ids_too():
    made, given = model(), IDS.astype(np.int32)
    made(given)
    np.testing.assert_array_equal(made._inference.call(given), made(given))
    given[-1, -1] = 11
    assert made._inference.call(given) is None
    with pytest.raises(ValueError, match="x must be ids, whole numbers from 0 to 10, got 11 at index"):
        made(given)
    assert made._inference.call(given.astype(np.float32)) is None


def test_a_replay_of_ids_that_nobody_checked_stays_inside():
    kernels, w, ids = _backend.kernels, np.ones((3, 4), np.float32), np.array([0, 1, 2], np.int32)
    y, dw = np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)
    tape = kernels.Tape()
    tape.start()
    kernels.embedding_forward(w, ids, y)
    kernels.embedding_backward(ids, y, dw, False)
    tape.stop()
    ids[:] = (1 << 30, 1, -(1 << 30))
    tape.replay(1)
    assert np.isnan(y[[0, 2]]).all() and (y[1] == 1).all()
    np.testing.assert_array_equal(dw, [[0] * 4, [1] * 4, [0] * 4])


def test_only_the_first_layer_takes_ids():
    with pytest.raises(ValueError, match="Sequential: embedding must be the model's first layer, as it takes ids"):
        models.Sequential([layers.Input((6,)), layers.Dense(3), layers.Embedding(11, 5)])


def test_saved_and_loaded(tmp_path):
    made = model()
    made.fit(IDS, LABELS, epochs=1, verbose=0)
    made.save(tmp_path / "a")
    copy = models.load_model(tmp_path / "a")
    assert copy.get_config() == made.get_config()
    np.testing.assert_array_equal(copy(IDS), made(IDS))
    assert copy.train_on_batch(IDS, LABELS) == made.train_on_batch(IDS, LABELS)


def test_a_regularizer():
    fastnn.set_seed(2)
    made = models.Sequential([layers.Embedding(11, 5, "normal", "l2"), layers.Flatten(), layers.Dense(2)])
    made.compile("sgd", "mse")
    plain = made.evaluate(IDS, np.zeros((50, 2)), verbose=0)
    squares = (made.get_weights()[0] ** 2).sum()
    assert squares > 0 and plain > 0
    assert made._step.penalty() == pytest.approx(0.01 * squares, rel=1e-5)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: layers.Embedding(0, 3), ValueError, "Embedding: input_dim must be a whole number from 1 to .*got 0"),
        (lambda: layers.Embedding(3, 0), ValueError, "Embedding: output_dim must be a whole number of at least 1"),
        (lambda: layers.Embedding(3, 3, "x"), ValueError, "Embedding: embeddings_initializer must be one of .*'x'"),
        (lambda: layers.Embedding(3, 3)(IDS), ValueError, "embedding_forward: ids must be row numbers of the table"),
        (lambda: F.embedding(IDS.tolist(), np.ones((3, 2))), TypeError, "embedding: ids must be an array of int32 or"),
        (lambda: F.embedding(IDS, np.ones((20, 2))), ValueError, "embedding_forward: w must be a float32 array"),
    ],
)
def test_messages(make, error, message):
    with pytest.raises(error, match=message):
        make()
