"""The classes of fastnn.optimizers beside Keras' own in float64, over fifty steps."""

import os

import numpy as np
import pytest
from optimizer_runs import GRADS, SHAPES, START, Model
from tolerances import difference

from fastnn import optimizers

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# Keras takes hyperparameters through float32: here are numbers that it holds exactly.
LR, EIGHTH, SMALL = 0.03125, 0.125, 2.0**-10
NO_DECAY = {"weight_decay": None}
ROWS = {
    "SGD": [{}, {"momentum": 0.875}, {"momentum": 0.875, "nesterov": True}],
    "Adam": [
        {"beta_1": 0.875, "beta_2": 0.96875, "epsilon": SMALL},
        {"amsgrad": True, "beta_1": 0.75, "beta_2": 0.875},
    ],
    "AdamW": [{"beta_1": 0.875, "beta_2": 0.96875, "weight_decay": 0.25}],
    "RMSprop": [
        {"rho": 0.875, "epsilon": SMALL},
        {"rho": 0.875, "momentum": 0.75},
        {"rho": 0.875, "momentum": 0.75, "centered": True, "epsilon": EIGHTH},
    ],
    "Adagrad": [{}, {"initial_accumulator_value": 0.5, "epsilon": EIGHTH}],
    "Lion": [{"beta_1": 0.875, "beta_2": 0.96875}],
    "Lamb": [{"beta_1": 0.875, "beta_2": 0.96875}, {"beta_1": 0.75, "beta_2": 0.875, "epsilon": EIGHTH}],
    "Muon": [
        {"momentum": 0.875, "adam_beta_1": 0.875, "adam_beta_2": 0.96875},
        {"momentum": 0.75, "nesterov": False, "ns_steps": 3, "rms_rate": None, "weight_decay": 0.25},
        {"momentum": 0.875, "adam_lr_ratio": 0.5, "adam_weight_decay": 0.25, "exclude_layers": ["p6"], "muon_a": 3.25},
        {"momentum": 0.875, "muon_b": -5.0, "muon_c": 1.75, "rms_rate": 0.5, "epsilon": EIGHTH, "weight_decay": None},
    ],
}
COMMON = [{"weight_decay": EIGHTH}, {"clipnorm": 2.0}, {"clipvalue": 0.5}, {"global_clipnorm": 4.0}]
CASES = [(name, options) for name, rows in ROWS.items() for options in rows]
CASES += [(name, {**rows[0], **common}) for name, rows in ROWS.items() for common in COMMON]
PLACES = [i for i, shape in enumerate(SHAPES) if 0 not in shape]  # Keras has no norm of nothing


def keras_run(name, options):
    variables = [keras.Variable(START[i].astype(np.float64), dtype="float64", name=f"p{i}") for i in PLACES]
    optimizer = getattr(keras.optimizers, name)(learning_rate=LR, **options)
    optimizer.build(variables)
    for grads in GRADS:
        optimizer.apply([keras.ops.convert_to_tensor(grads[i].astype(np.float64)) for i in PLACES], variables)
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


@pytest.mark.parametrize("name, options", CASES, ids=lambda item: item if isinstance(item, str) else "-".join(item))
def test_trajectories_are_keras(name, options):
    expected = keras_run(name, options)
    shapes = [SHAPES[i] for i in PLACES]
    model = Model(shapes, [START[i] for i in PLACES], names=[f"p{i}" for i in PLACES])
    params = model.train(getattr(optimizers, name)(LR, **options), [[grads[i] for i in PLACES] for grads in GRADS])
    found = difference(*(np.concatenate([np.ravel(a) for a in arrays]) for arrays in (params, expected)), "trajectory")
    assert not found, found
