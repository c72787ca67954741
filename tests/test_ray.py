"""Ray Train, with a cluster of two nodes on this machine: a worker is killed, then a node is taken away."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rank_processes import PACKAGE, run_ranks

pytest.importorskip("ray", reason="Ray Train isn't installed: pip install 'ray[train]'")

LIMIT = 170  # seconds; on two idle cores it takes 50, of which Ray needs 25 to see that the node has gone

# What every rank runs, whoever starts it: (epochs that were trained, the weights at the beginning of each).
TRAIN = """
import hashlib, json, os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import fastnn
from fastnn import callbacks, distributed, layers, models

def digest(model):
    return hashlib.sha256(np.concatenate([w.ravel() for w in model.get_weights()]).tobytes()).hexdigest()

def train(extra, on_batch):
    comm = distributed.current()
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((70, 6)).astype(np.float32), rng.integers(0, 3, 70)
    fastnn.set_seed(comm.rank)
    model = models.Sequential([layers.Dense(8, activation="relu", input_shape=(6,)), layers.Dropout(0.3),
                               layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    epochs, weights = [], []
    def begin(epoch, logs):
        epochs.append(epoch)
        weights.append(digest(model))
    note = callbacks.LambdaCallback(
        on_epoch_begin=begin, on_train_batch_end=lambda batch, logs: on_batch(epochs, weights, batch))
    model.fit(x, y, batch_size=8, epochs=5, verbose=0, callbacks=[note, *extra])
    return epochs, weights
"""
DRIVER = """
import threading
import ray
from ray.cluster_utils import Cluster
from fastnn.distributed.ray import trainer

folder = Path(sys.argv[1])
node = {"num_cpus": 1, "object_store_memory": 80 * 1024**2, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
second = cluster.add_node(**node)
ray.init(address=cluster.address, log_to_driver=False)
cluster.wait_for_nodes()

def loop(config):
    os.environ["FASTNN_HOST_ID"] = ray.get_runtime_context().get_node_id()  # as if the nodes were two machines
    comm = distributed.init(join_timeout=40)
    folder = Path(config["folder"])
    with open(folder / f"started-{comm.rank}", "a") as file:
        print(comm.world_size, comm.hosts, int(os.environ["LOCAL_RANK"]) < comm.world_size, file=file)

    def on_batch(epochs, weights, batch):
        if comm.rank != 1 or batch != 2:
            return
        if epochs[-1] == 1 and not (folder / "killed").exists():
            (folder / "killed").touch()
            time.sleep(3)  # Ray looks about once a second for what was reported
            os.kill(os.getpid(), signal.SIGKILL)
        if epochs[-1] == 3:
            (folder / "second").write_text(json.dumps([epochs, weights]))
            (folder / "ready").touch()
            time.sleep(1000)

    (folder / f"ended-{comm.rank}").write_text(json.dumps(train([callbacks.RayCheckpoint()], on_batch)))

def take_away():
    while not (folder / "ready").exists():
        time.sleep(0.1)
    cluster.remove_node(second, allow_graceful=False)

threading.Thread(target=take_away, daemon=True).start()
result = trainer(loop, (1, 2), folder / "storage", max_failures=3, name="job", placement_strategy="SPREAD",
                 config={"folder": str(folder)}).fit()
with result.checkpoint.as_directory() as files:
    saved = os.listdir(files)
    model = models.load_model(os.path.join(files, saved[0]))
found = [result.metrics["epoch"], sorted(result.metrics), saved, model.optimizer.iterations]
(folder / "result").write_text(json.dumps(found))
os._exit(0)  # Ray's own end would fail, for a node is missing
"""


@pytest.fixture
def ray_driver(tmp_path):
    """A function that runs a driver's text, with nothing left of its cluster afterwards: what it writes."""
    tag = uuid.uuid4().hex
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the names of Ray's sockets must be short

    def run(program):
        (tmp_path / "driver.py").write_text(program)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RANK", "WORLD", "MASTER"))}
        env.update(PYTHONPATH=str(PACKAGE.parent), OMP_NUM_THREADS="1", RAY_TEST_TAG=tag, RAY_TMPDIR=short)
        env.update(RAY_USAGE_STATS_ENABLED="0", RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="22")
        command = [sys.executable, "driver.py", str(tmp_path)]
        with open(tmp_path / "said", "w") as said:  # a pipe would be held by children
            process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=said, stderr=said, start_new_session=True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LIMIT)
        how = "took too long" if process.poll() is None else f"ended with {process.returncode}"
        assert process.poll() == 0, f"{how}: {(tmp_path / 'said').read_text()[-6000:]}"
        return json.loads((tmp_path / "result").read_text())

    yield run
    end_all(tag)
    shutil.rmtree(short, ignore_errors=True)


def end_all(tag):
    """Ends the processes whose environment has the tag: Ray's are in sessions of their own."""
    mark, end, found = f"RAY_TEST_TAG={tag}".encode(), time.monotonic() + 20, True
    while found and time.monotonic() < end:
        found = False
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (place / "environ").read_bytes():
                    found = True
                    os.kill(int(place.name), signal.SIGKILL)
        time.sleep(0.1)


def undisturbed(folder):
    """The weights at the beginning of each epoch, with two ranks and no failure."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
    script = f"{TRAIN}\nsay(train([], lambda *now: None))\n"
    (first,), second = run_ranks(folder, script, 2, env=place, each=lambda rank: {"FASTNN_HOST_ID": str(rank)})
    assert second == [first]
    return first[1]


def test_training_goes_on_after_a_killed_worker_and_on_fewer_nodes(ray_driver, tmp_path):
    """In the second epoch a worker is killed, in the fourth one a node is taken away: the last two have one worker."""
    expected = undisturbed(tmp_path)
    epoch, metrics, saved, steps = ray_driver(TRAIN + DRIVER)
    assert (epoch, metrics, saved) == (5, ["epoch", "loss"], ["epoch-00005.rank-0-of-1.safetensors"])
    starts = [(tmp_path / f"started-{rank}").read_text().splitlines() for rank in (0, 1)]
    assert starts == [["2 2 True", "2 2 True", "1 1 True"], ["2 2 True", "2 2 True"]]
    epochs, weights = json.loads((tmp_path / "second").read_text())
    assert epochs == [1, 2, 3] and weights == expected[1:4]
    epochs, weights = json.loads((tmp_path / "ended-0").read_text())
    # Ray may not have taken up the last checkpoint, of the moment before.
    assert epochs in ([3, 4], [2, 3, 4]) and weights[0] == expected[epochs[0]]
    assert steps == 5 * epochs[0] + 9 * len(epochs)  # batches of 8: 5 with two ranks, 9 with one
    assert not (tmp_path / "ended-1").exists()


def test_arguments_are_checked():
    from fastnn.distributed.ray import trainer

    for workers in (0, (2, 1), (0, 1)):
        with pytest.raises(ValueError, match="ray.trainer: workers must be a whole number of at least"):
            trainer(print, workers, "storage")
    with pytest.raises(ValueError, match="ray.trainer: max_failures must be a whole number of at least -1, got -2"):
        trainer(print, 1, "storage", max_failures=-2)
    with pytest.raises(TypeError, match="ray.trainer: loop must be a function, got 3"):
        trainer(3, 1, "storage")


def test_workers_must_be_the_ranks(monkeypatch):
    from ray import train

    from fastnn import callbacks, layers, models

    monkeypatch.setattr(train, "get_context", lambda: SimpleNamespace(get_world_size=lambda: 2))
    model = models.Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="RayCheckpoint: the group must be one of Ray's 2 workers, got 1. Call fastnn"):
        model.fit(np.zeros((2, 2)), np.zeros((2, 1)), callbacks=[callbacks.RayCheckpoint()], verbose=0)
