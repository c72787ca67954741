"""The memory that layers keep and share."""

import copy

import numpy as np

import fastnn
from fastnn import layers, models
from fastnn.layers.buffers import Buffers, GradientBuffers


def test_a_buffer_stays_where_it_is():
    buffers = Buffers()
    large = buffers.get("y", (4, 5))
    small = buffers.get("y", (3, 5))
    assert np.shares_memory(large, small)
    assert buffers.get("y", (4, 5)) is large
    assert not np.shares_memory(buffers.get("z", (4, 5)), large)
    assert not np.shares_memory(buffers.get("y", (5, 5)), large)  # more than there was


def test_gradients_take_two_blocks_in_turn():
    gradients = GradientBuffers()
    outside = np.zeros((2, 3), np.float32)
    first = gradients.take((2, 3), outside)
    second = gradients.take((6,), first.reshape(6))
    assert not np.shares_memory(first, second)
    assert np.shares_memory(gradients.take((3,), second), first)
    assert np.shares_memory(gradients.take((3,), second.reshape(2, 3)[1:]), first)


def test_what_lies_in_a_block_is_known():
    gradients, outside = GradientBuffers(), np.zeros((2, 3), np.float32)
    assert not gradients.hold(outside)
    first = gradients.take((2, 3), outside)
    second = gradients.take((6,), first)
    assert gradients.hold(first) and gradients.hold(second[1:].reshape(1, 5)) and not gradients.hold(outside)


def test_a_copy_has_blocks_of_its_own():
    gradients = GradientBuffers()
    first = gradients.take((2, 3), np.zeros(1, np.float32))
    other = copy.deepcopy({"gradients": gradients, "first": first})
    assert not np.shares_memory(other["gradients"].take((2, 3), other["first"]), first)


def test_a_deep_network_keeps_two_gradients():
    fastnn.set_seed(0)
    stack = [layers.Dense(64, activation="tanh") for _ in range(12)]
    model = models.Sequential(
        [layers.Input((64,)), *stack, layers.Reshape((8, 8)), layers.Dropout(0.1), layers.Flatten()]
    )
    model.compile("sgd", "mse", capture=False)  # in a captured step, gradients wait for the update of the weights
    x = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    model.fit(x, x, 32, verbose=0)
    blocks = {id(layer.gradients) for layer in model.layers}
    assert len(blocks) == 1
    assert len(model.layers[0].gradients._buffers._bases) == 2
