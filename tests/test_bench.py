"""`fastnn bench` runs and prints sane rows. What it measures is never asserted: only that it is positive and finite."""

import importlib
import json
import math
import re
import runpy
from pathlib import Path

import pytest

from fastnn import _backend, cli
from fastnn.benchmark import contest, contests, kernels, limits, table, timing

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
}


@pytest.mark.parametrize("task", NETWORKS)
@pytest.mark.parametrize("script", ["ours", "torch_peer"])
def test_networks_run(monkeypatch, script, task):
    monkeypatch.setenv("BENCH_THREADS", "1")
    monkeypatch.syspath_prepend(str(contest.peers_folder()))
    variants, build = runpy.run_path(str(contest.peers_folder() / f"{script}.py"))["TASKS"][task]
    for variant in variants:
        seconds = build(variant, **NETWORKS[task])()
        assert seconds > 0 if isinstance(seconds, float) else not seconds  # an array would stay in memory


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
    assert [table.duration(t) for t in (2.5, 0.1234, 5e-6)] == ["2.5 s", "123 ms", "5 us"]


def test_seconds_are_the_median_of_means():
    calls = []
    assert timing.median_seconds(lambda: calls.append(1), seconds=0.0, repeats=3) > 0
    assert len(calls) == 5


@pytest.fixture
def bench_script(monkeypatch):
    """Loads a script of bench/."""
    folder = Path(__file__).parents[1] / "bench"
    monkeypatch.syspath_prepend(str(folder))
    return lambda name: importlib.import_module(name)


def saved(threads, isa, rates, job="job", unit="samples/s"):
    """A file of results: 100 samples in 10 steps at these rates, {(contender, form): samples a second}."""
    what = {"contest": job, "amount": 100, "unit": unit, "steps": 10, "peak_mb": 7.0, "error": "", "share": 0.5}
    entries = [
        {
            **what,
            "peer": name if name == "torch" else "ours",
            "contender": name,
            "variant": form,
            "seconds": [100 / rate],
        }
        for (name, form), rate in rates.items()
    ]
    entries.append({**entries[0], "contender": "jax", "peer": "jax", "seconds": [], "error": "broken", "share": None})
    found = {"threads": threads, "flops": 1e9 * threads, "copy": {"1": 9e9, "2": 3e9}, "scale": {"1": 9e9, "2": 4e9}}
    return {"cpu": "a CPU", "isa": isa, "limits": found, "results": entries}


def test_report_compares_runs(bench_script, tmp_path):
    report = bench_script("report")
    files = [
        saved(2, "new", {("fastnn", "fit"): 1.0, ("torch", "old"): 1.0}),
        saved(2, "new", {("fastnn", "fit"): 4000.0, ("torch", "fused"): 1000.0, ("torch", "foreach"): 500.0}),
        saved(
            2, "new", {("fastnn", "kernel"): 300.0, ("torch", "mm"): 2.0, ("torch", "addmm"): 3.0}, "product", "GB/s"
        ),
        saved(1, "new", {("fastnn", "fit"): 2500.0, ("torch", "fused"): 500.0}),
        saved(2, "old", {("fastnn", "fit"): 900.0, ("torch", "fused"): 1000.0}),
    ]
    paths = [tmp_path / f"{number}.json" for number in range(len(files) + 1)]
    for path, results in zip(paths, [*files, [{"sweep": "MLP batch", "size": 1, "contender": "fastnn", "cost": 1.0}]]):
        path.write_text(json.dumps(results))
    found = report.tables(*report.load(paths), markdown=True)
    cells = {name: [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]] for name, text in found.items()}
    assert cells["networks"] == ["job, samples/s", "4,000", "2.5 ms", "1,000 fused, 4.00 x", "50%", "7 / 7"]
    assert cells["kernels"] == ["product, GB/s", "300", "3 addmm, 100 x; 2 mm, 150 x", "50%"]
    assert cells["threads"][1:] == ["2,500 to 4,000: 1.60 x", "500 to 1,000: 2.00 x", "5.00 x"]
    assert cells["old"][:4] == ["job, samples/s", "900", "11.1 ms", "1,000 fused, 0.90 x"]
    assert "Limits with 2 threads: 2 GFLOP/s" in found["setup"] and "3 GB/s copied, 4 GB/s scaled" in found["setup"]
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: old -->\nx\n<!-- end -->\n<!-- table: other -->\nkept\n<!-- end -->\n")
    report.write_page(page, found)
    table_of_old = f"<!-- table: old -->\n{found['old']}\n<!-- end -->\n"
    assert page.read_text() == f"a\n{table_of_old}<!-- table: other -->\nkept\n<!-- end -->\n"


def test_sweeps_fit_lines(bench_script):
    sweep = bench_script("sweep")
    sizes = [2**power for power in range(12)]
    fixed, slope, worst, exponent = sweep.fit(sizes, [3e-5 + 2e-6 * size for size in sizes])
    assert (fixed, slope) == (pytest.approx(3e-5), pytest.approx(2e-6)) and worst < 1e-9 and 0.9 < exponent < 1
    _, _, worst, exponent = sweep.fit(sizes, [1e-6 * size**1.5 for size in sizes])
    assert worst > 0.3 and exponent == pytest.approx(1.5)
    points = list(sweep.points())
    assert len({(point.sweep, point.size) for point in points}) == len(points)
    assert {point.size for point in points if point.sweep == "MLP batch"} == set(sizes)
    step, epoch = (next(point for point in points if point.sweep == f"CNN {kind}") for kind in ("batch", "samples"))
    assert step.cost(1.0) == 1 / step.job.steps and epoch.cost(1.0) == 1.0


def test_sweeps_keep_their_points(bench_script, monkeypatch, tmp_path, capsys):
    sweep, drawn = bench_script("sweep"), []
    monkeypatch.setattr(sweep, "FORMS", {"mlp": "fit"})
    monkeypatch.setattr(sweep, "NAMES", {"ours": "fastnn"})
    monkeypatch.setattr(sweep, "draw", lambda found, path: drawn.append(found))
    path = tmp_path / "sweep.json"
    for size in ("2", "1", "4", "1"):
        arguments = ["--filter", f"MLP batch {size}", "--seconds", "0", "--repeats", "1", "--json", str(path)]
        monkeypatch.setattr("sys.argv", ["sweep.py", *arguments])
        sweep.main()
    (key, (sizes, costs)) = drawn[-1].popitem()
    assert key == ("MLP batch", "fastnn") and sizes == [1, 2, 4] and min(costs) > 0 and not drawn[-1]
    assert re.search(r"MLP batch +fastnn +-?[\d.]+ [mu]?s ", capsys.readouterr().out)


def test_page_of_performance_is_whole(bench_script):
    refresh = bench_script("refresh")
    marks = re.findall(r"<!-- table: (\S+) -->", refresh.PAGE.read_text())
    assert marks == ["setup", "networks", "x86-64-v3", "threads", "kernels", "sweep"]
    plot = refresh.PAGE.with_name("sweep.svg")
    assert f"({plot.name})" in refresh.PAGE.read_text() and 0 < plot.stat().st_size < 100_000
    names = [name for name, *_ in refresh.jobs()]
    assert len(set(names)) == len(names) and {job.name for job in contests.CONTESTS} <= set(names)
    assert {"CNN, batch 128, 1 thread", "MLP batch 2048", "CNN samples 1024"} <= set(names)
    for job in contests.CONTESTS:
        assert contests.select(job.name) == [job]
