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


def test_sharded_is_for_the_cpu(tmp_path):
    script = SCRIPT.replace("SAMPLES", "16")
    script += "say(fails(lambda: trained(distributed.Sharded('adam'), device='cuda')))"
    for (failure,) in run_on_gpus(tmp_path, script, 2):
        assert failure["text"] == (
            "Sharded: the model must be on the CPU, got one on a GPU. Use the optimizer itself there."
        )
