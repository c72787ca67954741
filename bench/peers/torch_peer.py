"""PyTorch, eager: its own layers and optimizers in their best known forms (fused Adam, both memory layouts)."""

import functools

import problems
import torch
import torch_optimizers
from protocol import serve
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(problems.threads())


def train(model, x, y, batch, make_optimizer):
    """An epoch of steps over shuffled batches, with loss and accuracy summed as Keras does."""
    loss_function = nn.CrossEntropyLoss()
    optimizer = make_optimizer(model.parameters(), eps=1e-7)

    def epoch():
        order, total, correct = torch.randperm(len(x)), torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for start in range(0, len(x) - batch + 1, batch):
            index = order[start : start + batch]
            xb, yb = x[index], y[index]
            logits = model(xb)
            loss = loss_function(logits, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                total += loss
                correct += (logits.argmax(1) == yb).sum()
        total.item()

    return epoch


def adam(form):
    """torch's Adam in one of its forms."""
    return functools.partial(torch.optim.Adam, fused=form == "fused", foreach=form == "foreach")


def mlp_model(sizes):
    stack = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        stack += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*stack[:-1])


def cnn_model(variant, x):
    """The network and its images in the layout that the variant says."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(7 * 7 * 64, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    x = x.permute(0, 3, 1, 2).contiguous()
    if variant == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    return model, x


def mlp(variant, batch, samples, sizes):
    x, y = map(torch.from_numpy, problems.mlp_data(samples, sizes[0], sizes[-1]))
    return train(mlp_model(sizes), x, y.long(), batch, adam(variant))


def cnn(variant, batch, samples):
    x, y = map(torch.from_numpy, problems.cnn_data(samples))
    return train(*cnn_model(variant, x), y.long(), batch, adam("fused"))


def trained(task, make_optimizer, batch, samples, sizes=None):
    """Training of a network with an optimizer of another package, `make_optimizer(parameters, eps)`."""
    if task == "mlp":
        x, y = map(torch.from_numpy, problems.mlp_data(samples, sizes[0], sizes[-1]))
        return train(mlp_model(sizes), x, y.long(), batch, make_optimizer)
    x, y = map(torch.from_numpy, problems.cnn_data(samples))
    return train(*cnn_model("channels_last", x), y.long(), batch, make_optimizer)


def of_torch(task):
    return lambda variant, **parameters: trained(task, adam(variant), **parameters)


def predict_mlp(variant, sizes):
    model = nn.Sequential(mlp_model(sizes), nn.Softmax(1)).eval()
    x = torch.from_numpy(problems.mlp_data(1, sizes[0], sizes[-1])[0])
    return torch.inference_mode()(lambda: model(x).numpy() is None)


def predict_cnn(variant, batch, samples):
    model, x = cnn_model(variant, torch.from_numpy(problems.cnn_data(samples)[0]))
    model = nn.Sequential(model, nn.Softmax(1)).eval()
    return torch.inference_mode()(lambda: torch.cat([model(part) for part in x.split(batch)]).numpy() is None)


def gemm(variant, m, k, n, transpose_a, transpose_b):
    a, b = map(torch.from_numpy, problems.gemm_data(m, k, n, transpose_a, transpose_b))
    a, b, c = a.T if transpose_a else a, b.T if transpose_b else b, torch.empty(m, n)
    return lambda: torch.mm(a, b, out=c) is None


def conv(variant, direction, n, size, channels, filters, kernel):
    layout = torch.channels_last if variant == "channels_last" else torch.contiguous_format
    x, w, dy = map(torch.from_numpy, problems.conv_data(n, size, channels, filters, kernel))
    x, dy = (t.permute(0, 3, 1, 2).contiguous(memory_format=layout) for t in (x, dy))
    w = w.permute(3, 2, 0, 1).contiguous(memory_format=layout)
    pad = kernel // 2
    if direction == "forward":
        return no_grad(lambda: F.conv2d(x, w, padding=pad))
    wanted = [direction == "dx", direction == "dw", False]
    backward = torch.ops.aten.convolution_backward
    return no_grad(lambda: backward(dy, x, w, None, [1, 1], [pad, pad], [1, 1], False, [0, 0], 1, wanted))


def no_grad(function):
    def run():
        with torch.no_grad():
            function()

    return run


TASKS = {
    "mlp": (["fused", "foreach"], mlp),
    "cnn": (["NCHW", "channels_last"], cnn),
    "predict_mlp": (["inference_mode"], predict_mlp),
    "predict_cnn": (["NCHW", "channels_last"], predict_cnn),
    "gemm": (["mm"], gemm),
    "conv": (["channels_last", "NCHW"], conv),
    "torch_mlp": (["fused", "foreach"], of_torch("mlp")),
    "torch_cnn": (["fused", "foreach"], of_torch("cnn")),
    **torch_optimizers.TASKS,
}

if __name__ == "__main__":
    serve(f"torch {torch.__version__.split('+')[0]}", TASKS)
