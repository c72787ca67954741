"""Every kind of layer in a small stack, and images for them: for the tests that compare captured and eager runs."""

import numpy as np

from fastnn import layers

N = 75  # two batches of 32 and a smaller one
RNG = np.random.default_rng(5)
IMAGES = RNG.standard_normal((N, 8, 8, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, N)

LAYERS = {
    "dense": lambda: [layers.Flatten(), layers.Dense(17, activation="gelu")],
    "dense-no-bias": lambda: [layers.Dense(5, use_bias=False)],
    "conv": lambda: [layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")],
    "conv-wide": lambda: [layers.Conv2D(32, 3, padding="same"), layers.Conv2D(32, 3, padding="same")],
    "conv-groups": lambda: [layers.Conv2D(6, 2, groups=2, dilation_rate=2, activation="silu")],
    "depthwise": lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh")],
    "max-pool": lambda: [layers.Conv2D(4, 1), layers.MaxPooling2D(2)],
    "relu-max-pool": lambda: [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2)],
    "overlapping-max-pool": lambda: [layers.Conv2D(4, 1), layers.MaxPooling2D(3, strides=2, padding="same")],
    "average-pool": lambda: [layers.Conv2D(4, 1), layers.AveragePooling2D(2, padding="same")],
    "global-average-pool": lambda: [layers.Conv2D(4, 1), layers.GlobalAveragePooling2D()],
    "global-max-pool": lambda: [layers.Conv2D(4, 1), layers.GlobalMaxPooling2D()],
    "reshape": lambda: [layers.Dense(4), layers.Reshape((4, 64))],
    "dropout": lambda: [layers.Dense(4), layers.Dropout(0.4), layers.Dropout(0.2, seed=9)],
    "crop": lambda: [layers.RandomCrop(6, 7, padding=1), layers.Dense(2)],
    "flip": lambda: [layers.Dense(3), layers.RandomFlip(seed=4), layers.RandomCrop(8, 8, padding=2)],
    "softmax": lambda: [layers.Dense(4, activation="softmax"), layers.Activation("sigmoid"), layers.ELU(0.5)],
    "batch-norm": lambda: [layers.Conv2D(9, 3), layers.BatchNormalization(momentum=0.8), layers.ReLU()],
    "batch-norm-frozen": lambda: [layers.Dense(5), layers.BatchNormalization(trainable=False)],
    "layer-norm": lambda: [layers.LayerNormalization(), layers.Dense(5), layers.LayerNormalization(scale=False)],
    "simple-rnn": lambda: [layers.Reshape((8, 32)), layers.SimpleRNN(7)],
    "lstm": lambda: [layers.Reshape((8, 32)), layers.LSTM(9, return_sequences=True), layers.LSTM(5, go_backwards=True)],
    "gru": lambda: [layers.Reshape((8, 32)), layers.GRU(9, return_sequences=True), layers.GRU(5, reset_after=False)],
    "regularized": lambda: [layers.Dense(4, kernel_regularizer="l1", bias_regularizer="l2")],
}


class Halve(layers.Layer):
    """Written in NumPy, by a user."""

    def forward(self, x, training):
        return x * np.float32(0.5)

    def backward(self, dy, need_dx, accumulate):
        return dy * np.float32(0.5) if need_dx else None
