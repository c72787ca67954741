"""A training script as PyTorch users write it, whose only line of fastnn is the one that makes the optimizer.

    python examples/torch_training.py --epochs 8 --checkpoint digits.pt
    python examples/torch_training.py --epochs 12 --checkpoint digits.pt   # goes on where the first run ended

A small convolutional network learns the handwritten digits that fastnn ships: mixed precision (autocast, GradScaler),
a schedule of the learning rate, clipping, and a checkpoint after every epoch with all that a run needs to go on.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import fastnn.torch
from fastnn.data.datasets import load_digits

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def tensors(images, labels):
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / images.max()
    return x.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels).long()


def parameter_groups(model, weight_decay):
    """Weights decay; biases and gains don't."""
    params = list(model.parameters())
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]


class Training:
    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.options, self.epoch = options, 0
        self.train, self.test = (tensors(*part) for part in load_digits())
        self.model = network().to(memory_format=torch.channels_last)
        make = getattr(fastnn.torch if options.library == "fastnn" else torch.optim, options.optimizer)
        self.optimizer = make(parameter_groups(self.model, options.weight_decay), lr=options.lr)
        steps = -(-len(self.train[1]) // options.batch)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, options.horizon * steps)
        self.dtype = AUTOCAST[options.precision]
        self.scaler = torch.amp.GradScaler("cpu", enabled=self.dtype == torch.float16)

    def loss(self, x, y):
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype is not None):
            return functional.cross_entropy(self.model(x), y)

    def run_epoch(self):
        """One pass over the training images in an order that depends on the epoch; returns the mean loss."""
        self.model.train()
        generator = torch.Generator().manual_seed(self.options.seed * 1000 + self.epoch)
        losses = []
        for chosen in torch.randperm(len(self.train[1]), generator=generator).split(self.options.batch):
            self.optimizer.zero_grad()
            loss = self.loss(self.train[0][chosen], self.train[1][chosen])
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.scheduler.step()
            losses.append(loss.detach())
        self.epoch += 1
        return torch.stack(losses).mean().item()

    @torch.no_grad()
    def accuracy(self):
        self.model.eval()
        x, y = self.test
        return (self.model(x).argmax(1) == y).float().mean().item()

    def save(self, path):
        parts = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler, "scaler": self.scaler}
        state = {name: part.state_dict() for name, part in parts.items()}
        temporary = Path(f"{path}.part")
        torch.save({**state, "epoch": self.epoch}, temporary)
        temporary.replace(path)  # a run that is cut short leaves the checkpoint of the epoch before

    def resume(self, path):
        state = torch.load(path, weights_only=True)
        for name in ("model", "optimizer", "scheduler", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.epoch = state["epoch"]


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8, help="in all, those of the checkpoint included")
    parser.add_argument("--horizon", type=int, default=12, help="epochs in which the learning rate falls to 0")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--optimizer", default="AdamW", help="a class of fastnn.torch")
    parser.add_argument("--library", choices=("fastnn", "torch"), default="fastnn", help="whose optimizer it is")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--precision", choices=AUTOCAST, default="bfloat16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, help="file to go on from, if it's there, and to write")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    training = Training(options)
    if options.checkpoint and options.checkpoint.exists():
        training.resume(options.checkpoint)
        print(f"resumed after epoch {training.epoch}")
    while training.epoch < options.epochs:
        start = time.perf_counter()
        loss = training.run_epoch()
        seconds = time.perf_counter() - start
        print(f"epoch {training.epoch}: loss {loss:.4f}, test accuracy {training.accuracy():.4f}, {seconds:.2f} s")
        if options.checkpoint:
            training.save(options.checkpoint)
    return training


if __name__ == "__main__":
    main()
