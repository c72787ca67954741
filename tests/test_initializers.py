"""Initializers: moments, limits, fans and seeds; what a name means; messages."""

import json

import numpy as np
import pytest

import fastnn
from fastnn import initializers

SHAPE = (3, 3, 40, 60)  # fan_in 360, fan_out 540


def expected_variance(name):
    return {
        "glorot_uniform": 2 / 900, "glorot_normal": 2 / 900, "he_uniform": 2 / 360, "he_normal": 2 / 360,
        "lecun_uniform": 1 / 360, "lecun_normal": 1 / 360, "random_normal": 0.05**2, "random_uniform": 0.1**2 / 12,
    }[name]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "random_normal"]
    + ["random_uniform"],
)
def test_mean_and_variance(name):
    fastnn.set_seed(3)
    values = initializers.get(name)(SHAPE)
    assert values.shape == SHAPE and values.dtype == np.float32
    variance = expected_variance(name)
    assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)
    assert abs(values.var() / variance - 1) < 0.03


def test_truncated_normal_is_cut_at_two_deviations():
    values = initializers.TruncatedNormal(mean=1.0, stddev=0.5, seed=0)((100, 100))
    assert np.abs(values - 1.0).max() <= 1.0
    assert abs(values.std() - 0.5 * 0.8796) < 0.01


def test_uniform_limits():
    values = initializers.RandomUniform(2.0, 3.0, seed=0)((1000,))
    assert 2.0 <= values.min() < 2.02 and 2.98 < values.max() <= 3.0


@pytest.mark.parametrize(
    "shape, fans", [((7,), (7, 7)), ((3, 5), (3, 5)), ((2, 3, 5, 7), (30, 42)), ((), (1, 1)), ((3, 4, 5), (12, 15))]
)
def test_fans(shape, fans):
    assert initializers.compute_fans(shape) == fans


@pytest.mark.parametrize("mode, fan", [("fan_in", 30), ("fan_out", 50), ("fan_avg", 40)])
def test_variance_scaling_modes(mode, fan):
    values = initializers.VarianceScaling(3.0, mode, "uniform", seed=1)((30, 50))
    assert np.abs(values).max() <= np.sqrt(9.0 / fan)
    assert np.abs(values).max() > 0.98 * np.sqrt(9.0 / fan)


def test_untruncated_normal():
    values = initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal", seed=1)((100, 300))
    assert np.abs(values).max() > 0.3 and abs(values.std() - 0.1) < 0.002


@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (3, 3, 4, 6), (3, 3, 2, 40)])
def test_orthogonal(shape):
    matrix = initializers.Orthogonal(gain=2.0, seed=5)(shape).reshape(-1, shape[-1]).astype(np.float64)
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, 4.0 * np.eye(len(gram)), atol=1e-5)


def test_constants():
    assert (initializers.get("zeros")((2, 3)) == 0).all() and (initializers.get("ones")((2, 3)) == 1).all()
    assert (initializers.Constant(2.5)((2, 3)) == 2.5).all()
    np.testing.assert_array_equal(initializers.Constant([1, 2, 3])((2, 3)), [[1, 2, 3]] * 2)
    np.testing.assert_array_equal(initializers.Identity(3.0)((2, 3)), [[3, 0, 0], [0, 3, 0]])


def test_seeds():
    fastnn.set_seed(7)
    first, second = initializers.GlorotUniform()((4, 4)), initializers.GlorotUniform()((4, 4))
    assert (first != second).any()
    fastnn.set_seed(7)
    np.testing.assert_array_equal(initializers.GlorotUniform()((4, 4)), first)
    own = initializers.GlorotUniform(seed=11)
    np.testing.assert_array_equal(own((4, 4)), own((4, 4)))


@pytest.mark.parametrize("name", sorted(initializers._CLASSES))
def test_config_round_trip(name):
    made = initializers.get(name)
    config = json.loads(json.dumps(initializers.serialize(made)))
    assert repr(initializers.get(config)) == repr(made)


def test_get_takes_classes_and_callables():
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)
    ramp = initializers.get(lambda shape: np.arange(6).reshape(shape))
    np.testing.assert_array_equal(ramp((2, 3)), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match=r"save: initializer must be one of fastnn.initializers.*got <function"):
        initializers.serialize(ramp)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: initializers.get("glorot"), r"initializers.get: initializer must be one of constant, .*got 'glorot'"),
        (lambda: initializers.VarianceScaling(scale=0), "VarianceScaling: scale must be > 0, got 0"),
        (lambda: initializers.VarianceScaling(mode="fan"), "VarianceScaling: mode must be one of fan_in, .*got 'fan'"),
        (lambda: initializers.VarianceScaling(distribution="x"), "distribution must be one of .*got 'x'"),
        (lambda: initializers.Orthogonal()((3,)), r"Orthogonal: shape must be .*at least 2 axes, got \(3,\)"),
        (lambda: initializers.Identity()((3, 3, 3)), r"Identity: shape must be that of a 2-D weight, got \(3, 3, 3\)"),
        (lambda: initializers.Constant([1, 2])((3, 3)), r"Constant: value must be a number or an array that broad"),
        (lambda: fastnn.set_seed(-1), "set_seed: seed must be a whole number"),
    ],
)  # fmt: skip
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_seed_of_another_type():
    with pytest.raises(TypeError, match=r"set_seed: seed must be a whole number.*got 'abc'"):
        fastnn.set_seed("abc")
