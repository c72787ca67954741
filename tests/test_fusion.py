"""A convolution and the pooling behind it as one step: the same as the two layers one after the other."""

import numpy as np
import pytest
from tolerances import difference

import fastnn
from fastnn import layers, models
from fastnn._backend import kernels
from fastnn.models.fusion import ConvPool, fuse

RNG = np.random.default_rng(11)


def built(*stack):
    """The layers of a built model."""
    model = models.Sequential([layers.Input((12, 10, 3)), *stack, layers.Flatten(), layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("make_conv", "make_pool"),
    [
        (lambda: layers.Conv2D(5, 3, padding="same", activation="relu"), lambda: layers.MaxPooling2D(2)),
        (lambda: layers.Conv2D(5, 3, use_bias=False), lambda: layers.MaxPooling2D(3, strides=2, padding="same")),
        (
            lambda: layers.Conv2D(6, (2, 3), strides=2, groups=3, activation="relu"),
            lambda: layers.MaxPooling2D((2, 1)),
        ),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_fused_is_as_one_after_the_other(make_conv, make_pool, n):
    conv, pool = make_conv(), make_pool()
    fastnn.set_num_threads(2)  # one image is too few for two threads: then they run one after the other
    fastnn.set_seed(3)
    model = built(conv, pool)
    fused, both = fuse(model.layers)[0]
    assert isinstance(fused, ConvPool)
    assert both == [conv, pool]
    x = RNG.standard_normal((n, 12, 10, 3)).astype(np.float32)
    y = pool.forward(conv.forward(x, True), True).copy()
    dy = RNG.standard_normal(y.shape).astype(np.float32)
    dx = conv.backward(pool.backward(dy.copy(), True, False), True, False).copy()
    grads = [parameter.grad.copy() for parameter in conv.trainable_parameters]
    for parameter in conv.trainable_parameters:
        parameter.grad[...] = 7.0
    assert not difference(fused.forward(x, True), y, "sum")
    assert not difference(fused.backward(dy.copy(), True, False), dx, "sum")
    for parameter, wanted in zip(conv.trainable_parameters, grads, strict=True):
        assert not difference(parameter.grad, wanted, "sum")
    fused.backward(dy.copy(), False, True)
    for parameter, wanted in zip(conv.trainable_parameters, grads, strict=True):
        assert not difference(parameter.grad, 2 * wanted, "sum")
    assert not difference(fused.forward(x, False), y, "sum")


@pytest.mark.parametrize(
    "stack",
    [
        [layers.Conv2D(4, 3, activation="gelu"), layers.MaxPooling2D(2)],  # its derivative needs every pixel
        [layers.Conv2D(4, 3, activation="softmax"), layers.MaxPooling2D(2)],
        [layers.Conv2D(4, 3), layers.AveragePooling2D(2)],
        [layers.DepthwiseConv2D(3), layers.MaxPooling2D(2)],
        [layers.Conv2D(4, 3), layers.Activation("relu"), layers.MaxPooling2D(2)],
    ],
)
def test_what_stays_apart(stack):
    model = built(*stack)
    assert [both for _, both in fuse(model.layers)] == [[layer] for layer in model.layers]


def test_a_large_kernel_stays_apart():
    model = models.Sequential([layers.Input((8, 8, 180)), layers.Conv2D(170, 3), layers.MaxPooling2D(2)])
    model.compile("sgd", "mse")
    assert len(fuse(model.layers)) == 2


def test_the_kernel_refuses_one_that_is_too_large():
    x, w, y = np.zeros((1, 3, 3, 180), "f"), np.zeros((3, 3, 180, 170), "f"), np.zeros((1, 1, 1, 170), "f")
    place = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1, "activation": 0}
    place |= {"window": (1, 1), "pool_strides": (1, 1), "pool_padding": (0, 0, 0, 0)}
    with pytest.raises(ValueError, match="conv2d_max_pool2d_forward: w must be at most 262144 elements, got 275400"):
        kernels.conv2d_max_pool2d_forward(x, w, None, y, None, **place)


def test_a_frozen_convolution_trains_what_is_below_it():
    fastnn.set_seed(3)
    conv = layers.Conv2D(4, 3, activation="relu", trainable=False)
    model = built(layers.Dense(3), conv, layers.MaxPooling2D(2))
    before = model.get_weights()
    x = RNG.standard_normal((8, 12, 10, 3)).astype(np.float32)
    model.fit(x, RNG.standard_normal((8, 2)).astype(np.float32), 4, epochs=1, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
    assert changed == [True, True, False, False, True, True]
