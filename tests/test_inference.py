"""Outputs of single batches, replayed: the bits of the eager pass whatever happens between two calls."""

import copy
import os
import pickle
import threading
import time

import numpy as np
import pytest
from layer_stacks import IMAGES, LABELS, LAYERS, Halve

import fastnn
from fastnn import layers, models

ROWS = IMAGES.reshape(len(IMAGES), -1)


@pytest.fixture(autouse=True)
def keep_threads():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def mlp(**options):
    fastnn.set_seed(7)
    model = models.Sequential(
        [layers.Input((256,)), layers.Dense(70, activation="relu"), layers.Dense(3, activation="softmax")]
    )
    if options:
        model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def replayed(model, x):
    """The outputs for x by a replay; fails where that falls back to Python."""
    model(x)
    y = model._inference.call(x)
    assert y is not None
    return y


def assert_eager_bits(model, x):
    np.testing.assert_array_equal(replayed(model, x), model.forward(x, False))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_replayed_and_eager_give_the_same_bits(name, threads):
    fastnn.set_num_threads(threads)
    fastnn.set_seed(3)
    model = models.Sequential([layers.Input(IMAGES.shape[1:]), *LAYERS[name]()])
    for size in (1, 2, 17, 75, 2):
        x = IMAGES[:size]
        assert_eager_bits(model, x)
        np.testing.assert_array_equal(model.predict_on_batch(x), model.forward(x, False))


@pytest.mark.parametrize("name", LAYERS)
def test_the_bits_are_those_of_one_thread(name):
    """A replay that finds the other threads asleep runs without them."""
    outputs = []
    for threads in (1, 2, 3, 5):
        fastnn.set_num_threads(threads)
        fastnn.set_seed(3)
        model = models.Sequential([layers.Input(IMAGES.shape[1:]), *LAYERS[name]()])
        outputs.append([replayed(model, IMAGES[:size]) for size in (1, 2, 75)])
    for others in outputs[1:]:
        for one, other in zip(outputs[0], others):
            np.testing.assert_array_equal(one, other)


def test_pauses_between_calls():
    fastnn.set_num_threads(2)
    model = mlp()
    expected = model.forward(ROWS[:1]).copy()
    for pause in (0.005, 0, 0, 0.002, 0, 0.0001, 0.005):
        time.sleep(pause)
        np.testing.assert_array_equal(model(ROWS[:1]), expected)


def test_new_weights_are_seen():
    model = mlp(metrics=["accuracy"])
    x = ROWS[:4]
    before = replayed(model, x)
    model.train_on_batch(ROWS, LABELS)
    trained = model._inference.call(x)
    assert (trained != before).any()
    assert_eager_bits(model, x)
    model.fit(ROWS, LABELS, epochs=1, verbose=0)
    assert_eager_bits(model, x)
    model.set_weights([w * 0 for w in model.get_weights()])
    np.testing.assert_allclose(model._inference.call(x), 1 / 3, rtol=1e-6)


def test_compiling_anew_moves_the_weights():
    model = mlp(metrics=["accuracy"])
    replayed(model, ROWS)
    model.layers[0].trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(ROWS, LABELS, epochs=1, verbose=0)
    assert_eager_bits(model, ROWS)


def test_a_layer_in_two_models():
    first = mlp()
    replayed(first, ROWS)
    second = models.Sequential([layers.Input((256,)), first.layers[0], layers.Dense(3)])
    second.compile("sgd", "mse")  # takes the weights of the shared layer into its own buffer
    second.fit(ROWS, np.zeros((75, 3)), verbose=0)
    assert first._inference.call(ROWS) is None
    assert_eager_bits(first, ROWS)


def test_layers_come_and_go():
    model = mlp()
    replayed(model, ROWS)
    model.add(layers.Dense(5))
    assert model._inference.call(ROWS) is None
    assert_eager_bits(model, ROWS)
    model.pop()
    assert_eager_bits(model, ROWS)
    model.layers[1] = layers.Dense(4)  # behind the model's back
    model.layers[1].ensure_built((70,))
    assert model._inference.call(ROWS) is None
    assert model(ROWS).shape == (75, 4)


def test_a_new_thread_count_is_recorded_anew():
    model = mlp()
    for threads in (1, 2, 3, 1):
        fastnn.set_num_threads(threads)
        assert_eager_bits(model, ROWS)


def test_outputs_belong_to_the_caller():
    model = mlp()
    a, b = replayed(model, ROWS[:2]), model(ROWS[:2])
    assert not np.shares_memory(a, b) and a.flags.owndata and a.flags.writeable
    b[:] = 0
    x = ROWS[:2].copy()
    c = model(x)
    x[:] = 0
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(a, model(ROWS[:2]))


def test_the_input_is_not_kept():
    model = mlp()
    x = ROWS[:2].copy()
    model(x)
    before = np.copy(model(x))
    x[:] = np.nan
    del x
    np.testing.assert_array_equal(model(ROWS[:2]), before)


def test_the_input_may_be_a_weight_of_the_model():
    model = models.Sequential([layers.Input((6,)), layers.Dense(6), layers.Dense(6)])
    x = model.layers[0].kernel.value
    assert_eager_bits(model, x)
    assert_eager_bits(model, np.ones((6, 6), np.float32))


def test_capture_can_be_turned_off():
    model = mlp(capture=False)
    model(ROWS)
    assert model._inference.call(ROWS) is None
    captured = mlp(capture=True)
    replayed(captured, ROWS)
    captured.compile("adam", "mse", capture=False)
    captured(ROWS)
    assert captured._inference.call(ROWS) is None


@pytest.mark.parametrize("stack", [[layers.Flatten], [Halve, layers.Flatten], [lambda: layers.Dropout(0.5)]])
def test_models_that_are_not_replayed(stack):
    model = models.Sequential([layers.Input((8, 8, 4)), *[make() for make in stack]])
    for _ in range(3):
        y = model(IMAGES)
        np.testing.assert_array_equal(y, model.forward(IMAGES))
        assert model._inference.call(IMAGES) is None
        assert not np.shares_memory(y, IMAGES) and not np.shares_memory(y, model(IMAGES))


def test_other_input_is_converted():
    model = mlp()
    expected = replayed(model, ROWS)
    for x in (ROWS.astype(np.float64), ROWS.tolist(), np.repeat(ROWS, 2, axis=1)[:, ::2], ROWS.astype(">f4")):
        assert model._inference.call(x) is None
        np.testing.assert_array_equal(model(x), expected)
        np.testing.assert_array_equal(model.predict_on_batch(x), expected)
    unaligned = np.frombuffer(b"1" + ROWS.tobytes(), np.float32, ROWS.size, 1).reshape(ROWS.shape)
    np.testing.assert_array_equal(model(unaligned), expected)
    locked = ROWS.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(replayed(model, locked), expected)


def test_bad_input_is_named_after_a_recording_too():
    model = mlp()
    replayed(model, ROWS[:1])
    with pytest.raises(ValueError, match=r"predict_on_batch: x must be of shape \(n, 256\), got \(1, 255\)"):
        model.predict_on_batch(ROWS[:1, :255].copy())
    with pytest.raises(
        ValueError, match=r"Sequential.__call__: x must be of shape \(n, 256\), got \(256,\).*x\[None\]"
    ):
        model(ROWS[0])
    with pytest.raises(TypeError, match="predict_on_batch: x must be an array of numbers, got dtype object"):
        model.predict_on_batch(np.array([[None] * 256]))
    with pytest.raises(ValueError, match="x must be an array with at least one sample"):
        model(ROWS[:0])


def test_many_batch_sizes():
    model = mlp()
    for size in range(1, 76):
        model(ROWS[:size])
    assert len(model._inference._tapes) < 70
    for size in (1, 75, 30):
        assert_eager_bits(model, ROWS[:size])


def test_copies_have_tapes_of_their_own():
    model = mlp()
    before = replayed(model, ROWS)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(replayed(copied, ROWS), before)
        copied.set_weights([w * 0 for w in copied.get_weights()])
        np.testing.assert_allclose(copied(ROWS), 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(model(ROWS), before)


def test_many_callers_get_what_one_gets():
    fastnn.set_num_threads(2)
    model = mlp()
    expected = {size: replayed(model, ROWS[-size:]) for size in (1, 3, 75)}
    errors = []

    def call(size):
        try:
            for _ in range(200):
                np.testing.assert_array_equal(model(ROWS[-size:]), expected[size])
        except BaseException as error:
            errors.append(error)

    callers = [threading.Thread(target=call, args=(size,)) for size in (1, 3, 75, 3, 1)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not errors


def test_calls_while_another_model_trains():
    fastnn.set_num_threads(2)
    model, trained, alone = mlp(), mlp(metrics=["accuracy"]), mlp(metrics=["accuracy"])
    expected = replayed(model, ROWS[:1])
    fastnn.set_seed(1)
    alone.fit(ROWS, LABELS, epochs=40, verbose=0)
    fastnn.set_seed(1)
    training = threading.Thread(target=lambda: trained.fit(ROWS, LABELS, epochs=40, verbose=0))
    training.start()
    while training.is_alive():
        np.testing.assert_array_equal(model(ROWS[:1]), expected)
    training.join()
    for one, other in zip(alone.get_weights(), trained.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork(run_python):
    script = """
import os, signal
import numpy as np, fastnn
from fastnn import layers, models
fastnn.set_num_threads(2)
model = models.Sequential([layers.Input((256,)), layers.Dense(300, activation="relu"), layers.Dense(3)])
x = np.random.default_rng(0).standard_normal((5, 256)).astype(np.float32)
expected = model(x)
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        os._exit(0 if all((model(x) == expected).all() for _ in range(20)) else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert (model(x) == expected).all()
print("fine")
"""
    result = run_python("-W", "ignore::DeprecationWarning", "-c", script, timeout=90)
    assert result.stdout.strip() == "fine", result.stderr
