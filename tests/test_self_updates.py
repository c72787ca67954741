"""Layers that update their parameters themselves in a captured step: the bits of gradient and optimizer one after the
other, the cases in which they leave it to the optimizer, and what the kernel refuses."""

import numpy as np
import pytest
from spoilt import refused

import fastnn
from fastnn import _backend, layers, losses, models, optimizers, schedules

KERNELS = _backend.load_level(_backend.isa_levels()[-1])
RNG = np.random.default_rng(11)
X, LABELS = RNG.standard_normal((70, 300)).astype(np.float32), RNG.integers(0, 3, 70)
RULES = {
    "sgd": {},
    "sgd with momentum": {"momentum": 0.9, "nesterov": True},
    "adam": {"weight_decay": 0.1, "decoupled": True, "eps_hat": True},
    "adam with amsgrad": {"amsgrad": True, "clip_value": 0.3, "weight_decay": 0.1},
    "rmsprop": {"centered": True, "momentum": 0.5, "maximize": True},
}


@pytest.fixture(autouse=True)
def keep_threads():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def tensors(shapes, slots):
    return [[np.ones(shape, np.float32) for shape in shapes] for _ in range(2 + slots)]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "sizes", [(5, 17, 3), (9, 1, 40), (5, 33, 7), (70, 300, 250), (1, 300, 250), (600, 40, 300)], ids=str
)
@pytest.mark.parametrize("rule", RULES)
def test_bits_of_the_kernels_one_after_the_other(rule, sizes, threads):
    n, inputs, outputs = sizes
    kind, options = rule.split()[0], RULES[rule]
    fastnn.set_num_threads(threads)
    x, dz = RNG.standard_normal((n, inputs)).astype(np.float32), RNG.standard_normal((n, outputs)).astype(np.float32)
    slots = {"sgd": 1 if "momentum" in options else 0, "adam": 2 + options.get("amsgrad", False), "rmsprop": 3}[kind]
    results = []
    for at_once in (True, False):
        (w, b), (dw, db), *states = tensors([(inputs, outputs), (outputs,)], slots)
        table = KERNELS.TensorTable([w, b], [dw, db], states, l1=np.full(2, 0.01, np.float32))
        lr, step = np.array([0.1]), np.ones(1, np.int64)
        made = getattr(KERNELS, f"{kind}_rule")(**options)
        updates = KERNELS.updates(made, table, lr, step)
        for _ in range(3):
            if at_once:
                updates.prepare()
                KERNELS.dense_update(x, dz, (updates, 0), (updates, 1))
            else:
                KERNELS.dense_backward(x, w, None, dz, dz, dw, db, None, 0, 0.0, False)
                KERNELS.update(made, table, lr, step)
            step[0] += 1
        results.append([w, b, *(array for state in states for array in state)])
    for own, other in zip(*results):
        np.testing.assert_array_equal(own, other)


def test_input_gradient_has_the_bits_of_the_whole_backward_pass():
    for n, inputs, outputs in ((5, 33, 7), (300, 64, 50), (40, 300, 250)):
        w, y = (RNG.standard_normal(shape).astype(np.float32) for shape in ((inputs, outputs), (n, outputs)))
        dx = [np.zeros((n, inputs), np.float32) for _ in range(2)]
        dz = [y.copy(), y.copy()]
        x = np.zeros((n, inputs), np.float32)
        KERNELS.dense_backward(x, w, y, dz[0], dz[0], None, None, dx[0], KERNELS.ACTIVATIONS["relu"], 0.0, False)
        KERNELS.dense_input_gradient(w, y, dz[1], dz[1], dx[1], KERNELS.ACTIVATIONS["relu"], 0.0)
        np.testing.assert_array_equal(*dz)
        np.testing.assert_array_equal(*dx)


def mlp():
    return [
        layers.Input((300,)),
        layers.Dense(250, activation="relu", kernel_regularizer="l2"),
        layers.Dense(17, activation="gelu", use_bias=False, trainable=False),
        layers.Dense(9, activation="tanh"),
        layers.Dense(3),
    ]


def fit(stack, optimizer, capture=True, batch_size=32, **options):
    fastnn.set_seed(4)
    model = models.Sequential(stack)
    model.compile(optimizer, losses.SparseCategoricalCrossentropy(from_logits=True), capture=capture, **options)
    history = model.fit(X, LABELS, batch_size, epochs=2, verbose=0)
    return model, history.history["loss"]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 32, 70])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: optimizers.AdamW(schedules.warmup(3) >> schedules.cosine(1e-2, steps=9)),
        lambda: optimizers.SGD(0.1, momentum=0.9, clipvalue=0.01),
        lambda: optimizers.RMSprop(0.01, weight_decay=0.1),
    ],
    ids=["adamw", "sgd", "rmsprop"],
)
def test_same_bits_in_a_model(optimizer, batch_size, threads):
    fastnn.set_num_threads(threads)
    (captured, losses_), (eager, expected) = (fit(mlp(), optimizer(), capture, batch_size) for capture in (True, False))
    assert losses_ == expected
    for own, other in zip(captured.get_weights(), eager.get_weights()):
        np.testing.assert_array_equal(own, other)
    for name, own in captured.optimizer.state_arrays().items():
        np.testing.assert_array_equal(own, eager.optimizer.state_arrays()[name])


def updated_by_themselves(model):
    """The parameters whose gradient never came to memory."""
    return {p.name for p in model.trainable_parameters if not p.grad.any()}


def test_dense_layers_update_themselves():
    model, _ = fit(mlp(), "adam")
    assert updated_by_themselves(model) == {p.name for p in model.trainable_parameters}
    assert all(p.update is None for p in model.trainable_parameters)  # a later eager step writes gradients
    stack = [layers.Reshape((5, 20, 3), input_shape=(300,)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten()]
    model, _ = fit([*stack, layers.Dense(3)], "adam")
    assert updated_by_themselves(model) == {p.name for p in model.layers[-1].parameters}


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (lambda: optimizers.Adam(clipnorm=1.0), {}),
        (lambda: optimizers.Adam(global_clipnorm=1.0), {}),
        (optimizers.Adam, {"accumulate_steps": 2}),
        (optimizers.Adam, {"capture": False}),
    ],
    ids=["clipnorm", "global-clipnorm", "accumulated", "eager"],
)
def test_the_optimizer_updates_where_all_gradients_are_needed(optimizer, options):
    model, _ = fit(mlp(), optimizer(), **options)
    assert not updated_by_themselves(model)


def test_border():
    (w, b), (dw, db), state, other = tensors([(4, 5), (5,)], 2)
    table = KERNELS.TensorTable([w, b], [dw, db], [state, other])
    lr, step = np.ones(1), np.zeros(1, np.int64)
    updates = KERNELS.updates(KERNELS.adam_rule(), table, lr, step)
    assert len(updates) == 2
    refused(updates.prepare, "prepare: step must be at least 1, got 0")
    refused(
        lambda: KERNELS.updates(KERNELS.adam_rule(clip_norm=0.5), table, lr, step),
        "updates: rule must be one that treats each element by itself, without clip_norm and skip_nonfinite, got",
    )
    rule = KERNELS.sgd_rule()
    refused(lambda: KERNELS.updates(rule, table, lr, step), "updates: table must be a TensorTable with 0 lists")
    x, dz = np.ones((3, 4), np.float32), np.ones((3, 5), np.float32)
    for given, message in (
        ((updates, 1), "w must be of 20 elements, got 5"),
        ((updates, 2), "w must be one of 2 tensors, got 2"),
        (updates, r"w must be None or a pair \(TensorUpdates, number of the tensor\), got something else"),
        ((updates, 0.0), "w must be None or a pair .*, got a pair of others"),
    ):
        refused(lambda given=given: KERNELS.dense_update(x, dz, given, None), f"dense_update: {message}")
    refused(lambda: KERNELS.dense_update(x, dz, None, (updates, 0)), "b must be of 5 elements, got 20")
    refused(lambda: KERNELS.dense_update(x, dz[:2], None, None), r"dz must be a float32 array of shape \(3, any\)")
    assert (w == 1).all()


def test_updates_keep_what_they_point_to():
    (w,), (dw,) = tensors([(20,)], 0)
    updates = KERNELS.updates(KERNELS.sgd_rule(), KERNELS.TensorTable([w], [dw], []), np.ones(1), np.full(1, 7))
    updates.prepare()
    KERNELS.dense_update(np.ones((3, 4), np.float32), np.ones((3, 5), np.float32), (updates, 0), None)
    assert (w == 1 - 3).all()
