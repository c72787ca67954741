"""BackupAndRestore: a run that was cut off, once started anew, ends with the bits of one that wasn't."""

import re

import numpy as np
import pytest
from rank_processes import run_ranks
from test_supervisor import finish, start  # noqa: F401 (a fixture)

import fastnn
from fastnn import callbacks, data, layers, models, optimizers

RNG = np.random.default_rng(7)
X = RNG.standard_normal((70, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 70)


class CutOff(Exception):
    pass


def network(seed=1, capture=True, optimizer=None):
    fastnn.set_seed(seed)
    model = models.Sequential(
        [
            layers.Dense(8, activation="relu", input_shape=(6,)),
            layers.Dropout(0.3),
            layers.Dropout(0.2, seed=5),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer or optimizers.Adam(0.01), "sparse_categorical_crossentropy", capture=capture)
    return model


def cut_off_at(epoch, batch):
    current = []

    def stop(number, logs):
        if current[-1] == epoch and number == batch:
            raise CutOff

    return callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: current.append(e), on_train_batch_end=stop)


def weights(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def arrays(model):
    return {"x": X, "y": Y, "batch_size": 16}


def loader(model):
    return {"x": data.Loader(X, Y, batch_size=16, shuffle=True)}


def part_of_loader(model):
    return {"x": data.Loader(X, Y, batch_size=16, shuffle=True), "steps_per_epoch": 3}


@pytest.mark.parametrize("source", [arrays, loader, part_of_loader], ids=lambda source: source.__name__)
@pytest.mark.parametrize("capture", [True, False])
def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(tmp_path, capture, source):
    """Order of samples, both kinds of dropout, the optimizer's state and the learning rate are those of the other."""

    def halve():
        return callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)

    model = network(capture=capture)
    model.fit(**source(model), epochs=5, verbose=0, callbacks=[halve()])
    expected, rate = weights(model), model.optimizer.learning_rate
    model = network(capture=capture)
    backup = [halve(), callbacks.BackupAndRestore(tmp_path / "runs" / "1")]
    with pytest.raises(CutOff):
        model.fit(**source(model), epochs=5, verbose=0, callbacks=[*backup, cut_off_at(3, 1)])
    names_left = names(tmp_path / "runs" / "1")
    assert names_left == [f"epoch-0000{epoch}.rank-0-of-1.safetensors" for epoch in (2, 3)]
    again = network(seed=1, capture=capture)
    history = again.fit(**source(again), epochs=5, verbose=0, callbacks=backup)
    assert history.epoch == [3, 4] and again.optimizer.learning_rate == rate
    assert np.array_equal(weights(again), expected)
    assert names(tmp_path / "runs" / "1") == []


def test_what_is_torn_is_passed_over(tmp_path, capsys):
    expected = network()
    expected.fit(X, Y, epochs=4, verbose=0)
    model = network()
    keep = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    with pytest.raises(CutOff):
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[keep, cut_off_at(3, 0)])
    newest = tmp_path / "epoch-00003.rank-0-of-1.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    (tmp_path / ".epoch-00004.rank-0-of-1.safetensors.0a1b2c3d").write_bytes(b"draft")
    (tmp_path / "epoch-00009.txt").write_text("of the user")
    again = network(seed=2)
    history = again.fit(X, Y, epochs=4, verbose=2, callbacks=[keep])
    assert history.epoch == [2, 3] and np.array_equal(weights(again), weights(expected))
    assert f"Going on after epoch 2, as saved in {tmp_path}\n" in capsys.readouterr().out
    own = [f"epoch-0000{epoch}.rank-0-of-1.safetensors" for epoch in (3, 4)]
    assert names(tmp_path) == [*own, "epoch-00009.txt"]
    # A run that is over isn't done again.
    assert network().fit(X, Y, epochs=4, verbose=0, callbacks=[keep]).epoch == []


def test_a_backup_is_a_model_too(tmp_path):
    keep = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    model = network()
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[keep])
    (path,) = tmp_path.iterdir()
    assert np.array_equal(weights(models.load_model(path)), weights(model))
    other = network(seed=3)
    other.load_weights(path)
    assert np.array_equal(weights(other), weights(model))


def test_a_model_that_can_not_be_saved_can_be_backed_up(tmp_path):
    def loss(y_true, y_pred):
        return ((y_pred - y_true) ** 2)[:, 0], 2 * (y_pred - y_true)

    def fit(epochs):
        model = models.Sequential([layers.Dense(1, input_shape=(6,))])
        model.compile("sgd", loss, capture=False)
        keep = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        return model, model.fit(X, X[:, :1], epochs=epochs, verbose=0, callbacks=[keep]).epoch

    first, _ = fit(1)
    with pytest.raises(ValueError, match="to be saved"):
        first.save(tmp_path / "model.safetensors")
    again, epochs = fit(1)
    assert epochs == [] and np.array_equal(weights(again), weights(first))


def test_messages(tmp_path):
    keep = callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    network().fit(X, Y, epochs=1, verbose=0, callbacks=[keep])
    other = models.Sequential([layers.Dense(3, activation="softmax", input_shape=(6,))])
    other.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="BackupAndRestore: filepath must be a file with the weights of this model"):
        other.fit(X, Y, epochs=1, verbose=0, callbacks=[keep])
    with pytest.raises(ValueError, match="state must be the .* arrays of this optimizer"):
        network(optimizer="sgd").fit(X, Y, epochs=2, verbose=0, callbacks=[keep])
    open_model = models.Sequential([layers.Dense(3, activation="softmax")])
    open_model.compile("sgd", "sparse_categorical_crossentropy")
    message = "BackupAndRestore: the model must be built before training, got one without an input shape"
    with pytest.raises(ValueError, match=message):
        open_model.fit([(X, Y)], epochs=1, verbose=0, callbacks=[keep])
    with pytest.raises(TypeError, match="BackupAndRestore: delete_checkpoint must be"):
        callbacks.BackupAndRestore(tmp_path, delete_checkpoint="no")


# A program as users write it; `cut` says where it ends at its first start, `folder` where it saves.
PROGRAM = """
import hashlib, os, signal
import numpy as np
import fastnn
from fastnn import callbacks, distributed, layers, models, optimizers
comm = distributed.init(join_timeout=60)
rng = np.random.default_rng(7)
x, y = rng.standard_normal((70, 6)).astype(np.float32), rng.integers(0, 3, 70)
fastnn.set_seed(comm.rank)
model = models.Sequential([layers.Dense(8, activation="relu", input_shape=(6,)), layers.Dropout(0.3),
                           layers.Dense(3, activation="softmax")])
model.compile({optimizer}, "sparse_categorical_crossentropy")
state = [0]
def kill(batch, logs):
    if state == [3] and batch == 2 and comm.rank == {victim} and comm.launch.restart == 0:
        os.kill(os.getpid(), signal.SIGKILL)
note = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: state.__setitem__(0, epoch), on_train_batch_end=kill)
save = callbacks.BackupAndRestore({folder}, delete_checkpoint={delete})
history = model.fit(x, y, batch_size=8, epochs={epochs}, verbose=0, callbacks=[note, save])
weights = hashlib.sha256(np.concatenate([w.ravel() for w in model.get_weights()]).tobytes()).hexdigest()
"""
SAY = 'print(f"{comm.rank} {history.epoch} {weights}" + chr(10), end="", flush=True)\n'


def program(optimizer="optimizers.Adam(0.01)", victim=-1, folder="'saved'", delete=True, epochs=5):
    return PROGRAM.format(optimizer=optimizer, victim=victim, folder=folder, delete=delete, epochs=epochs)


@pytest.mark.parametrize("optimizer", ["optimizers.Adam(0.01)", "distributed.Sharded('adam')"])
def test_a_supervised_run_goes_on_after_a_rank_was_killed(start, tmp_path, optimizer):  # noqa: F811
    """Each rank has a folder of its own, as on hosts without a common one."""
    ends = []
    for victim in (-1, 1):
        text = program(optimizer, victim, "f'saved-{comm.rank}'") + SAY
        code, out, err = finish(start(["-n", "2", "--max-restarts", "1"], text))
        assert code == 0, err
        assert ("was ended by SIGKILL" in err and "starting all ranks anew" in err) == (victim == 1)
        lines = [re.fullmatch(r"(\d) (\[.*\]) (\w+)", line).groups() for line in sorted(out.splitlines())]
        assert [line[:2] for line in lines] == [
            (str(rank), str([0, 1, 2, 3, 4][3 if victim == 1 else 0 :])) for rank in (0, 1)
        ]
        ends += [line[2] for line in lines]
        assert names(tmp_path / "saved-0") == names(tmp_path / "saved-1") == []
    assert len(set(ends)) == 1


REPORT = "say([history.epoch, weights])\n"


def test_all_ranks_go_on_from_the_newest_epoch_that_all_have(tmp_path):
    expected = run_ranks(tmp_path, program(folder="'whole'", epochs=4) + REPORT, 2, join=False)
    text = program(folder="f'own-{comm.rank}'", delete=False, epochs=3)
    run_ranks(tmp_path, text, 2, join=False)
    (tmp_path / "own-1" / "epoch-00003.rank-1-of-2.safetensors").unlink()  # as if it had been killed before
    text = program(folder="f'own-{comm.rank}'", delete=False, epochs=4) + REPORT
    results = run_ranks(tmp_path, text, 2, join=False)
    assert [result[0][0] for result in results] == [[2, 3]] * 2
    assert [result[0][1] for result in results] == [result[0][1] for result in expected]
    # With nothing that all have they begin anew, together.
    for path in (tmp_path / "own-0").iterdir():
        path.unlink()
    results = run_ranks(tmp_path, text, 2, join=False)
    assert results == expected


@pytest.mark.parametrize("before, after", [(3, 2), (2, 3), (2, 1), (1, 2)])
def test_another_number_of_ranks_goes_on(tmp_path, before, after):
    run_ranks(tmp_path, program(delete=False, epochs=2), before, join=False)
    results = run_ranks(tmp_path, program(epochs=3) + REPORT, after, join=False)
    assert results == [[[[2], results[0][0][1]]]] * after
    assert names(tmp_path / "saved") == []


def test_parts_of_a_state_need_as_many_ranks(tmp_path):
    sharded = {"optimizer": "distributed.Sharded('adam')", "delete": False}
    run_ranks(tmp_path, program(epochs=1, **sharded), 2, join=False)
    text = (
        program(epochs=2, **sharded)
        .replace("history = ", "say(fails(lambda: ")
        .replace("save])", "save])))\nraise SystemExit")
    )
    for (error,) in run_ranks(tmp_path, text, 3, join=False):
        message = "BackupAndRestore: the number of ranks must be 2, among which the state of the optimizer in 'saved'"
        assert error["text"].startswith(message) and error["text"].endswith("got 3")
