"""A small data set and a small classifier of it, for the tests of models."""

import numpy as np

import fastnn
from fastnn import layers, models, optimizers

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((50, 6)).astype(np.float32)
Y = (X @ GENERATOR.standard_normal((6, 3))).argmax(axis=1)


def mlp(**options):
    """A small compiled classifier of X, the same one each time."""
    fastnn.set_seed(4)
    model = models.Sequential([layers.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(3, "softmax")])
    defaults = {"optimizer": optimizers.SGD(0.5), "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(**{**defaults, **options})
    return model


def same_weights(a, b, **tolerance):
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, **tolerance)


def softmax_loss(model, x, y, weights=1.0):
    p = model.predict(x, verbose=0).astype(np.float64)
    return (weights * -np.log(p[np.arange(len(y)), y])).mean()
