"""`fastnn bench` runs and prints sane rows. What it measures is never asserted: only that it is positive and finite."""

import importlib
import json
import math
import re
import runpy

import pytest

from fastnn import _backend, cli
from fastnn.benchmark import contest, contests, kernels, limits, shapes, table, timing

FOUND = limits.Limits(2, 100e9, {1 << 20: 50e9, 1 << 28: 10e9}, {1 << 20: 40e9, 1 << 28: 20e9})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(limits, "measure", lambda threads=None, seconds=0.1: FOUND)
    monkeypatch.setattr(contest, "_PAUSE", 0.0)
    threads = _backend.get_num_threads()
    yield
    _backend.set_num_threads(threads)


def bench(capsys, *arguments):
    code = cli.main(["bench", "--seconds", "0", "--repeats", "1", *arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_prints_kernels(capsys, tmp_path):
    path = tmp_path / "report.json"
    code, out, _ = bench(capsys, "--filter", "gemm 128x128", "--json", str(path))
    assert code == 0
    assert "100 GFLOP/s" in out and "copy 10.0 GB/s" in out and "scale 20.0 GB/s" in out
    assert re.search(r"kernel +time +GB/s +GFLOP/s +share of limit +bound by", out)
    assert re.search(r"gemm 128x128x128 NN +[\d.]+ [mu]?s +[\d.]+ +[\d.]+ +\d+% +arithmetic", out)
    report = json.loads(path.read_text())
    assert [row["name"] for row in report["results"]] == ["gemm 128x128x128 NN"]
    assert 0 < report["results"][0]["seconds"] < math.inf and report["isa"] == _backend.isa


def test_prints_peers(capsys):
    code, out, _ = bench(capsys, "--peers", "numpy", "--filter", "gemm 128x128", "--threads", "1")
    assert code == 0
    ours, numpy = [line for line in out.splitlines() if line.startswith(("fastnn ", "NumPy "))]
    assert re.match(r"fastnn \S+ kernel +[\d.]+ +[\d.]+ [mu]?s +\d+% +\d+% +\d+$", ours)
    assert re.match(r"NumPy \S+ OpenBLAS +[\d.]+ +[\d.]+ [mu]?s +\d+% +\d+% +[\d.]+ x +\d+$", numpy)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--filter", "nonsense"], "fastnn bench: --filter must be words in the name of a row, got 'nonsense'. Names"),
        (["--repeats", "0"], "fastnn bench: --repeats must be a whole number of at least 1, got 0"),
        (["--threads", "0"], "set_num_threads: n must be a whole number from 1 to 4095, got 0"),
        (["--peers", "caffe"], "argument --peers: invalid choice: 'caffe'"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, message):
    code, _, err = bench(capsys, *arguments)
    assert code == 2 and message in err


@pytest.mark.parametrize("row", [row for row in kernels.rows() if row.footprint < 1 << 26], ids=lambda row: row.name)
def test_every_row_runs(row):
    row.make(_backend.kernels)()
    assert row.moved >= row.footprint > 0 or row.name.startswith("gather")


def test_every_task_is_one_that_fastnn_does():
    present, missing = contest.installed(["ours", "numpy", "tensorflow"], threads=1)
    assert {job.task for job in contests.CONTESTS} <= set(present["ours"]["tasks"])
    assert set(present) == {"ours", "numpy"} and "tensorflow_peer.py" in missing["tensorflow"]


NETWORKS = {
    "mlp": {"batch": 2, "samples": 4, "sizes": (5, 4, 3)},
    "cnn": {"batch": 2, "samples": 4},
    "predict_mlp": {"sizes": (5, 4, 3)},
    "predict_cnn": {"batch": 2, "samples": 4},
    "torch_mlp": {"batch": 2, "samples": 4, "sizes": (5, 4, 3)},
    "torch_cnn": {"batch": 2, "samples": 4},
}


def tasks_of(monkeypatch, script):
    monkeypatch.setenv("BENCH_THREADS", "1")
    monkeypatch.syspath_prepend(str(contest.peers_folder()))
    return runpy.run_path(str(contest.peers_folder() / f"{script}.py"))["TASKS"]


@pytest.mark.parametrize("task", NETWORKS)
@pytest.mark.parametrize("script", ["ours", "torch_peer"])
def test_networks_run(monkeypatch, script, task):
    variants, build = tasks_of(monkeypatch, script)[task]
    for variant in variants:
        seconds = build(variant, **NETWORKS[task])()
        assert seconds > 0 if isinstance(seconds, float) else not seconds  # an array would stay in memory


@pytest.mark.parametrize("script", ["ours", "torch_peer", "jax_peer", "numpy_peer", "limit_peer"])
def test_optimizer_steps_run(monkeypatch, script):
    tasks = tasks_of(monkeypatch, script)
    for task in {job.task for job in contests.CONTESTS if job.kind == "optimizers"} & set(tasks):
        variants, build = tasks[task]
        for variant in variants:
            step = build(variant, shapes=[(3, 4), (5,)])
            assert step() is None and step() is None


def test_parameters_of_networks():
    count = {name: sum(map(math.prod, make())) for name, make in shapes.NETWORKS.items()}
    assert (len(shapes.resnet50()), count["ResNet-50"]) == (161, 25_557_032)
    assert (len(shapes.bert_base()), count["BERT-base"]) == (199, 109_482_240)
    assert (count["1000 x 1000"], count["25M"]) == (1_000_000, 25_000_000)


def test_fastnn_stands_beside_each_peer_in_the_form_for_it():
    ours = [contest.Result("ours", "fastnn", form, [time]) for form, time in (("functional", 1.0), ("torch", 2.0))]
    others = {peer: contest.Result(peer, peer, "", [4.0]) for peer in ("torch", "deepspeed", "jax", "numpy")}
    entries = [*ours, *others.values()]
    assert [contest.ours_beside(other, entries).median for other in others.values()] == [2.0, 2.0, 1.0, 1.0]
    assert contest.ours_beside(others["torch"], [others["torch"]]) is None


def test_forms_that_a_contest_leaves_out(monkeypatch):
    present = {"numpy": {"name": "NumPy", "tasks": {"gemm": ["OpenBLAS", "slow"]}}}
    job = contests.Contest("job", "gemm", {}, 1, "GFLOP/s", 1, left_out=("slow",))
    assert [entry.variant for entry in contest.run(job, present, 1, 1, 0.0)] == ["OpenBLAS"]


def test_contests_are_whole_batches_and_found_by_name():
    names = [job.name for job in contests.CONTESTS]
    assert len(set(names)) == len(names) and contests.select() == list(contests.CONTESTS)
    assert [job.name for job in contests.select("mlp, batch 8")] == ["seed MLP, batch 8"]
    assert [job.name for job in contests.select("gemm 128X128")] == ["GEMM 128x128x128 NN"]
    for job in contests.CONTESTS:
        assert job.steps * job.parameters.get("batch", job.amount) == job.amount or job.steps == 1
        assert job.flops > 0 and job.moved >= job.footprint > 0


def test_turns_of_short_runs_have_many(monkeypatch):
    monkeypatch.syspath_prepend(str(contest.peers_folder()))
    protocol, calls = importlib.import_module("protocol"), []
    assert protocol.measure(lambda: calls.append(1), 0.0)["runs"] >= 1
    # Runs that give their own seconds: 1 + 2 + 4 of them warm up until half of the time has passed, then 8 are timed.
    calls.clear()
    assert protocol.measure(lambda: calls.append(1) or 0.01, 0.08) == {
        "seconds": pytest.approx(0.01),
        "runs": 8,
        "peak_mb": pytest.approx(protocol.peak_memory(), rel=0.5),
    }
    assert len(calls) == 1 + 2 + 4 + 8


def test_mistakes_of_a_peer_are_reported(capsys):
    present, _ = contest.installed(["numpy"], threads=1)
    wrong = contests.Contest("wrong", "gemm", {"m": -1, "k": 1, "n": 1}, 1, "GFLOP/s", 1)
    (result,) = contest.run(wrong, present, threads=1, repeats=1, seconds=0.0)
    assert "missing 2 required positional arguments" in result.error and math.isnan(result.median)


def test_limits_are_measured(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(limits, "_WARM_UP", 1)
    monkeypatch.setattr(limits, "FOOTPRINTS", (1 << 12, 1 << 14))
    threads = _backend.get_num_threads()
    found = limits.measure.__wrapped__(seconds=0.0)
    assert found.threads == threads and found.flops > 0 and set(found.copy) == set(found.scale) == {1 << 12, 1 << 14}
    assert all(rate > 0 for rate in (*found.copy.values(), *found.scale.values()))


def test_share_is_of_the_nearer_limit():
    assert FOUND.bandwidth(1) == 50e9 and FOUND.bandwidth(1 << 30) == 20e9
    assert FOUND.bandwidth(1 << 24) == pytest.approx(35e9)  # half-way by its logarithm
    assert FOUND.share(2.0, flops=100e9, moved=1.0, footprint=1.0) == pytest.approx(0.5)
    assert FOUND.share(2.0, flops=1.0, moved=20e9, footprint=1 << 30) == pytest.approx(0.5)
    bounds = [table.bound_by(*row, FOUND) for row in ((9e9, 1.0, 1.0), (1.0, 9e9, 1.0), (1.0, 9e9, 1 << 30))]
    assert bounds == ["arithmetic", "cache", "memory"]


def test_tables():
    lines = table.text(("a", "b"), [("long", "1"), ("x", "1000")]).splitlines()
    assert lines == ["a        b", "long     1", "x     1000"]
    assert table.text(("a", "b"), [("x", "1")], markdown=True) == "| a | b |\n| - | : |\n| x | 1 |"
    times = (2.5, 0.1234, 9.999e-4, 5e-6)
    assert [table.duration(t) for t in times] == ["2.5 s", "123 ms", "1 ms", "5 us"]


def test_seconds_are_the_median_of_means():
    calls = []
    assert timing.median_seconds(lambda: calls.append(1), seconds=0.0, repeats=3) > 0
    assert len(calls) == 5
