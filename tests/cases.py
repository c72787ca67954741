"""The table of kernel calls: every kernel at awkward sizes and with each parameter away from its default.

One row is one call; tests/test_kernels.py runs every row at every instruction set level against its reference, and the
rows with bench=True are the microbenchmarks of bench/ too. Sizes stand around a vector's width (4, 8 or 16 floats).
"""

from itertools import cycle, product

import numpy as np
from case import Case
from makers import (
    activation,
    conv2d,
    conv2d_max_pool2d,
    dense,
    dense_input_gradient,
    depthwise_conv2d,
    gemm,
    global_pooling,
    pooling,
    softmax,
)
from normalization_makers import batch_norm, layer_norm
from recurrent_makers import BLOCKS, recurrent
from references.activations import ACTIVATIONS
from training_makers import (
    crop_flip,
    dense_update,
    dropout,
    embedding,
    first_nonfinite,
    gather,
    loss,
    metric,
    optimizer,
    penalty,
)

# fmt: off
SIZES = (0, 1, 3, 15, 16, 17, 31, 32, 33, 97)
RULES = ("sgd_rule", "adam_rule", "rmsprop_rule", "adagrad_rule", "lion_rule", "lamb_rule", "lars_rule", "muon_rule")
ELEMENTWISE_RULES = RULES[:5]
ALPHA = {"leaky_relu": 0.3, "elu": 0.7}
TRANSPOSES = [{}, {"transpose_a": True}, {"transpose_b": True}, {"transpose_a": True, "transpose_b": True}]
BLOCKED = [(257, 131, 300), (40, 530, 270), (300, 40, 1025)]  # m, n, k beyond one block of packing and of threads

GEMM = [
    *[gemm(*mnk, **t) for mnk, t in zip(product((1, 7, 16, 33), (1, 15, 17, 64), (1, 16, 31)), cycle(TRANSPOSES))],
    *[gemm(*sizes, **t) for sizes in [(0, 5, 3), (5, 0, 3), (5, 7, 0), (0, 0, 0), *BLOCKED] for t in TRANSPOSES],
    *[gemm(1, n, k, gap=gap, bias=gap == 1, accumulate=gap == 5, transpose_a=k == 2)
      for n in (1, 2, 5, 16, 18, 31, 33, 70, 128, 129, 300) for k in (2, 5, 23) for gap in (0, 1, 5)],
    *[gemm(1, n, 64, bias=True, activation=kind, alpha=ALPHA.get(kind, 0.0)) for n in (10, 77) for kind in ACTIVATIONS],
    *[gemm(19, 33, 21, gap=gap, accumulate=True, **t) for gap in (0, 1, 5) for t in TRANSPOSES],
    *[gemm(150, 70, 600, gap=3, accumulate=True, bias=True, **t) for t in TRANSPOSES],
    gemm(9, 35, 0, bias=True, activation="relu"),
    gemm(9, 35, 0, bias=True, accumulate=True),
    *[gemm(23, 37, 29, bias=True, activation=kind, alpha=ALPHA.get(kind, 0.0)) for kind in ACTIVATIONS],
    *[gemm(70, 50, 700, bias=True, activation=kind, alpha=ALPHA.get(kind, 0.0)) for kind in ("relu", "elu", "gelu")],
    *[gemm(261, 1057, 1031, gap=gap, accumulate=gap > 0, **t) for t, gap in zip(TRANSPOSES, (0, 0, 7, 2))],
    *[gemm(*mnk, **t) for mnk in [(9, 33, 2100), (33, 70, 2300)] for t in TRANSPOSES],
    *[gemm(*sizes, bench=True) for sizes in [(1, 128, 1000), (32, 128, 1000), (128,) * 3, (512,) * 3, (1024,) * 3]],
    *[gemm(512, 512, 512, bench=True, **t) for t in TRANSPOSES[1:]],
]

DENSE = [
    *[dense(*nio) for nio in [(0, 5, 3), (1, 1, 1), (2, 0, 3), (3, 17, 1), (1, 33, 31), (17, 16, 15), (97, 31, 33)]],
    *[dense(9, 18, 21, kind, ALPHA.get(kind, 0.0), keep_z=True, in_place=True) for kind in ACTIVATIONS],
    *[dense(33, 65, 17, "relu", want=want) for want in [("dw",), ("db",), ("dx",), ("dw", "dx"), ("db", "dx"), ()]],
    dense(5, 7, 9, bias=False, accumulate=True),
    *[dense(1, 130, n, "gelu", keep_z=True) for n in (3, 20, 200)],
    dense(33, 300, 130, "tanh", bias=False, accumulate=True, keep_z=True),
    dense(300, 130, 70, "silu", accumulate=True, in_place=True),
    dense(40, 300, 250, "relu"),  # few samples, many weights
    dense(1, 300, 250, "gelu", keep_z=True),
    dense(3, 259, 257, bias=False),
    *[dense_input_gradient(*nio) for nio in [(0, 5, 3), (1, 1, 1), (2, 0, 3), (3, 17, 1), (17, 16, 15), (3, 97, 130)]],
    *[dense_input_gradient(9, 18, 21, kind, ALPHA.get(kind, 0.0), in_place=True) for kind in ACTIVATIONS],
    dense_input_gradient(9, 18, 21, "relu"),
    *[dense_input_gradient(35, 65, 17, kind, dx=False) for kind in ("linear", "relu")],
    *[dense_update(9, 31, 33, kind) for kind in ELEMENTWISE_RULES],
    *[dense_update(*nio) for nio in [(1, 1, 1), (1, 300, 250), (40, 300, 250)]],
    *[dense_update(*nio) for nio in [(0, 5, 3), (3, 17, 1), (97, 33, 300), (300, 130, 17)]],
    *[dense_update(7, 40, 19, **kept) for kept in ({"bias": False}, {"weights": False})],
    dense_update(7, 40, 19, "sgd_rule", momentum=0.9),
    dense_update(7, 40, 19, weight_decay=0.1, decoupled=True, clip_value=0.5),
    dense_input_gradient(32, 128, 64, "relu", in_place=True, bench=True),
    *[dense_update(n, 1000, 128, bench=True) for n in (1, 32, 2048)],
    dense(32, 1000, 128, "relu", in_place=True, bench=True),
    dense(32, 128, 64, "relu", in_place=True, bench=True),
    dense(128, 3136, 128, "relu", in_place=True, bench=True),
]

CONV = [
    conv2d(0, 5, 5, 3, 4, (3, 3)),
    conv2d(1, 1, 1, 1, 1, (1, 1)),
    conv2d(2, 5, 5, 3, 4, (3, 3), padding="valid"),
    conv2d(2, 7, 6, 5, 17, (3, 3), in_place=True, activation="relu"),
    conv2d(3, 8, 9, 17, 16, (3, 2), bias=False, accumulate=True),
    conv2d(2, 9, 11, 16, 33, (5, 5), accumulate=True, activation="elu", alpha=0.6, keep_z=True),
    conv2d(1, 3, 4, 3, 5, (5, 7)),  # kernel larger than the image
    conv2d(1, 3, 4, 3, 5, (5, 5), padding="valid"),  # nothing fits: the output is empty
    conv2d(2, 1, 13, 3, 8, (1, 3)),
    conv2d(2, 13, 1, 3, 8, (3, 1)),
    conv2d(2, 9, 8, 5, 6, (1, 5), padding=(0, 0, 4, 1)),
    conv2d(2, 9, 8, 5, 6, (3, 3), padding=(2, 0, 1, 3)),
    conv2d(2, 9, 9, 3, 7, (3, 3), strides=(2, 2)),
    conv2d(2, 11, 8, 4, 7, (3, 3), strides=(2, 3), padding="valid"),
    conv2d(2, 10, 11, 3, 4, (2, 2), strides=(3, 4)),  # pixels that no window sees
    conv2d(2, 10, 10, 17, 3, (1, 1), strides=(2, 2), accumulate=True),
    conv2d(2, 9, 10, 3, 5, (3, 3), dilations=(2, 3)),
    conv2d(2, 9, 10, 17, 5, (3, 2), dilations=(3, 1), padding="valid", activation="gelu", keep_z=True),
    conv2d(2, 12, 12, 3, 4, (3, 3), strides=(2, 1), dilations=(1, 2), padding=(1, 2, 3, 4)),
    conv2d(2, 6, 7, 6, 4, (3, 3), groups=2, activation="relu"),
    conv2d(2, 6, 7, 15, 21, (3, 3), groups=3, strides=(2, 2), accumulate=True),
    conv2d(2, 6, 7, 34, 32, (3, 3), groups=2, dilations=(2, 2), in_place=True, activation="silu"),
    conv2d(2, 7, 6, 5, 5, (3, 3), groups=5),
    conv2d(1, 3, 4, 4, 8, (3, 3), activation="relu"),  # channels in fours: on a GPU, copies of 16 bytes
    conv2d(2, 5, 6, 8, 12, (3, 2), strides=(2, 1), accumulate=True, activation="silu", keep_z=True),
    conv2d(1, 7, 6, 8, 16, (3, 3), groups=2, dilations=(2, 1), strides=(1, 2), padding=(2, 1, 0, 3)),
    conv2d(2, 7, 6, 17, 34, (3, 3), groups=17, strides=(2, 2), bias=False),
    *[conv2d(2, 6, 5, 3, 9, (3, 3), activation=kind, alpha=ALPHA.get(kind, 0.0)) for kind in ACTIVATIONS],
    *[conv2d(2, 6, 5, 4, 9, (3, 3), want=want) for want in [("dw",), ("db",), ("dx",), ("dw", "dx"), ()]],
    conv2d(9, 14, 14, 32, 48, (3, 3), activation="relu"),
    # By Winograd's transforms: tiles that stick out, channels that do not fill vectors, any padding.
    conv2d(6, 13, 11, 33, 40, (3, 3), activation="gelu", keep_z=True, accumulate=True),
    conv2d(3, 16, 19, 17, 70, (3, 3), padding="valid", bias=False, in_place=True, activation="elu", alpha=0.6),
    conv2d(1, 40, 30, 64, 16, (3, 3), padding=(2, 0, 1, 3), activation="relu", want=("dw", "dx")),
    conv2d(2, 9, 70, 40, 64, (3, 3), padding=(0, 5, 4, 0), accumulate=True),
    conv2d(3, 20, 24, 128, 130, (3, 3), activation="relu", tolerance="winograd"),
    conv2d(5, 17, 17, 33, 40, (3, 3), strides=(2, 2), activation="relu"),
    conv2d(2, 5, 6, 170, 190, (3, 3)),  # dw is too large for a copy a thread
    conv2d(2, 5, 6, 340, 190, (3, 3), groups=2, accumulate=True, strides=(1, 2)),
    conv2d(2, 6, 5, 40, 150, (1, 1), activation="relu"),
    conv2d(7, 11, 13, 65, 33, (1, 1), activation="silu", keep_z=True, accumulate=True),
    conv2d(1, 9, 9, 200, 16, (1, 1), bias=False, in_place=True),
    conv2d(1, 30, 40, 12, 20, (5, 5), padding="valid", accumulate=True),  # fewer images than threads
    conv2d(128, 28, 28, 1, 32, (3, 3), activation="relu", in_place=True, bench=True),
    conv2d(128, 14, 14, 32, 64, (3, 3), activation="relu", in_place=True, bench=True),
    conv2d(128, 14, 14, 64, 64, (3, 3), in_place=True, bench=True),
    conv2d(128, 28, 28, 32, 64, (3, 3), in_place=True, bench=True),
    conv2d(128, 14, 14, 256, 64, (1, 1), in_place=True, bench=True),
    conv2d(64, 28, 28, 32, 64, (3, 3), strides=(2, 2), in_place=True, bench=True),
]

CONV_POOL = [
    conv2d_max_pool2d(0, 6, 6, 3, 4),
    conv2d_max_pool2d(1, 6, 6, 3, 4, activation="linear"),
    conv2d_max_pool2d(2, 8, 9, 3, 5, window=(3, 2)),
    conv2d_max_pool2d(7, 9, 10, 3, 17, bias=False, accumulate=True),
    conv2d_max_pool2d(3, 9, 8, 5, 33, padding="valid", pool=(3, 3), pool_padding="same", index=None),  # windows overlap
    conv2d_max_pool2d(2, 11, 9, 6, 8, window=(5, 3), strides=(2, 1), groups=2, pool=(3, 2), pool_strides=(4, 3)),
    conv2d_max_pool2d(2, 40, 40, 3, 8, dilations=(2, 1), pool=(17, 17), pool_strides=(3, 4), index=np.uint16),
    conv2d_max_pool2d(3, 7, 8, 20, 12, window=(1, 1)),
    conv2d_max_pool2d(5, 14, 14, 32, 48),
    conv2d_max_pool2d(3, 15, 13, 33, 40, activation="linear", padding=(2, 1, 0, 1), accumulate=True),
    *[conv2d_max_pool2d(4, 8, 8, 16, 16, want=want) for want in [("dw",), ("db",), ("dx",), ("dw", "db")]],
    conv2d_max_pool2d(128, 28, 28, 1, 32, bench=True),
    conv2d_max_pool2d(128, 14, 14, 32, 64, tolerance="winograd", bench=True),
]

DEPTHWISE = [
    depthwise_conv2d(0, 5, 5, 3, 1, (3, 3)),
    depthwise_conv2d(1, 1, 1, 1, 1, (1, 1)),
    depthwise_conv2d(2, 6, 7, 5, 1, (3, 3), activation="relu", keep_z=True),
    depthwise_conv2d(2, 6, 7, 17, 2, (3, 3), strides=(2, 2), accumulate=True),
    depthwise_conv2d(2, 7, 9, 16, 1, (3, 5), dilations=(2, 1), bias=False, in_place=True, activation="elu", alpha=0.4),
    depthwise_conv2d(2, 7, 9, 3, 5, (2, 3), padding="valid", strides=(1, 3), activation="gelu_tanh", keep_z=True),
    depthwise_conv2d(1, 2, 3, 33, 1, (5, 5), padding=(1, 3, 4, 2), dilations=(1, 2)),
    *[depthwise_conv2d(2, 6, 5, 33, 1, (3, 3), want=want) for want in [("dw",), ("db",), ("dx",), ()]],
    *[depthwise_conv2d(2, 6, 5, 6, 1, (3, 3), activation=kind, alpha=ALPHA.get(kind, 0.0)) for kind in ACTIVATIONS],
    depthwise_conv2d(9, 14, 14, 64, 1, (3, 3), activation="relu"),
    depthwise_conv2d(64, 28, 28, 64, 1, (3, 3), activation="relu", in_place=True, bench=True),
]

POOLING = [
    pooling(0, 4, 4, 3, (2, 2), (2, 2)),
    pooling(1, 1, 1, 1, (1, 1), (1, 1)),
    *[pooling(2, 6, 8, c, (2, 2), (2, 2), ties=c == 16) for c in (1, 3, 15, 16, 17, 33)],
    pooling(2, 7, 9, 5, (3, 2), (2, 3), padding="same", ties=True),
    pooling(2, 7, 9, 17, (3, 3), (1, 1), padding="same"),  # windows overlap
    pooling(2, 7, 9, 4, (2, 2), (3, 4), index=None),  # pixels that no window sees
    pooling(2, 9, 8, 3, (3, 4), (2, 1), padding=(2, 1, 0, 3), ties=True),
    pooling(1, 20, 18, 5, (17, 16), (2, 1), index=np.uint16),
    pooling(9, 28, 28, 32, (2, 2), (2, 2)),
    pooling(128, 28, 28, 32, (2, 2), (2, 2), bench=True),
    global_pooling(0, 3, 3, 5),
    global_pooling(1, 1, 1, 1),
    *[global_pooling(3, 5, 4, c, index=c != 3, ties=c == 16) for c in (1, 3, 15, 16, 17, 33)],
    global_pooling(64, 7, 7, 256, bench=True),
]

ELEMENTWISE = [
    *[activation(size, kind="gelu", in_place=size % 2 == 0) for size in SIZES],
    *[activation(5, 7, kind=kind, alpha=ALPHA.get(kind, 0.0)) for kind in ACTIVATIONS],
    *[activation(100_003, kind=kind, alpha=ALPHA.get(kind, 0.0), in_place=True) for kind in ("relu", "elu", "tanh")],
    activation(3, 2, 5, 7, kind="sigmoid"),
    *[activation(1 << 20, kind=kind, alpha=ALPHA.get(kind, 0.0), bench=True) for kind in ACTIVATIONS[1:]],
    *[softmax(n, c, in_place=c % 2 == 0) for n, c in zip((0, 1, 3, 7, 5, 4, 3, 2), (5, 1, 2, 10, 15, 16, 17, 97))],
    softmax(1000, 33, scale=20.0),
    *[softmax(3, c, in_place=c % 2 == 0) for c in (300, 1025, 1500)],
    softmax(128, 1000, bench=True),
    *[dropout(size, rate=0.4) for size in SIZES],
    dropout(1000, rate=0.25, seed=0xFEDCBA9876543210, counter=(1 << 33) + 5, stream=9),
    dropout(77, 13, rate=0.9, in_place=True, stream=2),
    dropout(100_003, rate=0.5, counter=1),
    dropout(50, rate=0.0),
    dropout(1 << 20, rate=0.5, bench=True),
    *[gather(9, (size,), 6) for size in SIZES],
    *[gather(7, (3, 5), 11, dtype) for dtype in (np.uint8, np.int16, np.int64, np.float64, np.float16, np.bool_)],
    gather(5, (), 17),
    gather(3, (4,), 0),
    gather(2000, (100,), 1000),
    gather(4096, (784,), 4096, bench=True),
]

NORMALIZATION = sum([
    *[batch_norm(rows, c) for rows, c in [(0, 5), (1, 1), (31, 16), (64, 17), (65, 33), (200, 97)]],
    *[batch_norm(rows, c, eps=0.5) for rows, c in [(2, 3), (3, 15)]],  # dx would be all cancelled
    *[batch_norm(40, c, gamma=gamma, beta=not gamma) for c in (5, 18) for gamma in (False, True)],
    *[batch_norm(9, 18, want=want) for want in [("dgamma",), ("dbeta",), ("dx",), ("dgamma", "dbeta"), ()]],
    batch_norm(130, 40, momentum=0.3, eps=0.1, accumulate=True, in_place=True),
    batch_norm(70, 200, momentum=0.0, accumulate=True),  # by columns
    batch_norm(1025, 140, momentum=1.0, in_place=True),
    batch_norm(30_000, 3, offset=20.0),
    batch_norm(5000, 36, eps=1e-5),
    *[batch_norm(rows, c, in_place=True, bench=True) for rows, c in [(128 * 28 * 28, 32), (25_088, 64), (128, 512)]],
    *[layer_norm(rows, c) for rows, c in [(0, 5), (5, 0), (1, 1), (3, 15), (31, 16), (4, 17), (65, 33)]],
    layer_norm(2, 3, eps=0.5),
    *[layer_norm(40, c, gamma=gamma, beta=not gamma) for c in (5, 18) for gamma in (False, True)],
    *[layer_norm(9, 18, want=want) for want in [("dgamma",), ("dbeta",), ("dx",), ("dgamma", "dbeta"), ()]],
    layer_norm(9, 70, keep=False, eps=0.1, accumulate=True, in_place=True),
    layer_norm(130, 97, offset=20.0, accumulate=True),
    layer_norm(7, 3001, in_place=True),
    layer_norm(20_000, 5),
    *[layer_norm(rows, c, in_place=True, bench=True) for rows, c in [(4096, 256), (128, 1024)]],
], [])

EMBEDDING = sum([
    *[embedding(entries, width, count) for entries, width, count in [(1, 1, 0), (1, 1, 5), (7, 3, 2), (5, 15, 31)]],
    *[embedding(9, width, 40, np.int64, accumulate=width > 16) for width in (16, 17, 33, 64)],
    embedding(70, 40, 3000, common=0.5),
    embedding(6, 0, 9),
    embedding(3000, 5, 2000, accumulate=True),
    embedding(20_000, 128, 32 * 100, bench=True),
], [])

RECURRENT_SIZES = [(0, 2, 3, 4), (1, 1, 1, 1), (2, 3, 4, 5), (3, 5, 2, 16), (5, 2, 17, 9), (7, 4, 3, 33)]
RECURRENT = sum([
    *[recurrent(kind, *sizes) for kind in BLOCKS for sizes in RECURRENT_SIZES],
    *[recurrent(kind, 3, 4, 2, 5, go_backwards=back, return_sequences=True)
      for kind in BLOCKS for back in (False, True)],
    *[recurrent(kind, 3, 4, 2, 5, go_backwards=True, accumulate=True) for kind in BLOCKS],
    *[recurrent(kind, 3, 4, 2, 6, y=False, return_sequences=True) for kind in BLOCKS],
    *[recurrent(kind, 3, 4, 2, 6, keep=False, bias=False) for kind in BLOCKS],
    *[recurrent(kind, 3, 4, 2, 5, activation=name, alpha=ALPHA.get(name, 0.0)) for kind in BLOCKS
      for name in ("linear", "relu", "leaky_relu", "elu", "sigmoid")],
    *[recurrent(kind, 3, 4, 2, 5, recurrent_activation=name, recurrent_alpha=ALPHA.get(name, 0.0))
      for kind in ("lstm", "gru") for name in ("linear", "relu", "leaky_relu", "elu", "tanh")],
    *[recurrent(kind, 3, 4, 2, 7, want=want) for kind in BLOCKS
      for want in [("dkernel",), ("drecurrent_kernel",), ("dbias",), ("dx",), ()]],
    *[recurrent("gru", *sizes, reset_after=False) for sizes in RECURRENT_SIZES],
    *[recurrent("gru", 4, 3, 2, 5, reset_after=False, return_sequences=True, go_backwards=back, accumulate=back)
      for back in (False, True)],
    recurrent("gru", 4, 3, 2, 5, reset_after=False, bias=False),
    recurrent("gru", 4, 3, 2, 8, reset_after=False, want=("dx", "dbias")),
    *[recurrent(kind, 150, 3, 5, 20, return_sequences=True) for kind in BLOCKS],  # several parts a thread
    *[recurrent(kind, 9, 3, 40, 70) for kind in BLOCKS],
    recurrent("lstm", 3, 2, 5, 300),
    *[recurrent(kind, 128, 28, 28, 128, bench=True) for kind in BLOCKS],
    *[recurrent("lstm", 32, 100, 128, 128, return_sequences=True, bench=True)],
], [])

CROP_FLIP = sum([
    crop_flip(5, 6, 7, 3, (6, 7), (0, 0), (0, 0), "hv"),
    crop_flip(9, 6, 7, 1, (4, 3), (0, 2), (0, 4), "h", stream=4),
    crop_flip(9, 5, 4, 2, (8, 9), (-3, 0), (-5, 0), "v", step=1 << 33),
    crop_flip(4, 5, 4, 17, (5, 4), (-2, 2), (-2, 2), "hv", seed=(1 << 63) + 5),
    crop_flip(3, 5, 4, 2, (3, 3), (7, 9), (-8, -5)),  # all of it outside
    crop_flip(3, 5, 40, 1, (5, 33), (0, 0), (7, 7), "h"),
    crop_flip(0, 5, 4, 2, (3, 3), (0, 2), (0, 1)),
    crop_flip(3, 0, 4, 2, (3, 3), (0, 2), (0, 1)),
    crop_flip(3, 5, 4, 2, (0, 3), (0, 2), (0, 1), "h"),
    crop_flip(70, 12, 12, 3, (10, 11), (0, 2), (0, 1), "hv"),
    crop_flip(128, 32, 32, 3, (32, 32), (-4, 4), (-4, 4), "h", bench=True),
], [])

LABEL_LOSSES = ("sparse_softmax_cross_entropy", "sparse_cross_entropy")
SMOOTHED_LOSSES = ("softmax_cross_entropy", "cross_entropy", "sigmoid_cross_entropy", "binary_cross_entropy")
PLAIN_LOSSES = ("mean_squared_error", "mean_absolute_error", "huber")
LOSS_SHAPES = [(0, 3), (1, 1), (5, 2), (31, 10), (4, 15), (3, 16), (7, 17), (2, 97), (4000, 11)]

LOSSES = [
    *[loss(kernel, n, c) for kernel in (*LABEL_LOSSES, *SMOOTHED_LOSSES, *PLAIN_LOSSES) for n, c in LOSS_SHAPES],
    *[loss(kernel, 9, 33, weights=False, scale=1.0) for kernel in (*LABEL_LOSSES, *SMOOTHED_LOSSES, *PLAIN_LOSSES)],
    *[loss(kernel, 9, 7, in_place=True) for kernel in (*LABEL_LOSSES, *SMOOTHED_LOSSES, *PLAIN_LOSSES)],
    *[loss(kernel, 9, 7, gradient=False) for kernel in (*LABEL_LOSSES, *SMOOTHED_LOSSES, *PLAIN_LOSSES)],
    *[loss(kernel, 9, 7, label_smoothing=0.2) for kernel in SMOOTHED_LOSSES],
    *[loss("huber", 9, 18, delta=delta) for delta in (0.3, 2.5)],
    *[loss(kernel, 128, 1000, bench=True) for kernel in (*LABEL_LOSSES[:1], *SMOOTHED_LOSSES[:1])],
    *[loss(kernel, 4096, 10, bench=True) for kernel in (*LABEL_LOSSES, *SMOOTHED_LOSSES, *PLAIN_LOSSES)],
    *[penalty(size, l1=0.01, l2=0.02) for size in SIZES],
    penalty(70, 300, l1=0.5, l2=0.0),
    penalty(1 << 20, l1=0.01, l2=0.02, bench=True),
    *[first_nonfinite(size) for size in SIZES],
    *[first_nonfinite(101, at=at, value=v) for at in [(0,), (100,), (16, 31)] for v in (np.nan, np.inf, -np.inf)],
    first_nonfinite(300, 301, at=(45_000, 77_777)),
    first_nonfinite(1 << 20, bench=True),
]

MATCHES = ("sparse_categorical_matches", "categorical_matches", "absolute_error", "squared_error")
METRICS = [
    *[metric(kernel, n, c, weights=c != 10) for kernel in MATCHES for n, c in LOSS_SHAPES],
    *[metric("top_k_matches", n, c, k=k) for n, c, k in [(0, 3, 1), (9, 5, 1), (31, 10, 3), (7, 17, 5), (5, 4, 4)]],
    metric("top_k_matches", 3000, 33, k=2),
    metric("top_k_matches", 40, 7, weights=False, k=2),
    *[metric("top_k_matches", 300, c, ties=True, k=3) for c in (5, 17)],
    *[metric(kernel, 300, c, ties=True) for kernel in MATCHES[:2] for c in (5, 17)],
    metric("binary_matches", 300, 5, ties=True, threshold=0.5),
    metric("confusion_counts", 300, 5, ties=True, thresholds=(0.0, 0.5, 1.0)),
    *[metric("binary_matches", *nc, threshold=0.5) for nc in [(0, 1), (33, 1), (9, 17), (3000, 10)]],
    *[metric("binary_matches", 9, 17, threshold=threshold) for threshold in (-0.5, 1.0)],
    metric("binary_matches", 20, 3, weights=False, threshold=0.5),
    *[metric("confusion_counts", *nc, thresholds=(0.0, 0.5, 0.9)) for nc in [(0, 1), (33, 1), (9, 17), (3000, 10)]],
    metric("confusion_counts", 200, 2, weights=False, thresholds=tuple(np.linspace(0.01, 0.99, 40).round(2))),
    metric("confusion_counts", 60, 12, thresholds=(0.2, 0.5), first=1, step=3),
    metric("confusion_counts", 33, 7, weights=False, ties=True, thresholds=(0.5,), first=6, step=7),
    *[metric(kernel, 4096, 10, weights=False, bench=True) for kernel in MATCHES],
    metric("top_k_matches", 4096, 10, weights=False, k=3, bench=True),
    metric("binary_matches", 4096, 10, weights=False, threshold=0.5, bench=True),
    metric("confusion_counts", 4096, 10, weights=False, thresholds=(0.25, 0.5, 0.75), bench=True),
]

SEED_MLP = ((1000, 128), (128,), (128, 64), (64,), (64, 10), (10,))
CLIPS = ({}, {"clip_value": 0.1}, {"clip_norm": 2.0}, {"clip_norm": 2.0, "clip_norm_per_tensor": True})
LONG = {"steps": 60, "weight_decay": 0.05, "clip_norm": 20.0, "tables": ("lr_scale",)}
TRAJECTORIES = [
    optimizer("sgd_rule", momentum=0.8, dampening=0.2, **LONG),
    optimizer("sgd_rule", momentum=0.8, nesterov=True, lr_in_momentum=True, decoupled=True, **LONG),
    optimizer("adam_rule", beta1=0.8, beta2=0.97, eps=1e-3, decoupled=True, **LONG),
    optimizer("adam_rule", beta1=0.8, beta2=0.97, amsgrad=True, eps_hat=True, **LONG),
    optimizer("rmsprop_rule", alpha=0.9, momentum=0.7, centered=True, eps=0.1, **LONG),
    optimizer("adagrad_rule", lr_decay=0.1, eps=1e-3, **LONG),
    optimizer("lion_rule", beta1=0.8, beta2=0.95, decoupled=True, **LONG),
    optimizer("lamb_rule", beta1=0.8, beta2=0.97, eps=1e-3, **LONG),
    optimizer("lars_rule", momentum=0.8, trust_coefficient=0.02, nesterov=True, eps=0.1, **LONG),
    optimizer("muon_rule", momentum=0.8, decoupled=True, **LONG),
]
OPTIMIZERS = [
    *[optimizer(rule) for rule in RULES],
    *[optimizer(rule, shapes=((size,),)) for rule in RULES for size in (1, 15, 16, 17, 33, 97)],
    *[optimizer(rule, shapes=((100, 101), (7,), (30_000,)), momentum=0.9) for rule in ("sgd_rule", "rmsprop_rule")],
    optimizer("adam_rule", shapes=((100, 101), (7,), (30_000,)), first=1000),
    *[optimizer(rule, first=50) for rule in ("adam_rule", "rmsprop_rule")],
    *[optimizer(rule, weight_decay=0.1) for rule in RULES],
    *[optimizer(rule, weight_decay=0.1, decoupled=True, tables=("decay", "lr_scale")) for rule in RULES],
    *[optimizer(rule, tables=("l1", "l2")) for rule in RULES],
    *[optimizer(rule, tables=("l1", "l2", "decay", "lr_scale"), weight_decay=0.01, clip_norm=1.5) for rule in RULES],
    *[optimizer(rule, maximize=True, grad_scale=0.125) for rule in RULES],
    *[optimizer(rule, clip_norm=2.0, clip_value=0.05) for rule in RULES],
    *[optimizer(rule, clip_norm=1000.0) for rule in RULES],
    *[optimizer(rule, clip_norm=1.5, clip_norm_per_tensor=True, tables=("l2",)) for rule in RULES],
    *[optimizer(rule, shapes=((40_000,), (7,)), clip_norm=1.5, clip_norm_per_tensor=True) for rule in RULES],
    *[optimizer(rule, shapes=((100, 101), (7,), (30_000,)), clip_norm=3.0) for rule in RULES],
    *[optimizer(rule, skip_nonfinite=True) for rule in RULES],
    *[optimizer(rule, skip_nonfinite=True, spoilt=(0, 2, 3), **clip) for rule in RULES for clip in CLIPS],
    optimizer("sgd_rule", momentum=0.9),
    optimizer("sgd_rule", momentum=0.9, dampening=0.3),
    optimizer("sgd_rule", momentum=0.8, nesterov=True),
    *[optimizer("sgd_rule", momentum=0.8, nesterov=nesterov, lr_in_momentum=True) for nesterov in (False, True)],
    optimizer("adam_rule", beta1=0.8, beta2=0.95, eps=1e-3),
    optimizer("adam_rule", bias_correction=False),
    *[optimizer("adam_rule", eps_hat=True, eps=1e-2, amsgrad=amsgrad) for amsgrad in (False, True)],
    *[optimizer("adam_rule", amsgrad=True, beta2=0.5, bias_correction=correction) for correction in (False, True)],
    *[optimizer("rmsprop_rule", alpha=0.9, eps=1e-3, eps_inside_sqrt=inside) for inside in (False, True)],
    *[optimizer("rmsprop_rule", alpha=0.9, eps=0.1, centered=True, eps_inside_sqrt=inside) for inside in (False, True)],
    *[optimizer("rmsprop_rule", momentum=0.7, centered=True, eps=0.1, lr_in_momentum=keras) for keras in (False, True)],
    optimizer("adagrad_rule", lr_decay=0.2, eps=1e-3),
    optimizer("adagrad_rule", eps=1e-2, eps_inside_sqrt=True, first=3),
    *[optimizer(rule, weight_decay=0.1, tables=("decay", "adapts"), first=7) for rule in ("lamb_rule", "lars_rule")],
    optimizer("lamb_rule", beta1=0.7, beta2=0.8, eps=0.1, weight_decay=0.3),
    optimizer("lamb_rule", bias_correction=False, maximize=True),
    *[optimizer("lars_rule", momentum=0.7, nesterov=True, lr_in_momentum=inside) for inside in (False, True)],
    *[optimizer("lars_rule", momentum=m, trust_coefficient=0.5, eps=0.2, weight_decay=0.2) for m in (0.0, 0.5)],
    *[optimizer("muon_rule", shapes) for shapes in (((150, 33), (4, 5)), ((33, 150), (64, 64), (1, 9)), ((200, 210),))],
    optimizer("muon_rule", momentum=0.6, nesterov=False, first=3, weight_decay=0.1, decoupled=True),
    optimizer("muon_rule", a=2.0, b=-1.5, c=0.5, ns_steps=3),
    optimizer("muon_rule", eps=0.5, ns_steps=0, maximize=True),
    optimizer("muon_rule", eps=0.5, eps_added=True),
    optimizer("lion_rule", beta1=0.7, beta2=0.8, weight_decay=0.1, decoupled=True),
    *[optimizer(rule, SEED_MLP, steps=1, bench=True, note="seed_mlp") for rule in RULES],
    *[optimizer(rule, ((4_000_000,),), steps=1, bench=True) for rule in ("sgd_rule", "adam_rule", "rmsprop_rule")],
    optimizer("muon_rule", ((512, 512),), steps=1, bench=True),
    optimizer("sgd_rule", ((4_000_000,),), steps=1, bench=True, momentum=0.9),
    optimizer("adam_rule", ((4_000_000,),), steps=1, bench=True, weight_decay=0.01, decoupled=True),
]
# fmt: on


def _flat(rows):
    return [case for row in rows for case in (row if isinstance(row, list) else [row])]


CASES: list[Case] = _flat(
    [
        *GEMM,
        *DENSE,
        *CONV,
        *CONV_POOL,
        *DEPTHWISE,
        *POOLING,
        *ELEMENTWISE,
        *NORMALIZATION,
        *EMBEDDING,
        *RECURRENT,
        *CROP_FLIP,
        *LOSSES,
        *METRICS,
        *OPTIMIZERS,
        *TRAJECTORIES,
    ]
)
BENCH: list[Case] = [case for case in CASES if case.bench]
