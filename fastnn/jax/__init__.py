"""optax's optimizers as fused kernels: one call by XLA updates all leaves of a tree, on all threads.

    from fastnn import jax as fused            # optax.adamw(...) becomes fused.adamw(...), nothing else changes

    optimizer = fused.adamw(learning_rate=optax.cosine_decay_schedule(1e-3, 1000), weight_decay=1e-2)
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, batch):
        grads = jax.grad(loss)(params, batch)
        return optimizer.fused_apply(params, grads, state)

Names, arguments, defaults, values and states are optax's: a state goes from one to the other in the middle of a
training. ``update`` works wherever a ``GradientTransformation`` does, in ``optax.chain``, ``masked``,
``multi_transform`` and ``inject_hyperparams``; ``fused_apply`` also adds the updates to the parameters, in the same
pass over memory.

Needs jax and optax (``pip install 'fastnn-kernels[jax]'``) and arrays of float32, bfloat16 or float16 on the CPU, which
it computes with in float32. ``muon`` is optax.contrib's.
"""

from fastnn import _check

try:
    import jax as _jax
    import optax as _optax
except ImportError as error:
    _check.fail(
        "fastnn.jax",
        f"the module {error.name or 'jax'}",
        "installed",
        f"'{error}'",
        "Run `pip install 'fastnn-kernels[jax]'`.",
        ImportError,
    )

from fastnn.jax.layerwise_rules import lamb, lars
from fastnn.jax.muon import muon
from fastnn.jax.rules import adagrad, adam, adamw, amsgrad, lion, nadam, nadamw, rmsprop, sgd
from fastnn.jax.transformation import FusedTransformation

del _jax, _optax

__all__ = [
    "FusedTransformation",
    "adagrad",
    "adam",
    "adamw",
    "amsgrad",
    "lamb",
    "lars",
    "lion",
    "muon",
    "nadam",
    "nadamw",
    "rmsprop",
    "sgd",
]
