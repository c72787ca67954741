"""fastnn: training as a user writes it, kernels as `fastnn.functional` calls them."""

from time import perf_counter

import our_optimizers
import problems
from protocol import serve

import fastnn
from fastnn import _backend, callbacks, layers, models


class Stopwatch(callbacks.Callback):
    """The clock at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(perf_counter())


def train(stack, x, y, batch):
    """Seconds of an epoch in the middle of `fit`: its start, with the checks of the data, doesn't count."""
    model = models.Sequential(stack)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])

    def epoch():
        watch = Stopwatch()
        model.fit(x, y, batch_size=batch, epochs=3, verbose=0, callbacks=[watch])
        return (watch.ends[-1] - watch.ends[0]) / 2

    return epoch


def mlp_layers(sizes):
    stack = [layers.Dense(units, activation="relu") for units in sizes[1:-1]]
    return [layers.Input(sizes[:1]), *stack, layers.Dense(sizes[-1], activation="softmax")]


def cnn_layers():
    return [
        layers.Conv2D(32, 3, padding="same", activation="relu", input_shape=(28, 28, 1)),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


def mlp(variant, batch, samples, sizes):
    return train(mlp_layers(sizes), *problems.mlp_data(samples, sizes[0], sizes[-1]), batch)


def cnn(variant, batch, samples):
    return train(cnn_layers(), *problems.cnn_data(samples), batch)


def predict_mlp(variant, sizes):
    model, (x, _) = models.Sequential(mlp_layers(sizes)), problems.mlp_data(1, sizes[0], sizes[-1])
    return lambda: model.predict_on_batch(x) is None


def predict_cnn(variant, batch, samples):
    model, (x, _) = models.Sequential(cnn_layers()), problems.cnn_data(samples)
    return lambda: model.predict(x, batch_size=batch, verbose=0) is None


def gemm(variant, m, k, n, transpose_a, transpose_b):
    a, b = map(aligned, problems.gemm_data(m, k, n, transpose_a, transpose_b))
    c = _backend.empty((m, n))
    options = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    return lambda: _backend.kernels.gemm(a, b, c, **options)


def conv(variant, direction, n, size, channels, filters, kernel):
    x, w, dy = map(aligned, problems.conv_data(n, size, channels, filters, kernel))
    place = {"strides": (1, 1), "padding": (kernel // 2,) * 4, "dilations": (1, 1), "groups": 1}
    linear = {"activation": _backend.kernels.ACTIVATIONS["linear"], "alpha": 0.0}
    if direction == "forward":
        y = _backend.empty(dy.shape)
        return lambda: _backend.kernels.conv2d_forward(x, w, None, y, None, **place, **linear)
    dx = _backend.empty(x.shape) if direction == "dx" else None
    dw = _backend.empty(w.shape) if direction == "dw" else None
    tail = (None, dy, dy, dw, None, dx)
    return lambda: _backend.kernels.conv2d_backward(x, w, *tail, **place, **linear, accumulate=False)


def aligned(array):
    copy = _backend.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


TASKS = {
    "mlp": (["fit"], mlp),
    "cnn": (["fit"], cnn),
    "predict_mlp": (["predict_on_batch"], predict_mlp),
    "predict_cnn": (["predict"], predict_cnn),
    "gemm": (["kernel"], gemm),
    "conv": (["kernel"], conv),
    **our_optimizers.TASKS,
}

if __name__ == "__main__":
    serve(f"fastnn {fastnn.__version__}", TASKS)
