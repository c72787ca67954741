"""JAX with optax: one compiled call a step, and a whole epoch in one compiled `lax.scan`."""

import jax
import jax.numpy as jnp
import jax_steps
import numpy as np
import optax
import problems
from jax import lax
from protocol import serve


def dense_weights(key, inputs, outputs):
    return jax.nn.initializers.glorot_uniform()(key, (inputs, outputs)), jnp.zeros(outputs)


def train(variant, forward, weights, x, y, batch):
    """An epoch of Adam steps over shuffled batches, with loss and accuracy summed as Keras does."""
    adam = optax.adam(1e-3, eps=1e-7)
    x, y, steps = jnp.asarray(x), jnp.asarray(y), len(x) // batch
    order_key = jax.random.key(1)

    def loss_of(weights, xb, yb):
        logits = forward(weights, xb)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, yb).mean()
        return loss, (logits.argmax(1) == yb).sum()

    def step(state, index):
        weights, slots, total, correct = state
        (loss, hits), grads = jax.value_and_grad(loss_of, has_aux=True)(weights, x[index], y[index])
        updates, slots = adam.update(grads, slots)
        return (optax.apply_updates(weights, updates), slots, total + loss, correct + hits), None

    def shuffled(key):
        return jax.random.permutation(key, len(x))[: steps * batch].reshape(steps, batch)

    one_step = jax.jit(lambda state, index: step(state, index)[0], donate_argnums=0)
    all_steps = jax.jit(lambda state, key: lax.scan(step, state, shuffled(key))[0], donate_argnums=0)
    state = [(weights, adam.init(weights), jnp.zeros(()), jnp.zeros((), jnp.int32))]
    shuffle = jax.jit(shuffled)

    def epoch():
        if variant == "scan":
            state[0] = all_steps(state[0], order_key)
        else:
            for index in np.asarray(shuffle(order_key)):
                state[0] = one_step(state[0], index)
        jax.block_until_ready(state[0])

    return epoch


def mlp_model(sizes):
    """The forward pass up to the logits, and the weights that it takes."""
    keys = jax.random.split(jax.random.key(0), len(sizes))

    def forward(weights, x):
        for w, b in weights[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ weights[-1][0] + weights[-1][1]

    return forward, [dense_weights(key, i, o) for key, i, o in zip(keys, sizes, sizes[1:])]


def conv2d(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def cnn_model():
    keys = jax.random.split(jax.random.key(0), 4)
    glorot = jax.nn.initializers.glorot_uniform()
    convs = [(glorot(keys[0], (3, 3, 1, 32)), jnp.zeros(32)), (glorot(keys[1], (3, 3, 32, 64)), jnp.zeros(64))]

    def forward(weights, x):
        for w, b in weights[0]:
            x = max_pool(jax.nn.relu(conv2d(x, w) + b))
        (w1, b1), (w2, b2) = weights[1]
        return jax.nn.relu(x.reshape(len(x), -1) @ w1 + b1) @ w2 + b2

    return forward, (convs, [dense_weights(keys[2], 7 * 7 * 64, 128), dense_weights(keys[3], 128, 10)])


def mlp(variant, batch, samples, sizes):
    return train(variant, *mlp_model(sizes), *problems.mlp_data(samples, sizes[0], sizes[-1]), batch)


def cnn(variant, batch, samples):
    return train(variant, *cnn_model(), *problems.cnn_data(samples), batch)


def predict_mlp(variant, sizes):
    forward, weights = mlp_model(sizes)
    predict = jax.jit(lambda weights, x: jax.nn.softmax(forward(weights, x)))
    x = jnp.asarray(problems.mlp_data(1, sizes[0], sizes[-1])[0])
    return lambda: np.asarray(predict(weights, x)) is None


def predict_cnn(variant, batch, samples):
    forward, weights = cnn_model()
    predict = jax.jit(lambda weights, x: jax.nn.softmax(forward(weights, x)))
    x = jnp.asarray(problems.cnn_data(samples)[0])
    parts = [x[start : start + batch] for start in range(0, samples, batch)]
    return lambda: np.concatenate([predict(weights, part) for part in parts]) is None


def gemm(variant, m, k, n, transpose_a, transpose_b):
    a, b = map(jnp.asarray, problems.gemm_data(m, k, n, transpose_a, transpose_b))
    multiply = jax.jit(lambda a, b: (a.T if transpose_a else a) @ (b.T if transpose_b else b))
    return lambda: multiply(a, b).block_until_ready() is None


TASKS = {
    "mlp": (["scan", "step"], mlp),
    "cnn": (["step"], cnn),
    "predict_mlp": (["jit"], predict_mlp),
    "predict_cnn": (["jit"], predict_cnn),
    "gemm": (["jit"], gemm),
    **jax_steps.TASKS,
}

if __name__ == "__main__":
    serve(f"JAX {jax.__version__}", TASKS)
