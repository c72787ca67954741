"""Times training steps on the GPU: the seed MLP and the CNN of docs/performance.md in fastnn and PyTorch; JSON lines.

Every contender trains over shuffled batches that lie on the GPU and sums loss and accuracy. A line has the seconds of a
step: the median of five epochs over their steps.
"""

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "bench" / "peers")]

import problems  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

JOBS = {  # name -> network, batch, batches in an epoch
    "seed MLP, batch 32": ("mlp", 32, 200),
    "seed MLP, batch 2048": ("mlp", 2048, 40),
    "CNN, batch 128": ("cnn", 128, 60),
}
DEVICE, REPEATS = "cuda", 5
COMPILED = ("seed MLP, batch 32", "CNN, batch 128")  # torch.compile takes long


def data(network, samples):
    """Images or features, and labels, as NumPy arrays."""
    return problems.cnn_data(samples) if network == "cnn" else problems.mlp_data(samples)


def torch_model(network):
    """The network in PyTorch, channels last."""
    if network == "mlp":
        layers = [nn.Linear(1000, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)]
    else:
        layers = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(7 * 7 * 64, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers).to(DEVICE).to(memory_format=torch.channels_last)


class TorchTraining:
    """A network in PyTorch with its data, in one of the forms eager, compile and graph."""

    def __init__(self, network, batch, batches, form):
        x, y = data(network, batch * batches)
        self.x, self.y, self.batch = torch.from_numpy(x).to(DEVICE), torch.from_numpy(y).long().to(DEVICE), batch
        if network == "cnn":
            self.x = self.x.permute(0, 3, 1, 2)
        self.model, self.loss = torch_model(network), nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), eps=1e-7, fused=True, capturable=form == "graph")
        self.total, self.correct = torch.zeros((), device=DEVICE), torch.zeros((), dtype=torch.int64, device=DEVICE)
        self.forward = torch.compile(self.model, mode="reduce-overhead") if form == "compile" else self.model
        self.graph = self.capture() if form == "graph" else None

    def step(self, x, y):
        """One step of training."""
        logits = self.forward(x)
        loss = self.loss(logits, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.total += loss
            self.correct += (logits.argmax(1) == y).sum()

    def capture(self):
        """The step as a CUDA graph that reads self.static."""
        self.static = self.x[: self.batch].clone(), self.y[: self.batch].clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step(*self.static)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(*self.static)
        return graph

    def epoch(self):
        """All batches once, shuffled."""
        order = torch.randperm(len(self.x), device=DEVICE)
        for start in range(0, len(self.x), self.batch):
            index = order[start : start + self.batch]
            if self.graph is None:
                self.step(self.x[index], self.y[index])
            else:
                self.static[0].copy_(self.x[index])
                self.static[1].copy_(self.y[index])
                self.graph.replay()
        self.total.item()


def fastnn_epoch(network, batch, batches, compute="float32"):
    """A function that trains our network for an epoch."""
    from fastnn import layers, models

    model = models.Sequential()
    if network == "mlp":
        model.add(layers.Dense(128, activation="relu", input_shape=(1000,)))
        model.add(layers.Dense(64, activation="relu"))
    else:
        model.add(layers.Conv2D(32, 3, padding="same", activation="relu", input_shape=(28, 28, 1)))
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Conv2D(64, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Flatten())
        model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(10, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], device=DEVICE, compute=compute)
    x, y = data(network, batch * batches)
    return lambda: model.fit(x, y, batch_size=batch, epochs=1, verbose=0)


def measure(make, batches):
    """The seconds of a step."""
    epoch, times = make(), []
    epoch()
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        epoch()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / batches)
    return statistics.median(times)


def contender(name, network, batch, batches):
    """A function that trains for an epoch: "fastnn" or a form of torch's, perhaps with "tf32" after it."""
    form, compute = name.removesuffix(" tf32").split()[-1], "tf32" if name.endswith("tf32") else "float32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = compute == "tf32"
    if form == "fastnn":
        return fastnn_epoch(network, batch, batches, compute)
    return TorchTraining(network, batch, batches, form).epoch


def main():
    """Prints a line for each job and contender; torch.compile comes last."""
    names = ("fastnn", "fastnn tf32", "torch eager", "torch graph", "torch graph tf32")
    contests = [(job, name) for job in JOBS for name in names] + [(job, "torch compile") for job in COMPILED]
    for job, name in contests:
        network, batch, batches = JOBS[job]
        found = {"what": "step", "job": job, "contender": name}
        try:
            found["seconds"] = measure(partial(contender, name, network, batch, batches), batches)
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
