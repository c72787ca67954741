"""Several ranks that train one model: the same weights on all, and those of one rank that sees all samples."""

import pytest
from rank_processes import Ranks, run_ranks

# The same data and model on every rank; `alone` trains it in this process without the group.
MODEL = """
from fastnn import callbacks, layers, models, optimizers
import fastnn

rng = np.random.default_rng(3)
x = rng.standard_normal((96, 12)).astype(np.float32)
y = rng.integers(0, 4, 96)

def network(optimizer="sgd", seed=5, **options):
    fastnn.set_seed(seed)
    model = models.Sequential([
        layers.Dense(9, activation="relu", input_shape=(12,)), layers.Dense(4, activation="softmax")])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model

def weights(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])

def same_on_all(values):
    gathered = np.zeros(values.size * world, values.dtype)
    comm.all_gather(np.ascontiguousarray(values), gathered)
    assert all(np.array_equal(part, gathered[:values.size]) for part in gathered.reshape(world, -1))
"""
ALONE = """
from fastnn.distributed import state
def alone(work):
    kept, state._current = state._current, None
    try:
        return work()
    finally:
        state._current = kept
"""


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("capture", [True, False])
def test_fit_gives_the_weights_of_one_rank_with_all_samples(tmp_path, world, capture):
    """Batches of 8 on each rank are one of 8 * world on one rank, since the order of samples is shared."""
    script = f"""{MODEL}{ALONE}
model = network(optimizers.Adam(0.01), seed=rank, capture={capture})   # weights of rank 0 come to all
history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
same_on_all(weights(model))
def whole():
    reference = network(optimizers.Adam(0.01), seed=0, capture={capture})
    # rank r has the samples r, r + world, ...: 8 of each make one batch
    return reference, reference.fit(x, y, batch_size=8 * world, epochs=3, shuffle=False, verbose=0)
reference, expected = alone(whole)
assert np.allclose(weights(model), weights(reference), rtol=0, atol=2e-6)
for name in ("loss", "accuracy"):
    assert np.allclose(history.history[name], expected.history[name], rtol=1e-5), name
say(history.history["accuracy"])
"""
    results = run_ranks(tmp_path, script, world)
    assert all(result == results[0] for result in results)


def test_uneven_data_is_trained_on_to_the_last_sample(tmp_path):
    """97 samples on 3 ranks in batches of 10: 33, 32 and 32, the last batches have 3, 2 and 2."""
    script = f"""{MODEL}{ALONE}
x, y = np.concatenate([x, x[:1]]), np.concatenate([y, y[:1]])
model = network()
history = model.fit(x, y, batch_size=10, epochs=2, shuffle=False, verbose=0)
same_on_all(weights(model))
def whole():
    reference = network()
    def batches():
        for _ in range(2):
            for begin in range(0, 33, 10):
                own = [np.arange(r, 97, world)[begin:begin + 10] for r in range(world)]
                yield x[np.concatenate(own)], y[np.concatenate(own)]
    return reference, reference.fit(batches(), epochs=2, steps_per_epoch=4, verbose=0)
reference, expected = alone(whole)
assert np.allclose(weights(model), weights(reference), rtol=0, atol=2e-6)
assert np.allclose(history.history["loss"], expected.history["loss"], rtol=1e-5)
say("done")
"""
    assert run_ranks(tmp_path, script, 3) == [["done"]] * 3


def test_iterables_of_different_lengths(tmp_path):
    """Rank 1 has one batch, rank 0 has three: nobody waits for ever, and every batch counts."""
    script = f"""{MODEL}
model = network()
own = [(x[i:i + 8], y[i:i + 8]) for i in (range(0, 24, 8) if rank == 0 else (80,))]
seen = []
history = model.fit(own, epochs=2, verbose=0, callbacks=[callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: seen.append(batch))])
same_on_all(weights(model))
say([seen, history.history["loss"], model.optimizer.iterations])
"""
    first, second = run_ranks(tmp_path, script, 2)
    assert first[0][0] == [0, 1, 2] * 2 and second[0][0] == [0, 0]
    assert first[0][1] == second[0][1] and first[0][2] == second[0][2] == 6


def test_shuffled_epochs_have_one_order(tmp_path):
    script = f"""{MODEL}
model = network(seed=rank)
history = model.fit(x, y, batch_size=16, epochs=4, verbose=0)
same_on_all(weights(model))
say(history.history["loss"])
"""
    first, second = run_ranks(tmp_path, script, 2)
    assert first == second and first[0][-1] < first[0][0]


def test_only_rank_0_prints_and_writes(tmp_path):
    script = f"""{MODEL}
import io, contextlib
model = network()
out = io.StringIO()
with contextlib.redirect_stdout(out):
    model.fit(x, y, batch_size=16, epochs=1, verbose=2, callbacks=[
        callbacks.CSVLogger(f"log-{{rank}}.csv"), callbacks.ModelCheckpoint(f"model-{{rank}}.safetensors")])
say("Epoch 1/1" in out.getvalue())
"""
    assert run_ranks(tmp_path, script, 2) == [[True], [False]]
    assert (tmp_path / "log-0.csv").is_file() and (tmp_path / "model-0.safetensors").is_file()
    assert not (tmp_path / "log-1.csv").exists() and not (tmp_path / "model-1.safetensors").exists()


def test_a_loss_that_is_not_finite_on_one_rank_is_an_error_on_all(tmp_path):
    script = f"""{MODEL}
import warnings
warnings.simplefilter("ignore")
model = network()
before = weights(model)
own = [(x[:8] * (np.nan if rank == 1 else 1), y[:8])]
say(fails(lambda: model.fit(own, verbose=0)))
say(bool(np.array_equal(weights(model), before)))
"""
    for error, unchanged in run_ranks(tmp_path, script, 2):
        assert error["type"] == "FloatingPointError" and "over all ranks at epoch 1, batch 0" in error["text"]
        assert unchanged


def test_a_callback_that_stops_on_one_rank_stops_all(tmp_path):
    script = f"""{MODEL}
model = network()
def stop(batch, logs):
    if rank == 1 and batch == 1:
        model.stop_training = True
stopper = callbacks.LambdaCallback(on_train_batch_end=stop)
history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[stopper])
same_on_all(weights(model))
say(model.optimizer.iterations)
"""
    first, second = run_ranks(tmp_path, script, 2)
    assert first == second == [3]


def test_a_step_of_one_rank_alone_is_refused(tmp_path):
    script = f"""{MODEL}
say(fails(lambda: network().train_on_batch(x, y)))
"""
    for (error,) in run_ranks(tmp_path, script, 2):
        assert (
            error["text"]
            == "train_on_batch: the group of ranks must be of one rank, got 2. Use fit, which all ranks call."
        )


def test_a_rank_killed_in_training_is_named(tmp_path):
    script = f"""{MODEL}
model = network()
say("ready")
def slow(batch, logs):
    time.sleep(0.01)
say(fails(lambda: model.fit(x, y, batch_size=4, epochs=10**6, verbose=0, callbacks=[
    callbacks.LambdaCallback(on_train_batch_end=slow)])))
"""
    with Ranks(tmp_path, script, 2) as ranks:
        assert [ranks.heard(rank) for rank in range(2)] == ["ready"] * 2
        ranks.kill(1)
        error = ranks.heard(0)
    assert error["type"] == "RankDied" and error["rank"] == 1


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(
    "optimizer",
    [
        "optimizers.Adam(0.01)",
        "optimizers.SGD(0.05, momentum=0.9, clipvalue=0.05)",
        "optimizers.AdamW(0.01, weight_decay=0.1)",
    ],
)
def test_sharded_optimizers_give_the_same_bits(tmp_path, world, optimizer):
    """With `exclude_from_weight_decay`: pieces of parameters keep their names."""
    script = f"""{MODEL}
def trained(wrap):
    optimizer = {optimizer}
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = network(wrap(optimizer))
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    return model
whole, sharded = trained(lambda optimizer: optimizer), trained(distributed.Sharded)
assert np.array_equal(weights(whole), weights(sharded))
same_on_all(weights(sharded))
state = sharded.optimizer.state_arrays()
full = sum(a.size for name, a in whole.optimizer.state_arrays().items() if name != "iterations")
own = np.array([sum(a.size for name, a in state.items() if name != "iterations")])
say([int(own[0]), full, sharded.optimizer.iterations, whole.optimizer.iterations])
comm.all_reduce(own)
assert own[0] == full
"""
    for own, full, steps, expected in (result[0] for result in run_ranks(tmp_path, script, world)):
        assert steps == expected and own <= full / world + 3 * 64


def test_sharded_refuses_what_looks_at_whole_tensors():
    from fastnn import distributed, layers, models, optimizers

    for optimizer in ("lamb", "muon", "lars"):
        with pytest.raises(ValueError, match="sharded: optimizer must be one that updates element by element, got"):
            distributed.Sharded(optimizer)
    for option in ({"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"skip_nonfinite": True}):
        with pytest.raises(ValueError, match=f"optimizer must be one without {next(iter(option))}, which looks at all"):
            distributed.Sharded(optimizers.Adam(**option))
    model = models.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(ValueError, match="Sharded: the model must be compiled after init, got a call before. Call"):
        model.compile(distributed.Sharded("adam"), "mse")
