"""Trains a small convolutional network of plain JAX on the packaged digits with fastnn's fused AdamW.

A warm-up and cosine schedule, clipping by global norm in an optax chain, weight decay for kernels only, and checkpoints
from which a training goes on as if it had never stopped:

    python examples/jax_training.py --epochs 10 --checkpoint digits.npz
    python examples/jax_training.py --epochs 10 --checkpoint digits.npz --stop-after 4    # interrupted, and ...
    python examples/jax_training.py --epochs 10 --checkpoint digits.npz                   # ... resumed

Against the same script with optax's AdamW one line differs: `fused.adamw` is `optax.adamw` there.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastnn import jax as fused
from fastnn.data.datasets import load_digits

BATCH = 64


def init_params(key):
    """Two convolutions and two dense layers, for images of 8 x 8 x 1."""
    he, shapes = jax.nn.initializers.he_normal(), [(3, 3, 1, 16), (3, 3, 16, 32), (8 * 8 * 32 // 4, 64), (64, 10)]
    keys = jax.random.split(key, len(shapes))
    return [{"kernel": he(k, shape), "bias": jnp.zeros(shape[-1])} for k, shape in zip(keys, shapes)]


def forward(params, x):
    """Logits of images (n, 8, 8, 1)."""
    *convolutions, hidden, last = params
    for layer in convolutions:
        axes = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=axes)
        x = jax.nn.relu(x + layer["bias"])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(x.reshape(len(x), -1) @ hidden["kernel"] + hidden["bias"])
    return x @ last["kernel"] + last["bias"]


def loss_of(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()


def make_optimizer(steps):
    schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-3, steps // 10, steps)
    kernels = [{"kernel": True, "bias": False}] * 4
    return optax.chain(optax.clip_by_global_norm(1.0), fused.adamw(schedule, weight_decay=1e-2, mask=kernels))


def make_step(optimizer):
    def step(params, state, x, y):
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    return jax.jit(step, donate_argnums=(0, 1))  # everything in place


def save(path, epoch, params, state):
    """The leaves in order: their structure is that of a fresh training."""
    leaves = map(np.asarray, jax.tree.leaves((params, state)))
    np.savez(path, epoch=epoch, **{f"leaf{i}": leaf for i, leaf in enumerate(leaves)})


def restore(path, params, state):
    """(epochs done, params, state); with copies, as the arrays of a file mustn't be donated."""
    structure = jax.tree.structure((params, state))
    with np.load(path) as archive:
        leaves = [jnp.array(archive[f"leaf{i}"]) for i in range(structure.num_leaves)]
        return int(archive["epoch"]), *jax.tree.unflatten(structure, leaves)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--stop-after", type=int, metavar="EPOCHS", help="leave off there, as if interrupted")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="written after each epoch; read if it's there")
    args = parser.parse_args()

    (x, y), (x_test, y_test) = load_digits()
    x, x_test = x.astype(np.float32) / 16, x_test.astype(np.float32) / 16
    batches = len(x) // BATCH
    params = init_params(jax.random.key(0))
    optimizer = make_optimizer(args.epochs * batches)
    state, done = optimizer.init(params), 0
    if args.checkpoint and args.checkpoint.exists():
        done, params, state = restore(args.checkpoint, params, state)
        print(f"resumed after epoch {done}")
    step, predict = make_step(optimizer), jax.jit(lambda params, x: forward(params, x).argmax(1))
    for epoch in range(done, min(args.epochs, args.stop_after or args.epochs)):
        order = np.random.default_rng(epoch).permutation(len(x))[: batches * BATCH].reshape(batches, BATCH)
        losses = []
        for index in order:
            params, state, loss = step(params, state, x[index], y[index])
            losses.append(loss)
        accuracy = np.mean(predict(params, x_test) == y_test)
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.6f}, test accuracy {accuracy:.2%}")
        if args.checkpoint:
            save(args.checkpoint, epoch + 1, params, state)


if __name__ == "__main__":
    main()
