"""Models trained by the CUDA kernels, which the emulator runs on the CPU; a stand-in for CuPy captures the graphs. With
`pytest -m gpu` they run on a GPU, where there is one.

What Python does around them is tested with the CPU's kernels, to the bit: test_gpu_training.py.
"""

import numpy as np
import pytest
from emulator import cupy_standin, rows

import fastnn
from fastnn import _devices, layers, metrics, models, optimizers, regularizers

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True, params=[0, 1, pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request, monkeypatch):
    """A GPU that the emulator plays, with its threads in two orders, or a real one."""
    if request.param == "real":
        assert not _devices.missing()
        return _devices.gpu()
    monkeypatch.setenv("CUEMU_SEED", str(request.param))
    gpu = _devices.Gpu(cupy_standin.Kernels(rows.load("plain")), cupy_standin)
    monkeypatch.setattr(_devices, "missing", lambda: "")
    monkeypatch.setattr(_devices, "_gpu", gpu)
    monkeypatch.setattr(fastnn.random, "_dropout_state_on_gpu", None)
    return gpu


def mlp():
    return [
        layers.Input((6,)),
        layers.Dense(8, activation="relu", kernel_regularizer=regularizers.L2(1e-2)),
        layers.Dropout(0.2, seed=3),
        layers.Dense(3, activation="softmax"),
    ]


def cnn():
    return [
        layers.Input((6, 6, 2)),
        layers.Conv2D(4, 3, activation="relu", padding="same"),
        layers.MaxPooling2D(),
        layers.Conv2D(4, 2, activation="tanh"),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]


def normalized_cnn():
    return [
        layers.Input((6, 6, 2)),
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("gelu"),
        layers.AveragePooling2D(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ]


def trained(make, device, capture=True, optimizer=lambda: optimizers.Adam(0.01)):
    """What a model gives after a few epochs."""
    fastnn.set_seed(1)
    model = models.Sequential(make())
    generator = np.random.default_rng(0)
    x = generator.normal(size=(22, *model._sample_shape)).astype(np.float32)
    y = generator.integers(0, 3, 22)
    watched = ["accuracy", metrics.SparseTopKCategoricalAccuracy(2)]
    model.compile(optimizer(), "sparse_categorical_crossentropy", metrics=watched, device=device, capture=capture)
    history = model.fit(x, y, batch_size=6, epochs=3, verbose=0, validation_split=0.2).history
    numbers = [*history.values(), model.evaluate(x, y, verbose=0), model.predict(x, verbose=0), *model.get_weights()]
    return [np.asarray(entry) for entry in numbers]


OPTIMIZERS = {
    "adam": lambda: optimizers.Adam(0.01),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=1.0),
    "skipping": lambda: optimizers.RMSprop(0.01, skip_nonfinite=True),
}


def check_close(given, wanted):
    assert len(given) == len(wanted)
    for one, other in zip(given, wanted):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("make", [mlp, cnn, normalized_cnn])
def test_as_on_the_cpu(make):
    check_close(trained(make, "cuda"), trained(make, "cpu"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers(optimizer):
    check_close(trained(mlp, "cuda", optimizer=optimizer), trained(mlp, "cpu", optimizer=optimizer))


@pytest.mark.parametrize("make", [mlp, cnn])
def test_graphs_give_the_bits_of_single_launches(make):
    for one, other in zip(trained(make, "cuda"), trained(make, "cuda", capture=False)):
        assert one.tobytes() == other.tobytes()


def test_a_loss_that_is_not_finite_changes_nothing():
    fastnn.set_seed(1)
    model = models.Sequential(mlp())
    model.compile("adam", "sparse_categorical_crossentropy", device="cuda")
    x, y = np.ones((12, 6), np.float32), np.arange(12) % 3
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    before, count = model.get_weights(), model.optimizer.iterations
    x[0, 2] = np.inf
    with pytest.raises(FloatingPointError, match="loss must be finite"), pytest.warns(UserWarning, match="finite"):
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert model.optimizer.iterations == count


def test_a_loader_of_images_and_predictions_in_batches():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 256, (22, 6, 6, 2)).astype(np.uint8), generator.integers(0, 3, 22)

    def use(device):
        fastnn.set_seed(1)
        model = models.Sequential(cnn())
        model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", device=device)
        augment = fastnn.data.Augment(padding=1, flip="horizontal")
        loader = fastnn.data.Loader(x, y, batch_size=6, shuffle=True, seed=4, scale=1 / 255, mean=0.5, augment=augment)
        losses = model.fit(loader, epochs=3, verbose=0).history["loss"]
        return [np.asarray(losses), model.predict(x / 255 - 0.5, batch_size=4, verbose=0), *model.get_weights()]

    check_close(use("cuda"), use("cpu"))
