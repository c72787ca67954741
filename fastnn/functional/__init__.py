"""Every kernel as a function of plain NumPy arrays: what layers, losses and optimizers are made of, usable alone.

Arrays are float32 and C-contiguous, images NHWC. Results are new arrays, except where a name ends in an underscore:
those functions change their arguments in place. Nothing is converted: another dtype or layout is an error that says
what is wanted.

    from fastnn import functional as F

    y = F.dense(x, kernel, bias, activation="relu")
    F.adamw_([w, b], [dw, db], [m_w, m_b], [v_w, v_b], step=1, lr=1e-3)
"""

from fastnn.functional.activations import (
    activation,
    dropout,
    elu,
    gelu,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from fastnn.functional.embedding import embedding
from fastnn.functional.images import (
    average_pool2d,
    conv2d,
    depthwise_conv2d,
    global_average_pool2d,
    global_max_pool2d,
    max_pool2d,
)
from fastnn.functional.layerwise_updates import lamb_, lars_, muon_
from fastnn.functional.linear import dense, gemm
from fastnn.functional.losses import (
    binary_cross_entropy,
    cross_entropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    sparse_cross_entropy,
    sparse_softmax_cross_entropy,
)
from fastnn.functional.normalization import batch_norm, layer_norm
from fastnn.functional.recurrent import gru, lstm, simple_rnn
from fastnn.functional.updates import adagrad_, adam_, adamw_, lion_, rmsprop_, sgd_

__all__ = ["activation", "adagrad_", "adam_", "adamw_", "average_pool2d", "batch_norm", "binary_cross_entropy"]
__all__ += ["conv2d", "cross_entropy", "dense", "depthwise_conv2d", "dropout", "elu", "embedding", "gelu", "gemm"]
__all__ += ["global_average_pool2d", "global_max_pool2d", "gru", "huber", "lamb_", "lars_", "layer_norm", "leaky_relu"]
__all__ += ["lion_", "lstm", "max_pool2d", "mean_absolute_error", "mean_squared_error", "muon_", "relu", "rmsprop_"]
__all__ += ["sgd_", "sigmoid", "sigmoid_cross_entropy", "silu", "simple_rnn", "softmax", "softmax_cross_entropy"]
__all__ += ["softplus", "sparse_cross_entropy", "sparse_softmax_cross_entropy", "tanh"]
