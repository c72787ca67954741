"""Several ranks with a GPU each train one model, with stand-ins for CuPy and the extension: the bits of the CPU."""

import pytest
from device_ranks import run_on_gpus

STAND_INS = """
from emulator import cupy_standin
from emulator.cpu_in_disguise import Module
from fastnn import _devices

on_gpu = _devices.Gpu(cupy_standin.Kernels(Module(_backend.load_level(_backend.chosen_level()))), cupy_standin)
_devices.missing, _devices._gpu = lambda: "", on_gpu
"""
TRAINED = """
import fastnn
from fastnn import layers, models

rng = np.random.default_rng(3)
x = rng.standard_normal((SAMPLES, 8, 8, 2)).astype(np.float32)
y = rng.integers(0, 3, SAMPLES)

def trained(optimizer="adam", **options):
    fastnn.set_seed(rank)  # the weights are rank 0's
    fastnn.random._dropout_state_on_gpu = None
    model = models.Sequential([
        layers.Input((8, 8, 2)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(),
        layers.Flatten(), layers.Dropout(0.2), layers.Dense(3, activation="softmax")])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, validation_data=(x[:9], y[:9]))
    return [history.history, [w.tolist() for w in model.get_weights()]]
"""
SCRIPT = STAND_INS + TRAINED


@pytest.mark.parametrize("samples", [64, 51])
def test_the_weights_are_those_of_the_cpu(samples, tmp_path):
    script = SCRIPT.replace("SAMPLES", str(samples))
    script += """
say([trained(), trained(device="cuda"), trained(device="cuda", capture=False)])
say([type(way).__name__ for way in comm._on_devices._ways.values()])
"""
    out = run_on_gpus(tmp_path, script, 2)
    (on_cpu, by_graphs, eager), ways = out[0]
    assert on_cpu == by_graphs == eager and ways == ["DeviceRing"]
    assert out[1][0][1][1] == by_graphs[1], "ranks have different weights"


@pytest.mark.parametrize(("world", "samples"), [(1, 16), (2, 51), (3, 48)])
def test_a_sharded_optimizer(world, samples, tmp_path):
    """Each rank's part of the step is that of the whole one, and that of the CPU."""
    script = SCRIPT.replace("SAMPLES", str(samples))
    script += """
sharded = distributed.Sharded(fastnn.optimizers.AdamW(0.01, weight_decay=0.1))
say([trained(distributed.Sharded(fastnn.optimizers.AdamW(0.01, weight_decay=0.1)), **options)
     for options in ({}, {"device": "cuda"}, {"device": "cuda", "capture": False})])
say(trained(sharded, device="cuda") == trained(fastnn.optimizers.AdamW(0.01, weight_decay=0.1), device="cuda"))
say(sum(a.size for name, a in sharded.state_arrays().items() if name.startswith("exp_avg/")))
"""
    out = run_on_gpus(tmp_path, script, world)
    for (on_cpu, by_graphs, eager), same_as_whole, _ in out:
        assert by_graphs == eager
        assert by_graphs == on_cpu or world == 3  # sums of three depend on their order
        assert same_as_whole or world == 3
        assert by_graphs[1] == out[0][0][1][1], "ranks have different weights"
    held = [state for *_, state in out]
    assert min(held) > 0 and max(held) <= -(-sum(held) // world) + 16 * world
