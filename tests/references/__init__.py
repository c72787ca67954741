"""What every kernel computes, in float64 NumPy: straightforward, slow, and written apart from the kernels.

A reference has its kernel's name and arguments and returns {output's name: array}. Given outputs are only read for what
they held before, where a kernel adds to them.
"""

from .activations import activation_backward, activation_forward, softmax_backward, softmax_forward
from .conv import conv2d_backward, conv2d_forward, depthwise_conv2d_backward, depthwise_conv2d_forward
from .conv_pool import conv2d_max_pool2d_backward, conv2d_max_pool2d_forward
from .crop_flip import crop_flip_backward, crop_flip_forward
from .dense import dense_backward, dense_forward, dense_input_gradient, dense_update, gemm
from .dropout import dropout, gather_rows
from .embedding import embedding_backward, embedding_forward
from .losses import (
    binary_cross_entropy,
    cross_entropy,
    first_nonfinite,
    huber,
    mean_absolute_error,
    mean_squared_error,
    regularization_penalty,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    sparse_cross_entropy,
    sparse_softmax_cross_entropy,
)
from .metrics import (
    absolute_error,
    binary_matches,
    categorical_matches,
    confusion_counts,
    sparse_categorical_matches,
    squared_error,
    top_k_matches,
)
from .normalization import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    layer_norm_backward,
    layer_norm_forward,
)
from .optimizers import adagrad_rule, adam_rule, lamb_rule, lars_rule, lion_rule, muon_rule, rmsprop_rule, sgd_rule
from .pool import (
    average_pool2d_backward,
    average_pool2d_forward,
    global_average_pool_backward,
    global_average_pool_forward,
    global_max_pool_backward,
    global_max_pool_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from .recurrent import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    simple_rnn_backward,
    simple_rnn_forward,
)

__all__ = [
    "absolute_error", "activation_backward", "activation_forward", "adagrad_rule", "adam_rule",
    "average_pool2d_backward", "average_pool2d_forward", "batch_norm_backward", "batch_norm_forward",
    "batch_norm_inference", "binary_cross_entropy", "binary_matches", "categorical_matches", "confusion_counts",
    "conv2d_backward", "conv2d_forward", "conv2d_max_pool2d_backward", "conv2d_max_pool2d_forward",
    "crop_flip_backward", "crop_flip_forward", "cross_entropy", "dense_backward", "dense_forward",
    "dense_input_gradient", "dense_update", "depthwise_conv2d_backward", "depthwise_conv2d_forward", "dropout",
    "embedding_backward", "embedding_forward", "first_nonfinite", "gather_rows", "gemm",
    "global_average_pool_backward", "global_average_pool_forward", "global_max_pool_backward",
    "global_max_pool_forward", "gru_backward", "gru_forward", "huber", "lamb_rule", "lars_rule",
    "layer_norm_backward", "layer_norm_forward", "lion_rule", "lstm_backward", "lstm_forward",
    "max_pool2d_backward", "max_pool2d_forward", "mean_absolute_error", "mean_squared_error", "muon_rule",
    "regularization_penalty", "rmsprop_rule", "sgd_rule", "sigmoid_cross_entropy", "simple_rnn_backward",
    "simple_rnn_forward", "softmax_backward", "softmax_cross_entropy", "softmax_forward",
    "sparse_categorical_matches", "sparse_cross_entropy", "sparse_softmax_cross_entropy", "squared_error",
    "top_k_matches",
]  # fmt: skip
