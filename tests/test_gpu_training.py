"""Models on a GPU, with stand-ins for CuPy and for the extension: the bits that they give on the CPU."""

import numpy as np
import pytest
from emulator import cupy_standin

import fastnn
from fastnn import _devices, layers, metrics, models, optimizers, regularizers, schedules
from fastnn.models import forward_graphs
from fastnn.models.batches import Batch
from fastnn.models.loader_batches import LoaderBatches

WAYS = {"graphs": {"device": "cuda"}, "eager": {"device": "cuda", "capture": False}}


@pytest.fixture(autouse=True)
def gpu(stand_in_gpu):
    """A GPU that isn't one."""
    return stand_in_gpu


def mlp():
    return models.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(16, activation="relu", kernel_regularizer=regularizers.L1L2(1e-3, 1e-2)),
            layers.Dropout(0.2),
            layers.Dropout(0.1, seed=5),
            layers.Dense(3, activation="softmax"),
        ]
    )


def cnn():
    return models.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(4, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.BatchNormalization(),
            layers.Conv2D(4, 3, activation="gelu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def data(make, n=50):
    generator = np.random.default_rng(0)
    shape = (8,) if make is mlp else (8, 8, 2)
    return generator.normal(size=(n, *shape)).astype(np.float32), generator.integers(0, 3, n)


def compiled(make, optimizer="adam", metric_list=("accuracy",), **way):
    fastnn.set_seed(1)
    model = make()
    if isinstance(optimizer, type):
        optimizer = optimizer()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=list(metric_list), **way)
    return model


def check_everywhere(use, make, options=dict):
    """use(model) gives the same on the CPU, on the GPU by graphs and there kernel by kernel."""
    wanted = flat(use(compiled(make, device="cpu", **options())))
    for way in WAYS.values():
        assert flat(use(compiled(make, **way, **options()))) == wanted


def flat(value):
    """Arrays as bytes, so that == compares."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: flat(entry) for key, entry in value.items()}
    return [flat(entry) for entry in value] if isinstance(value, (list, tuple)) else value


OPTIMIZERS = {
    "adam": dict,
    "schedule": lambda: {"optimizer": optimizers.SGD(schedules.exponential(0.1, 0.5, 3), momentum=0.9)},
    "clipped": lambda: {"optimizer": optimizers.RMSprop(0.01, global_clipnorm=0.5)},
    "skipping": lambda: {"optimizer": optimizers.Adam(0.01, skip_nonfinite=True)},
    "two parts": lambda: {"optimizer": optimizers.Muon(0.01, global_clipnorm=1.0)},
    "accumulating": lambda: {"accumulate_steps": 3},
    "many metrics": lambda: {
        "metric_list":
            ["accuracy", metrics.AUC(), metrics.Precision([0.2, 0.6]), metrics.SparseTopKCategoricalAccuracy(2),
             metrics.Recall(0.3, class_id=1)]
    },
}  # fmt: skip


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_fit_evaluate_predict(make, options):
    x, y = data(make)

    def use(model):
        history = model.fit(x, y, batch_size=16, epochs=3, verbose=0, validation_split=0.2).history
        tested = model.evaluate(x, y, verbose=0, return_dict=True)
        return history, tested, model.predict(x, verbose=0), model.get_weights(), model.optimizer.iterations

    check_everywhere(use, make, options)


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_on_an_iterable(weighted):
    x, y = data(mlp)
    weights = np.linspace(0.5, 2, len(x)).astype(np.float32)
    batches = [(x[i : i + 12], y[i : i + 12], *([weights[i : i + 12]] if weighted else [])) for i in range(0, 50, 12)]

    def use(model):
        return model.fit(batches, epochs=3, verbose=0).history, model.evaluate(batches, verbose=0), model.get_weights()

    check_everywhere(use, mlp)


def test_fit_on_a_loader_and_with_steps():
    x, y = data(cnn)

    def use(model):
        loader = fastnn.data.Loader(x, y, batch_size=8, shuffle=True)
        one = model.fit(loader, epochs=2, verbose=0, validation_data=(x, y)).history
        return one, model.fit(x, y, steps_per_epoch=5, epochs=2, verbose=0).history

    check_everywhere(use, cnn)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_arrays_on_the_gpu(gpu, way, dtype):
    """The bits that the same arrays on the CPU give; x isn't copied there."""
    x, y = data(cnn)
    x = (x * 20 + 100).astype(dtype)
    weights = np.linspace(0.5, 2, len(x)).astype(np.float32)
    x_there, y_there, weights_there = (gpu.xp.asarray(array) for array in (x, y, weights))
    results = []
    for xs, ys, ws in ((x, y, weights), (x_there, y_there, weights_there), (x_there, y, weights)):
        model = compiled(cnn, **way)
        one = model.fit(xs, ys, sample_weight=ws, batch_size=16, epochs=2, verbose=0, validation_split=0.2).history
        batches = [(xs[i : i + 12], ys[i : i + 12]) for i in range(0, 50, 12)]
        two = model.fit(batches, epochs=2, verbose=0, validation_data=(xs, ys)).history
        single = model.train_on_batch(xs[:7], ys[:7]), model.test_on_batch(xs[:7], ys[:7])
        outputs = model.predict(xs, verbose=0), model.predict_on_batch(xs[:3])
        results.append(flat([one, two, single, outputs, model.evaluate(xs, ys, verbose=0), model.get_weights()]))
    assert results[0] == results[1] == results[2]


def test_a_data_set_on_the_gpu_stays_there(gpu, monkeypatch):
    x, y = data(mlp)
    there, model = gpu.xp.asarray(x), compiled(mlp, device="cuda")
    monkeypatch.setattr(type(there), "get", lambda array: array._values.copy() if array.shape != x.shape else 1 / 0)
    seen, place = [], Batch.placed
    monkeypatch.setattr(Batch, "placed", lambda batch: seen.append(batch.x) or place(batch))
    model.fit(there, y, verbose=0)
    assert seen[0].__cuda_array_interface__["data"] == there.__cuda_array_interface__["data"]


def test_what_is_wrong_with_arrays_on_the_gpu(gpu):
    x, y = data(mlp)
    there, model, on_cpu = gpu.xp.asarray(x), compiled(mlp, device="cuda"), compiled(mlp, device="cpu")
    for name, use in {
        "fit: x": lambda: on_cpu.fit(there, y),
        "fit: y": lambda: on_cpu.fit(x, gpu.xp.asarray(y)),
        "fit: sample_weight": lambda: on_cpu.fit(x, y, sample_weight=gpu.xp.asarray(np.ones(50))),
        "predict: x": lambda: on_cpu.predict(there),
        "evaluate: x": lambda: on_cpu.evaluate(there, y),
        "train_on_batch: x": lambda: on_cpu.train_on_batch(there, y),
    }.items():
        with pytest.raises(
            ValueError, match=f"^{name} must be on the CPU, where the model is, got an array on a GPU. Co"
        ):
            use()
    with pytest.raises(ValueError, match=r"^fit: x must be of shape \(n, 8\), got \(50, 2, 4\)"):
        model.fit(there.reshape(50, 2, 4), y)
    with pytest.raises(ValueError, match="^fit: y must be of as many samples as x, 50, got 49"):
        model.fit(there, y[:49])
    bad = x.copy()
    bad[3, 5] = np.nan
    with pytest.warns(UserWarning, match=r"^fit: x should be finite, got nan at index \(3, 5\)"):
        with pytest.raises(FloatingPointError, match="fit: loss must be finite"):
            model.fit(gpu.xp.asarray(bad), y, verbose=0)


def test_ids_on_the_gpu_are_checked(gpu):
    ids, y = np.arange(20).reshape(10, 2) % 9, np.arange(10) % 3

    def stack():
        return models.Sequential([layers.Input((2,)), layers.Embedding(9, 4), layers.Flatten(), layers.Dense(3)])

    def use(model, x):
        return model.fit(x, y, verbose=0).history, model.predict(x, verbose=0)

    results = [use(compiled(stack, device="cuda"), x) for x in (ids, gpu.xp.asarray(ids))]
    assert flat(results[0]) == flat(results[1])
    with pytest.raises(ValueError, match=r"fit: x must be ids, whole numbers from 0 to 8, got 9 at index \(0, 1\)"):
        compiled(stack, device="cuda").fit(gpu.xp.asarray(ids + 8), y)


METRICS = {
    "labels": [metrics.SparseCategoricalAccuracy, lambda: metrics.SparseTopKCategoricalAccuracy(2), metrics.AUC,
               lambda: metrics.AUC(curve="PR"), metrics.Precision, lambda: metrics.Precision([0.2, 0.5], class_id=2),
               metrics.Recall, lambda: metrics.Recall(0.3, class_id=0)],
    "dense": [metrics.CategoricalAccuracy, metrics.BinaryAccuracy, lambda: metrics.TopKCategoricalAccuracy(2),
              metrics.MeanAbsoluteError, metrics.MeanSquaredError, metrics.RootMeanSquaredError],
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("form", "make_metric"), [(form, make) for form in METRICS for make in METRICS[form]])
def test_each_metric(form, make_metric, weighted):
    x, y = data(mlp)
    y = np.eye(3, dtype=np.float32)[y] if form == "dense" else y
    loss = "categorical_crossentropy" if form == "dense" else "sparse_categorical_crossentropy"
    weights = np.linspace(0.5, 2, len(x)).astype(np.float32)

    def use(model):
        way = {"device": model.device, "capture": model.capture}
        model.compile("adam", loss, **{"weighted_metrics" if weighted else "metrics": [make_metric()]}, **way)
        history = model.fit(x, y, batch_size=8, sample_weight=weights, epochs=2, verbose=0).history
        return history, model.evaluate(x, y, batch_size=8, sample_weight=weights, verbose=0)

    check_everywhere(use, mlp)


@pytest.mark.filterwarnings("ignore:(fit|evaluate). .*compute outside")
@pytest.mark.parametrize("kind", ["metrics", "weighted_metrics"])
def test_a_metric_in_python(kind):
    """It sees NumPy's arrays, whatever the device."""
    x, y = data(mlp)
    weights = np.linspace(0.5, 2, len(x)).astype(np.float32)

    def margin(y_true, y_pred):
        assert type(y_true) is type(y_pred) is np.ndarray
        return y_pred.max(axis=1) - y_pred[np.arange(len(y_true)), y_true]

    def use(model):
        way = {"device": model.device, "capture": model.capture}
        model.compile("adam", "sparse_categorical_crossentropy", **{kind: [margin]}, **way)
        history = model.fit(x, y, batch_size=8, sample_weight=weights, epochs=2, verbose=0).history
        return history, model.evaluate(x, y, batch_size=8, sample_weight=weights, verbose=0)

    check_everywhere(use, mlp)


def test_every_metric_is_tested():
    made = {type(make()) for makes in METRICS.values() for make in makes}
    assert made == set(metrics.KNOWN.values())


def test_weights_of_samples_and_classes():
    x, y = data(mlp)

    def use(model):
        model.fit(x, y, sample_weight=np.arange(50) / 20, verbose=0)
        return model.fit(x, y, class_weight={0: 0.5, 2: 3.0}, epochs=2, verbose=0).history

    check_everywhere(use, mlp)


def test_single_batches():
    x, y = data(mlp)

    def use(model):
        trained = [model.train_on_batch(x[:n], y[:n]) for n in (7, 7, 7, 20, 7, 20)]
        tested = [model.test_on_batch(x[:n], y[:n]) for n in (9, 9, 9)]
        outputs = [model.predict_on_batch(x[:n]) for n in (3, 3, 1)]
        return trained, tested, outputs, model(x[:4]), model(x[:4], training=True)

    check_everywhere(use, mlp)


def test_callbacks_see_each_batch():
    x, y = data(mlp)

    class Losses(fastnn.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(dict(logs))

    def use(model):
        seen = Losses()
        seen.seen = []
        model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[seen])
        return seen.seen

    check_everywhere(use, mlp)


def test_save_and_load(tmp_path):
    x, y = data(cnn)

    def use(model):
        model.fit(x, y, epochs=1, verbose=0)
        path = tmp_path / f"{model.device}.safetensors"
        model.save(path)
        loaded = models.load_model(path)
        assert loaded.device == "cpu" and loaded.optimizer.iterations == model.optimizer.iterations
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
        again = models.load_model(path, device=model.device)
        assert again.device == model.device
        going_on = again.fit(x, y, verbose=0).history, again.optimizer.iterations
        model.set_weights([w + 1 for w in model.get_weights()])
        model.load_weights(path)
        return going_on, model.get_weights(), loaded.fit(x, y, verbose=0).history, path.read_bytes()[:8]

    check_everywhere(use, cnn)


def test_a_model_that_is_not_compiled_is_on_no_gpu(tmp_path):
    cnn().save(tmp_path / "net.safetensors")
    with pytest.raises(
        ValueError, match="^load_model: device must be 'auto' or 'cpu' for a model that isn't compiled, "
    ):
        models.load_model(tmp_path / "net.safetensors", device="cuda")


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize("stream", [False, True])
def test_a_loss_that_is_not_finite_changes_nothing(skip, capture, stream):
    x, y = data(mlp, 64)

    def use(model):
        model.fit(x, y, batch_size=8, shuffle=False, epochs=3, verbose=0)  # many batches in a call
        bad = x.copy()
        bad[20] = np.nan
        given = [(bad[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)] if stream else bad
        arguments = {} if stream else {"y": y, "batch_size": 8, "shuffle": False}
        with pytest.raises(FloatingPointError, match=r"fit: loss must be finite, got nan at epoch 1, batch 2 .*is nan"):
            model.fit(given, **arguments, verbose=0)
        after = model.get_weights(), model.optimizer.iterations, model.optimizer.skipped_steps
        return *after, model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history["loss"]

    with pytest.warns(UserWarning, match="should be finite") if not stream else _nothing():
        check = [use(compiled(mlp, optimizers.Adam(0.01, skip_nonfinite=skip), device=device, capture=capture))
                 for device in ("cpu", "cuda")]  # fmt: skip
    assert flat(check[1][:3]) == flat(check[0][:3])


class _nothing:  # noqa: N801
    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass


def test_graphs_are_launched(gpu, monkeypatch):
    """Of five steps two run as they are, the first of which allocates; then one is captured and three are launched."""
    x, y = data(mlp, 80)
    launched, captured = [], []
    launch, capture = _devices.Graph.launch, _devices.Gpu.capture
    monkeypatch.setattr(_devices.Graph, "launch", lambda self: (launched.append(self), launch(self)))
    monkeypatch.setattr(_devices.Gpu, "capture", lambda self, work: (captured.append(work), capture(self, work))[1])
    compiled(mlp, device="cuda").fit(x, y, batch_size=16, verbose=0)
    assert (len(captured), len(launched)) == (1, 3)
    compiled(mlp, device="cuda", capture=False).fit(x, y, batch_size=16, verbose=0)
    assert (len(captured), len(launched)) == (1, 3)


def test_predictions_are_launched(gpu, monkeypatch):
    """Of five batches of a size two run as they are; then one graph is captured, for all that come."""
    x, _ = data(mlp, 80)
    launched, captured = [], []
    launch, capture = _devices.Graph.launch, _devices.Gpu.capture
    monkeypatch.setattr(_devices.Graph, "launch", lambda self: (launched.append(self), launch(self)))
    monkeypatch.setattr(_devices.Gpu, "capture", lambda self, work: (captured.append(work), capture(self, work))[1])
    model, eager = compiled(mlp, device="cuda"), compiled(mlp, device="cuda", capture=False)
    wanted = flat(eager.predict(x, batch_size=16, verbose=0))
    assert not captured
    assert flat(model.predict(x, batch_size=16, verbose=0)) == wanted
    assert (len(captured), len(launched)) == (1, 3)
    monkeypatch.setattr(forward_graphs, "_PIECE", 2 * 16 * (8 + 3) * 4)
    assert flat(model.predict(gpu.xp.asarray(x), batch_size=16, verbose=0)) == wanted
    assert (len(captured), len(launched)) == (1, 8)
    assert flat(model.predict_on_batch(x[:16])) == flat(eager.predict_on_batch(x[:16]))
    assert len(launched) == 9


def test_predictions_follow_the_weights():
    """Graphs read what training, set_weights and compile have left."""
    x, y = data(cnn, 80)

    def use(model):
        outputs = [model.predict(x, batch_size=16, verbose=0)]
        model.fit(x, y, verbose=0)
        outputs.append(model.predict(x, batch_size=16, verbose=0))
        model.set_weights([w * 0.5 for w in model.get_weights()])
        outputs += [model.predict(x, batch_size=size, verbose=0) for size in (16, 80, 16)]
        model.compile("sgd", "sparse_categorical_crossentropy", device=model.device, capture=model.capture)
        model.fit(x, y, verbose=0)
        return [*outputs, model.predict(x, batch_size=16, verbose=0)]

    check_everywhere(use, cnn)


def test_from_device_to_device():
    x, y = data(mlp)
    model = compiled(mlp, device="cuda")
    model.fit(x, y, verbose=0)
    weights = model.get_weights()
    assert all(type(w) is np.ndarray for w in weights) and type(model.predict(x, verbose=0)) is np.ndarray
    model.compile("sgd", "sparse_categorical_crossentropy", device="cpu")
    assert type(model.layers[0].kernel.value) is np.ndarray
    assert flat(model.get_weights()) == flat(weights)
    model.fit(x, y, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy", device="cuda")
    assert type(model.layers[0].kernel.value) is cupy_standin.ndarray
    model.fit(x, y, verbose=0)


def test_two_models_on_two_devices():
    """A model on the CPU that a callback asks, while one on the GPU trains, is on the CPU."""
    x, y = data(mlp)
    judge, seen = compiled(mlp, device="cpu"), []
    wanted = judge.predict(x, verbose=0)
    asked = fastnn.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(judge.predict(x, verbose=0)))
    compiled(mlp, device="cuda").fit(x, y, verbose=0, callbacks=[asked])
    assert flat(seen) == [flat(wanted)]
    assert _devices.current() is None


@pytest.mark.parametrize("weighted", [False, True])
def test_sequences(weighted):
    generator = np.random.default_rng(0)
    ids, y = generator.integers(0, 9, (20, 5)), generator.integers(0, 4, (20, 5))
    weights = generator.uniform(size=20) if weighted else None

    def stack():
        recurrent = layers.LSTM(6, return_sequences=True)
        return models.Sequential(
            [
                layers.Input((5,)),
                layers.Embedding(9, 4),
                recurrent,
                layers.LayerNormalization(),
                layers.Dense(4, "softmax"),
            ]
        )

    def use(model):
        return model.fit(ids, y, sample_weight=weights, batch_size=6, epochs=3, verbose=0).history, model.predict(ids)

    check_everywhere(use, stack)


@pytest.mark.parametrize("room", [1 << 30, 0])
@pytest.mark.parametrize("options", [{"shuffle": True}, {"drop_last": True}, {"shuffle": True, "augment": None}])
def test_a_loader_of_images(gpu, monkeypatch, options, room):
    """Batches are made on the GPU where it has room for the data, and are those of the CPU either way."""
    monkeypatch.setattr(gpu.xp.cuda.runtime, "memGetInfo", lambda: (room, room))
    made = []
    gather = LoaderBatches.gather
    monkeypatch.setattr(LoaderBatches, "gather", lambda self, index: made.append(index) or gather(self, index))
    x, y = data(cnn)
    x, weights = (x * 20 + 100).astype(np.uint8), np.linspace(0.5, 2, len(x))
    augment = fastnn.data.Augment(padding=2, flip="horizontal_and_vertical")

    def use(model):
        loader = fastnn.data.Loader(
            x,
            y,
            weights,
            batch_size=12,
            seed=2**63 + 5,
            scale=1 / 255,
            mean=[0.4, 0.5],
            **{"augment": augment, **options},
        )
        model.fit(loader, epochs=0, verbose=0)
        one = model.fit(loader, epochs=3, verbose=0, validation_data=loader).history
        return one, model.fit(loader, epochs=2, initial_epoch=1, verbose=0).history, loader.epoch, model.get_weights()

    check_everywhere(use, cnn)
    assert bool(made) == bool(room)


def test_augmented_images():
    x, y = data(cnn)

    def stack():
        return models.Sequential(
            [layers.Input((8, 8, 2)), layers.RandomFlip(seed=3), layers.RandomCrop(6, 6), *cnn_end()]
        )

    def cnn_end():
        return [layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3, activation="softmax")]

    check_everywhere(lambda model: model.fit(x, y, batch_size=16, epochs=2, verbose=0).history, stack)


def test_a_kernel_that_there_is_not(gpu, monkeypatch):
    monkeypatch.setattr(gpu.kernels, "dense_forward", None, raising=False)
    x, y = data(mlp)
    with pytest.raises(NotImplementedError, match="dense_forward: there is no kernel for GPUs"):
        compiled(mlp, device="cuda").fit(x, y, verbose=0)
    assert _devices.current() is None


def test_the_stream_is_that_of_the_gpu(gpu):
    assert gpu.kernels._module.stream_source() == 0
    gpu.stream.ptr = 77
    with gpu:
        assert gpu.kernels._module.stream_source() == 77


# ---- precision of products


def test_products_are_computed_as_compiled(gpu):
    x, y = data(mlp)
    model = compiled(mlp, device="cuda", compute="tf32")
    seen = gpu.kernels.computes
    assert seen[-1] == "float32" and model.compute == "tf32"
    for use in (lambda: model.fit(x, y, verbose=0), lambda: model.evaluate(x, y, verbose=0), lambda: model.predict(x),
                lambda: model.train_on_batch(x, y)):  # fmt: skip
        del seen[1:]
        use()
        assert seen[1:3] == ["tf32", "float32"], "set for the call, and no longer"
    del seen[1:]
    compiled(mlp, device="cuda").fit(x, y, verbose=0)
    assert set(seen) == {"float32"}


def test_the_cpu_computes_in_float32():
    with pytest.raises(ValueError, match="^compile: compute must be 'float32' on the CPU, got 'tf32'"):
        compiled(mlp, device="cpu", compute="tf32")
    with pytest.raises(ValueError, match="^compile: compute must be .*'bfloat16'.*, got 'half'"):
        compiled(mlp, device="cuda", compute="half")
