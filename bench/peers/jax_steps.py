"""Optimizer steps over JAX arrays, the same for optax and for fastnn.jax, which have the same functions."""

import jax
import jax.numpy as jnp
import optax
import problems

OPTIMIZERS = {
    "adamw": lambda module: module.adamw(1e-3, weight_decay=1e-2),
    "rmsprop": lambda module: module.rmsprop(1e-3),
    "rmsprop_centered": lambda module: module.rmsprop(1e-3, momentum=0.9, centered=True),
    "sgd_momentum": lambda module: module.sgd(1e-3, momentum=0.9),
}


def run(optimizer, update, shapes):
    """`update(params, state, grads)`, compiled and with its first two arguments donated, ready to be timed."""
    params, grads = problems.optimizer_data(shapes)
    params, grads = jax.tree.map(jnp.array, (params, grads))  # copies: those of NumPy mustn't be donated
    state = [(params, optimizer.init(params))]
    del params

    def step():
        state[0] = update(*state[0], grads)
        jax.block_until_ready(state[0])

    return step


def of_optax(task):
    def build(variant, shapes):
        optimizer = OPTIMIZERS[task](optax)

        def update(params, state, grads):
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        return run(optimizer, jax.jit(update, donate_argnums=(0, 1)), shapes)

    return build


TASKS = {task: (["optax"], of_optax(task)) for task in OPTIMIZERS}
