"""What PyTorch has for the kernels of tests/cases.py: a function on the same arrays, to be timed beside ours."""

import torch
from torch.nn import functional as F

OPTIMIZERS = {
    "sgd_rule": (torch.optim.SGD, {"fused": True}, {"momentum", "dampening", "nesterov", "weight_decay"}),
    "adam_rule": (torch.optim.Adam, {"fused": True}, {"eps", "weight_decay", "amsgrad"}),
    "adagrad_rule": (torch.optim.Adagrad, {"foreach": True}, {"eps", "weight_decay", "lr_decay"}),
    "rmsprop_rule": (torch.optim.RMSprop, {"foreach": True}, {"eps", "weight_decay", "alpha", "momentum", "centered"}),
}
ACTIVATIONS = {
    "relu": F.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def channels_first(x):
    """NHWC as torch sees it: the same memory in its channels_last format."""
    return x.permute(0, 3, 1, 2)


def weights_first(w):
    """Weights (kh, kw, c, filters) in torch's order and its channels_last format."""
    return w.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)


def gemm(a, o):
    left = a["a"].T if o.get("transpose_a") else a["a"]
    right = a["b"].T if o.get("transpose_b") else a["b"]
    out = torch.empty_like(a["c"])
    return lambda: torch.mm(left, right, out=out)


def dense_forward(a, o):
    act, w = ACTIVATIONS.get(o.get("activation"), lambda y: y), a["w"].T.contiguous()
    return lambda: act(F.linear(a["x"], w, a["b"]))


def padded(o):
    """torch's padding of two numbers, or None where it takes four."""
    top, bottom, left, right = o.get("padding", (0, 0, 0, 0))
    return (top, left) if top == bottom and left == right else None


def conv2d_forward(a, o):
    pad, act = padded(o), ACTIVATIONS.get(o.get("activation"), lambda y: y)
    if pad is None:
        return None
    x, w = channels_first(a["x"]), weights_first(a["w"])
    return lambda: act(F.conv2d(x, w, a["b"], o["strides"], pad, o["dilations"], o["groups"]))


def conv2d_backward(a, o):
    pad = padded(o)
    if pad is None:
        return None
    x, w, dy = channels_first(a["x"]), weights_first(a["w"]), channels_first(a["dy"])
    backward, wanted = (
        torch.ops.aten.convolution_backward,
        [a["dx"] is not None, a["dw"] is not None, a["db"] is not None],
    )
    sizes = [w.shape[0]]
    return lambda: backward(dy, x, w, sizes, o["strides"], pad, o["dilations"], False, [0, 0], o["groups"], wanted)


def max_pool2d_forward(a, o):
    x, pad = channels_first(a["x"]), padded(o)
    return None if pad is None else lambda: F.max_pool2d(x, o["window"], o["strides"], pad, return_indices=True)


def average_pool2d_forward(a, o):
    x, pad = channels_first(a["x"]), padded(o)
    return None if pad is None else lambda: F.avg_pool2d(x, o["window"], o["strides"], pad, count_include_pad=False)


def softmax_forward(a, o):
    return lambda: torch.softmax(a["x"], 1)


def sparse_softmax_cross_entropy(a, o):
    """The value and the gradient."""
    logits = a["logits"].clone().requires_grad_()
    labels = a["labels"].long()
    return lambda: torch.autograd.grad(F.cross_entropy(logits, labels), logits)


def activation_forward(a, o):
    act = ACTIVATIONS.get(o["activation"])
    return act and (lambda: act(a["x"]))


def dropout(a, o):
    return lambda: F.dropout(a["x"], o["rate"])


def optimizer(kernel):
    """A step of torch's fastest form of this optimizer, where it has the row's options."""
    make, form, known = OPTIMIZERS[kernel]

    def peer(a, o):
        options = {key: value for key, value in o.items() if key in known}
        if set(o) - known - {"decoupled", "beta1", "beta2"}:
            return None
        kind = torch.optim.AdamW if kernel == "adam_rule" and o.get("decoupled") else make
        params = [torch.nn.Parameter(param.clone()) for param in a["params"]]
        for param, grad in zip(params, a["grads"][0]):
            param.grad = grad
        return kind(params, lr=0.05, **form, **options).step

    return peer


PEERS = {
    function.__name__: function
    for function in (gemm, dense_forward, conv2d_forward, conv2d_backward, max_pool2d_forward, average_pool2d_forward)
    + (softmax_forward, sparse_softmax_cross_entropy, activation_forward, dropout)
} | {name: optimizer(name) for name in OPTIMIZERS}
