"""The Keras example of every tutorial runs with only its import line changed."""

import numpy as np

import fastnn
from fastnn import layers, models


def test_the_example_as_it_stands():
    fastnn.set_seed(0)
    generator = np.random.default_rng(0)
    x_train = generator.standard_normal((500, 1000))
    y_train = x_train[:, :10].argmax(axis=1)

    model = models.Sequential()
    model.add(layers.Dense(128, activation="relu", input_shape=(1000,)))
    model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x_train, y_train, batch_size=32, epochs=10, validation_split=0.1)

    assert sorted(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 10 for values in history.history.values())
    assert history.history["loss"][-1] < 0.2 * history.history["loss"][0]
    assert history.history["accuracy"][-1] > 0.95
    assert model.count_params() == 137_034
