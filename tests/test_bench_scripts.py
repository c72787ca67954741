"""The scripts of bench/ make sane tables of what was measured. Times are never asserted."""

import json
import re

import pytest

from fastnn.benchmark import contests


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


def test_the_best_limits_of_all_runs_count(bench_script):
    report = bench_script("report")
    contest = contests.select("GEMM 512x512x512")[0]
    files = [saved(2, "new", {("fastnn", "kernel"): 50.0}, contest.name), saved(2, "new", {("fastnn", "kernel"): 1.0})]
    files[0]["limits"]["flops"] = 1.0
    files[1]["limits"] |= {"flops": contest.flops, "copy": {"1": 1e30, "2": 1.0}, "scale": {"1": 1.0, "2": 1e30}}
    run = report.merged(files)["new", 2]
    assert run[contest.name]["fastnn"][0]["share"] == pytest.approx(0.5)  # 2 s for what can be done in 1
    assert run["job"]["fastnn"][0]["share"] == 0.5  # as measured


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
    points = [{"sweep": "MLP batch", "size": size, "contender": "fastnn", "cost": 1e-3 * size} for size in (1, 2, 3)]
    steps = [{"contest": "job", "threads": 2, "kernels": [["large", 0.99], ["small", 0.01]]}]
    files += [{"points": points}, {"steps": steps}]
    paths = [tmp_path / f"{number}.json" for number in range(len(files))]
    for path, results in zip(paths, files):
        path.write_text(json.dumps(results))
    found = report.tables(*report.load(paths), markdown=True)
    cells = {name: [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]] for name, text in found.items()}
    assert cells["networks"] == ["job, samples/s", "4,000", "2.5 ms", "1,000 fused, 4.00 x", "50%", "7 / 7"]
    assert cells["kernels"] == ["product, GB/s", "300", "3 addmm, 100 x; 2 mm, 150 x", "50%"]
    assert cells["threads"][1:] == ["2,500 to 4,000: 1.60 x", "500 to 1,000: 2.00 x", "5.00 x"]
    assert cells["old"][:4] == ["job, samples/s", "900", "11.1 ms", "1,000 fused, 0.90 x"]
    assert cells["sweep"][:2] == ["MLP batch", "fastnn"] and cells["sweep"][3:] == ["1 ms", "0%", "1.00"]
    assert [line.split("|")[2].strip() for line in found["steps"].splitlines()[2:]] == [
        "large",
        "all others",
        "the whole step",
    ]
    assert "Limits with 2 threads: 2 GFLOP/s" in found["setup"] and "3 GB/s copied, 4 GB/s scaled" in found["setup"]
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: old -->\nx\n<!-- end -->\n<!-- table: other -->\nkept\n<!-- end -->\n")
    report.write_page(page, found)
    table_of_old = f"<!-- table: old -->\n{found['old']}\n<!-- end -->\n"
    assert page.read_text() == f"a\n{table_of_old}<!-- table: other -->\nkept\n<!-- end -->\n"


def test_report_of_optimizer_steps(bench_script, tmp_path):
    job = contests.select("AdamW, ResNet-50")[0]
    rates = {("fastnn", "functional"): 50.0, ("fastnn", "torch"): 40.0, ("torch", "fused"): 20.0}
    results = saved(2, "new", {**rates, ("NumPy", "by hand"): 2.0, ("in-place", "scale"): 80.0}, job.name, "GB/s")
    peers = ["ours", "ours", "torch", "numpy", "limit", "jax"]
    for entry, peer in zip(results["results"], peers):
        entry["peer"] = peer
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    header, _, line = (
        bench_script("report").tables(*bench_script("report").load([path]), True)["optimizers"].split("\n")
    )
    cells = {name.strip(): cell.strip() for name, cell in zip(header.split("|"), line.split("|"))}
    assert cells == {
        "": "",
        "step": job.name,
        "fastnn.functional": "2 s, 50 GB/s, 62%",
        "fastnn.torch": "2.5 s, 40 GB/s, 50%",
        "fastnn.jax": "",
        "in-place scale": "80.0 GB/s",
        "torch": "fused 5 s, 2.00 x",
        "NumPy": "by hand 50 s, 25 x",
    }


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
    old = [{"sweep": "MLP batch", "size": size, "contender": "fastnn", "cost": 100.0} for size in (4, 2, 1)]
    path.write_text(json.dumps({"points": old}))
    arguments = ["--filter", "MLP batch 2", "--seconds", "0", "--repeats", "1", "--json", str(path)]
    monkeypatch.setattr("sys.argv", ["sweep.py", *arguments])
    sweep.main()
    ((key, (sizes, costs)),) = drawn[0].items()
    assert key == ("MLP batch", "fastnn") and sizes == [1, 2, 4]
    assert costs[0] == costs[2] == 100.0 and 0 < costs[1] < 100
    assert len(json.loads(path.read_text())["points"]) == 3
    assert re.search(r"MLP batch +fastnn +-?[\d.]+ ([mu]?s) ", capsys.readouterr().out)


def test_steps_are_taken_apart(bench_script):
    steps = bench_script("steps")
    job = contests.mlp(2, 8, (5, 4, 3))
    kernels_of_step = [name for name, _ in steps.measure(job, seconds=0.0, repeats=1)]
    assert {"gather_rows 8x5", "dense_forward 5x4", "dense_update 2x5", "end_batch"} <= set(kernels_of_step)
    recorder = steps.Recorder()
    with recorder.patch:
        captured = steps.captured_step(job)
        tape = recorder.record(captured, batch=2, count=3)
    assert len(tape) == 4  # the last moves on to the next batch
    steps.replay_seconds(captured, tape, 4)
    assert captured._position[0] == 4


def test_page_of_performance_is_whole(bench_script):
    refresh = bench_script("refresh")
    marks = re.findall(r"<!-- table: (\S+) -->", refresh.PAGE.read_text())
    assert marks == [
        "setup",
        "networks",
        "x86-64-v3",
        "threads",
        "kernels",
        "optimizers",
        "torch",
        "sweep",
        "steps",
    ]
    plot = refresh.PAGE.with_name("sweep.svg")
    assert f"({plot.name})" in refresh.PAGE.read_text() and 0 < plot.stat().st_size < 100_000
    names = [name for name, *_ in refresh.jobs()]
    assert len(set(names)) == len(names) and {job.name for job in contests.CONTESTS} <= set(names)
    assert {"CNN, batch 128, 1 thread", "MLP batch 2048", "CNN samples 1024"} <= set(names)
    for job in contests.CONTESTS:
        assert contests.select(job.name) == [job]
