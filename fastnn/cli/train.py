"""``fastnn train``: train a small network on real images, test it, save it."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn import _backend, _check

if TYPE_CHECKING:
    from fastnn import models
    from fastnn.cli.tasks import Task
    from fastnn.data import Loader

# Peaks of the schedule that suit both data sets; an optimizer that isn't here takes its own default.
LEARNING_RATES = {"adam": 3e-3, "adamw": 3e-3, "rmsprop": 1e-3, "sgd": 0.05}
_WARMUP = 0.05  # of all steps
_NAME = "fastnn train"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command ``train`` to the command line's parser."""
    text = "train a small network on real images, test it, save it"
    parser = subparsers.add_parser("train", help=text, description=f"{text[0].upper()}{text[1:]}.")
    add = parser.add_argument
    add("--data", default="digits", choices=("digits", "fashion-mnist"), help="data set (default: digits)")
    add("--data-dir", metavar="DIR", help="folder of Fashion-MNIST's IDX files (default: where Debian puts them)")
    add("--model", choices=("cnn", "mlp"), help="network (default: cnn)")
    add("--epochs", type=int, metavar="N", help="passes over the training images (default: 12, Fashion-MNIST 10)")
    add("--batch-size", type=int, metavar="N", help="images in an update (default: 32, Fashion-MNIST 128)")
    add("--optimizer", metavar="NAME", help="adam, adamw, rmsprop, sgd (with momentum 0.9) ... (default: adam)")
    rates = ", ".join(f"{name} {rate:g}" for name, rate in LEARNING_RATES.items())
    add("--lr", type=float, help=f"highest learning rate, after warm-up and before a cosine to 0 (default: {rates})")
    add("--seed", type=int, default=0, metavar="N", help="of weights, order, dropout and augmentation (default: 0)")
    add("--threads", type=int, metavar="N", help="(default: one for each core that this process may use)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto is the CPU: a GPU has to be asked for")
    add("--augment", action="store_true", help="vary the images: shifts, for Fashion-MNIST also mirror images")
    add("--save", metavar="PATH", help="where to save the model after each epoch (default: DATA-MODEL.safetensors)")
    add("--resume", metavar="PATH", help="go on with a saved model until it has had --epochs in all")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, test and save as the arguments say; print what happens. Returns the exit code."""
    import fastnn
    from fastnn.cli.tasks import TASKS
    from fastnn.data import Loader

    task = TASKS[args.data]
    check_arguments(args, task)
    fastnn.set_seed(args.seed)
    if args.threads is not None:
        fastnn.set_num_threads(args.threads)
    (x, y), (x_test, y_test) = task.load(args.data_dir)
    options: dict[str, Any] = {"batch_size": args.batch_size, **task.normalisation}
    augment = task.augment if args.augment else None
    train = Loader(x, y, shuffle=True, seed=args.seed, augment=augment, **options)
    test = Loader(x_test, y_test, **{**options, "batch_size": min(256, len(x_test))})
    model, done = prepare_model(args, task, train)
    path = Path(args.save or args.resume or f"{task.name}-{args.model or 'cnn'}.safetensors")
    check_destination(path)

    print(describe_machine(args, model))
    print(f"{task.name}: {len(x):,} images for training, {len(x_test):,} for testing, {train.input_shape}", end="")
    print(f", augmented by {augment}" if augment else "")
    model.summary()
    print(describe_training(args, model, done))
    begin = time.perf_counter()
    fit(model, train, args.epochs, done, path)
    seconds = time.perf_counter() - begin
    loss, accuracy = model.evaluate(test, verbose=0)
    print(f"trained in {seconds:.1f} s, {len(x) * (args.epochs - done) / seconds:,.0f} samples/s")
    print(f"test accuracy {accuracy:.2%}, test loss {loss:.4f}")
    print(f"saved to {path}")
    return 0


def check_arguments(args: argparse.Namespace, task: Task) -> None:
    """Fill in what wasn't given; complain about what can't be."""
    args.epochs = task.epochs if args.epochs is None else _check.integer(_NAME, "--epochs", args.epochs, 1)
    if args.batch_size is None:
        args.batch_size = task.batch_size
    args.batch_size = _check.integer(_NAME, "--batch-size", args.batch_size, 1)
    _check.integer(_NAME, "--seed", args.seed, 0, 2**64 - 1)
    args.device = _backend.resolve_device(args.device, _NAME)
    if args.threads is not None:
        _check.integer(_NAME, "--threads", args.threads, 1)
    if args.lr is not None:
        _check.number(_NAME, "--lr", args.lr, above=0)
    if args.data_dir is not None and args.data == "digits":
        _check.fail(_NAME, "--data-dir", "left out for the digits, which come with fastnn", repr(args.data_dir))
    if args.resume is not None:
        for name in ("model", "optimizer"):
            if getattr(args, name) is not None:
                given = repr(getattr(args, name))
                _check.fail(_NAME, f"--{name}", "left out with --resume, whose file says it", given)


def check_destination(path: Path) -> None:
    """Fail before training, not after it, where nothing can be saved."""
    if not path.parent.is_dir():
        _check.fail(_NAME, "--save", "in a folder that exists", repr(str(path)), error=FileNotFoundError)
    if path.is_dir():
        _check.fail(_NAME, "--save", "a file's name", f"the folder {str(path)!r}", error=IsADirectoryError)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        _check.fail(_NAME, "--save", "a file that can be written", repr(str(path)), error=PermissionError)


def prepare_model(args: argparse.Namespace, task: Task, train: Loader) -> tuple[models.Sequential, int]:
    """The model to train, compiled, and how many epochs it has had."""
    from fastnn import models, random

    if args.resume is None:
        model = task.build(args.model or "cnn", train.input_shape)
        optimizer = make_optimizer(args.optimizer or "adam")
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], device=args.device)
        args.lr = args.lr or LEARNING_RATES.get(optimizer.default_name) or optimizer.learning_rate
    else:
        model = models.load_model(args.resume, device=args.device)
        check_resumed(args, model, train)
        args.lr = args.lr or peak(model.optimizer.learning_rate)
    model.optimizer.learning_rate = schedule(args.lr, args.epochs * len(train))
    done = model.optimizer.iterations // len(train)
    if done >= args.epochs:
        remedy = "It counts the epochs before --resume too."
        _check.fail(_NAME, "--epochs", f"more than the {done} that {args.resume} has had", args.epochs, remedy)
    train.epoch = done
    random.restore_dropout(args.seed, model.optimizer.iterations)  # it goes on where it was: a mask a step
    return model, done


def check_resumed(args: argparse.Namespace, model: models.Sequential, train: Loader) -> None:
    """Whether a saved model fits these images, and how it was trained these batches."""
    shape = (None, *train.input_shape)
    if model.optimizer is None:
        _check.fail(_NAME, "--resume", "a model saved with its optimizer", f"one without in {args.resume!r}")
    if model.input_shape != shape or model.output_shape != (None, 10):
        given = f"one of {model.input_shape} in {args.resume!r}"
        _check.fail(_NAME, "--resume", f"a model of images {shape} and 10 classes for {args.data}", given)
    if model.optimizer.iterations % len(train):
        given = f"{args.batch_size}: {model.optimizer.iterations} steps were made, {len(train)} are an epoch"
        _check.fail(_NAME, "--batch-size", f"the one that {args.resume} was trained with", given)


def make_optimizer(name: str) -> Any:
    """An optimizer by name; SGD with momentum, without which it takes ten times the epochs."""
    from fastnn import optimizers

    return optimizers.SGD(momentum=0.9) if name.lower() == "sgd" else optimizers.get(name)


def schedule(peak: float, steps: int) -> Any:
    """Warm-up to the peak, then a cosine to 0 at the last step."""
    from fastnn import schedules

    warmup = int(steps * _WARMUP)
    cosine = schedules.cosine(peak, steps - warmup)
    return schedules.warmup(warmup) >> cosine if warmup else cosine


def peak(rate: Any) -> float:
    """The peak of a learning rate that ``schedule`` made; a number is its own."""
    last = rate.segments[-1] if hasattr(rate, "segments") else rate
    return float(getattr(last, "learning_rate", LEARNING_RATES["adam"]) if callable(last) else last)


def fit(model: models.Sequential, train: Loader, epochs: int, done: int, path: Path) -> None:
    """Train until ``epochs`` in all; the file at ``path`` always holds the last complete epoch."""
    from fastnn import callbacks

    save = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: model.save(path))
    try:
        model.fit(train, epochs=epochs, initial_epoch=done, verbose=1, callbacks=[save])
    except KeyboardInterrupt:
        finished = model.optimizer.iterations // len(train)
        if finished > done:
            print(f"\n{finished} epochs are saved to {path}: go on with --resume {path}")
        raise


def describe_machine(args: argparse.Namespace, model: models.Sequential) -> str:
    """Version, device, kernels and threads in one line."""
    from fastnn import __version__, _threads

    reason = "--threads" if args.threads is not None else _threads.decide()[1]
    threads = _backend.get_num_threads()
    return f"fastnn {__version__} on {model.device}: {_backend.isa} kernels, threads: {threads} ({reason})"


def describe_training(args: argparse.Namespace, model: models.Sequential, done: int) -> str:
    """How it is trained, in one line."""
    epochs = f"epochs {done + 1} to {args.epochs}" if done else f"{args.epochs} epochs"
    rate = f"learning rate {args.lr:g} after warm-up, then a cosine to 0"
    return f"{model.optimizer.name}, {epochs}, batches of {args.batch_size}, {rate}, seed {args.seed}"
