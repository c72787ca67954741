"""fastnn.jax beside optax, both compiled and donated, in one process: `python bench/jax_optimizers.py [--filter WORDS]`.

For each list of parameters and each rule, in turns: optax's step, `update` of fastnn.jax with `optax.apply_updates`, and
its `fused_apply`. The gradients are arguments; a training step of one's own saves more, as it calls JAX only once.
"""

import argparse
import functools
import math
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fastnn
import fastnn.jax
from fastnn import _backend
from fastnn.benchmark import limits, table

# Bytes that a step must move for one parameter: param, grad and slots read, param and slots written.
RULES = {
    "AdamW": (28, lambda module: module.adamw(1e-3, weight_decay=1e-2)),
    "RMSprop": (20, lambda module: module.rmsprop(1e-3)),
    "RMSprop centered, momentum": (36, lambda module: module.rmsprop(1e-3, centered=True, momentum=0.9)),
    "SGD momentum": (20, lambda module: module.sgd(1e-3, momentum=0.9)),
}


def resnet50():
    """The 161 shapes of ResNet-50's parameters: 25.6 million."""
    shapes, channels = [(7, 7, 3, 64), (64,), (64,)], 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            kernels = [(1, 1, channels, width), (3, 3, width, width), (1, 1, width, 4 * width)]
            kernels += [(1, 1, channels, 4 * width)] if block == 0 else []
            for kernel in kernels:
                shapes += [kernel, kernel[-1:], kernel[-1:]]
            channels = 4 * width
    return [*shapes, (2048, 1000), (1000,)]


def bert_base():
    """The 199 shapes of BERT-base's parameters, its pooler among them: 109 million."""
    h = 768
    attention = [(h, h), (h,)] * 4 + [(h,), (h,)]
    layer = attention + [(h, 4 * h), (4 * h,), (4 * h, h), (h,), (h,), (h,)]
    return [(30522, h), (512, h), (2, h), (h,), (h,), *(layer * 12), (h, h), (h,)]


LISTS = {
    "25M": lambda: [(25_000_000,)],
    "ResNet-50": resnet50,
    "BERT-base": bert_base,
    "1000 x 1000": lambda: [(1000,)] * 1000,
    "1 x 1000": lambda: [(1000,)],
}


def steps(rule):
    """name -> (optimizer, a compiled function (params, state, grads) -> (params, state) that works in place)."""

    def in_two(optimizer, params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def in_one(optimizer, params, state, grads):
        return optimizer.fused_apply(params, grads, state)

    ways = {"optax": (optax, in_two), "update": (fastnn.jax, in_two), "fused_apply": (fastnn.jax, in_one)}
    made = {name: (RULES[rule][1](module), step) for name, (module, step) in ways.items()}
    return {
        name: (optimizer, jax.jit(functools.partial(step, optimizer), donate_argnums=(0, 1)))
        for name, (optimizer, step) in made.items()
    }


def measure(shapes, rule, seconds, repeats):
    """name -> the seconds of a step, the median of all turns."""
    rng = np.random.default_rng(0)
    params, grads = ([jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in shapes] for _ in range(2))
    contenders, runs = steps(rule), {}
    for name, (optimizer, step) in contenders.items():
        own = [jnp.array(array) for array in params]
        runs[name] = {"step": step, "state": (own, optimizer.init(own)), "seconds": []}

    def timed(run, count):
        start = perf_counter()
        for _ in range(count):
            run["state"] = run["step"](*run["state"], grads)
            jax.block_until_ready(run["state"])
        return (perf_counter() - start) / count

    for run in runs.values():
        timed(run, 2)
    count = max(1, round(seconds / max(timed(run, 1) for run in runs.values())))
    for _ in range(repeats):
        for run in runs.values():
            timed(run, 1)  # what the one before left in the caches
            run["seconds"].append(timed(run, count))
    return {name: float(np.median(run["seconds"])) for name, run in runs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--filter", default="", metavar="WORDS")
    add("--threads", type=int, default=_backend.get_num_threads(), metavar="N")
    add("--seconds", type=float, default=0.1, help="how long a turn is (default: 0.1)")
    add("--repeats", type=int, default=7, metavar="N", help="turns of each (default: 7)")
    args = parser.parse_args()
    fastnn.set_num_threads(args.threads)
    names = [(rule, name) for rule in RULES for name in LISTS if table.matches(f"{rule} {name}", args.filter)]
    machine, rows = limits.measure(), []
    for rule, name in names:
        shapes, moved = LISTS[name](), RULES[rule][0]
        found = measure(shapes, rule, args.seconds, args.repeats)
        elements = sum(map(math.prod, shapes))
        share = machine.share(found["fused_apply"], 0.0, moved * elements, moved / 2 * elements)
        rates = [f"{found['optax'] / found[way]:.2f} x" for way in ("update", "fused_apply")]
        rows.append([f"{rule} {name}", *map(table.duration, found.values()), *rates, f"{share:.0%}"])
    header = ("step", "optax", "update", "fused_apply", "update", "fused_apply", "share of limit")
    print("\n".join(limits.lines(machine)), table.text(header, rows), sep="\n")


if __name__ == "__main__":
    main()
