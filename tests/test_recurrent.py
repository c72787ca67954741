"""Recurrent layers: in models, with any number of threads, and beside torch's."""

import numpy as np
import pytest
import torch
from tolerances import difference

import fastnn
from fastnn import layers, models, optimizers

RNG = np.random.default_rng(8)
X = RNG.standard_normal((90, 6, 3)).astype(np.float32)
Y = (X[:, 0, 0] > 0).astype(np.int64)  # to be remembered until the end
KINDS = {"SimpleRNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}


@pytest.fixture(autouse=True)
def keep_threads():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def model(kind, **options):
    fastnn.set_seed(3)
    made = models.Sequential([layers.Input(X.shape[1:]), getattr(layers, kind)(12, **options)])
    made.add(layers.Dense(2, activation="softmax"))
    made.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_they_remember(kind):
    history = model(kind).fit(X, Y, 10, epochs=60, verbose=0)
    assert history.history["accuracy"][-1] > 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [False, True])
def test_outputs_are_the_same_for_any_number_of_threads(kind, sequences):
    fastnn.set_seed(3)
    layer, results = getattr(layers, kind)(33, return_sequences=sequences), []
    for threads in (1, 2, 3):
        fastnn.set_num_threads(threads)
        for n in (1, 5, 90):
            results.append((n, layer(X[:n]), layer(X[:n], training=True)))
    for n, *outputs in results:
        for y in outputs:
            np.testing.assert_array_equal(y, results[2][1][:n])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind, tmp_path):
    made = model(kind, go_backwards=True)
    made.fit(X, Y, epochs=1, verbose=0)
    made.save(tmp_path / "a")
    copy = models.load_model(tmp_path / "a")
    assert copy.get_config() == made.get_config()
    np.testing.assert_array_equal(copy(X), made(X))
    assert copy.train_on_batch(X, Y) == made.train_on_batch(X, Y)


def test_the_forget_gate_begins_open():
    for given, expected in ((True, [0, 1, 0, 0]), (False, [0, 0, 0, 0])):
        layer = layers.LSTM(3, unit_forget_bias=given)
        layer.ensure_built((2, 2))
        np.testing.assert_array_equal(layer.get_weights()[2].reshape(4, 3), np.repeat(expected, 3).reshape(4, 3))


def test_shapes():
    for kind in KINDS:
        for sequences, shape in ((False, (12,)), (True, (6, 12))):
            layer = getattr(layers, kind)(12, return_sequences=sequences)
            assert layer(X).shape == (90, *shape) and layer.output_shape == shape
    assert [p.name for p in layer.parameters] == ["gru/kernel", "gru/recurrent_kernel", "gru/bias"]
    assert layers.SimpleRNN(3).name == "simple_rnn" and layers.LSTM(3).name == "lstm"


def blocks_of_torch(kind, weight):
    """Our columns in torch's order of gates, as rows."""
    parts = np.split(weight, {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind], axis=-1)
    order = (1, 0, 2) if kind == "GRU" else range(len(parts))
    return np.concatenate([parts[i] for i in order], axis=-1).T


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_torch(kind):
    fastnn.set_seed(3)
    layer = getattr(layers, kind)(20, return_sequences=True, bias_initializer="normal")
    layer.ensure_built(X.shape[1:])
    theirs = KINDS[kind](3, 20, batch_first=True, dtype=torch.float64)
    kernel, recurrent, bias = (w.astype(np.float64) for w in layer.get_weights())
    biases = bias if kind == "GRU" else np.stack([bias, 0 * bias])
    values = {"weight_ih_l0": kernel, "weight_hh_l0": recurrent, "bias_ih_l0": biases[0], "bias_hh_l0": biases[1]}
    theirs.load_state_dict({name: torch.tensor(blocks_of_torch(kind, value)) for name, value in values.items()})
    dy = RNG.standard_normal((90, 6, 20)).astype(np.float32)
    x = torch.tensor(X.astype(np.float64), requires_grad=True)
    expected = theirs(x)[0]
    (expected * torch.tensor(dy)).sum().backward()
    assert not difference(layer.forward(X, True), expected.detach().numpy(), "sum")
    assert not difference(layer.backward(dy.copy(), True, False), x.grad.numpy(), "sum")
    for parameter, name in zip(layer.parameters, ("weight_ih_l0", "weight_hh_l0")):
        gradient = blocks_of_torch(kind, parameter.grad.astype(np.float64))
        assert not difference(gradient, getattr(theirs, name).grad.numpy(), "sum"), name
