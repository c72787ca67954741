"""bench/gpu.sh without a GPU: it says so; its parts run under a limit of time; its tables; torch computes the same."""

import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from case import map_arrays
from cases import BENCH, CASES
from emulator import rows
from tolerances import difference

import fastnn
from fastnn import _backend

ROOT = Path(__file__).parents[1]


@pytest.fixture
def gpu_script(monkeypatch):
    """Loads a script of bench/gpu/."""
    for folder in ("bench/peers", "bench/gpu"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    for name in ("report", "steps"):  # bench/ and bench/gpu/ have scripts of the same names
        monkeypatch.delitem(sys.modules, name, raising=False)
    return lambda name: importlib.import_module(name)


@pytest.fixture
def part(gpu_script):
    """Makes a part that runs Python code."""
    parts = gpu_script("parts")
    return lambda name, code, seconds=20, **more: parts.Part(name, (sys.executable, "-c", code), seconds, **more)


def test_without_a_gpu_it_says_so(tmp_path):
    variables = {"PATH": os.defpath, "PYTHON": sys.executable, "OUT": str(tmp_path / "out")}
    done = subprocess.run(["bash", ROOT / "bench/gpu.sh"], env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "there is no NVIDIA GPU on this machine" in done.stdout
    assert not (tmp_path / "out").exists()


def test_parts_run_together_and_none_stops_another(gpu_script, part):
    run = gpu_script("run")
    group = [
        part("fine", 'print("x"); print(\'{"a": 1}\'); print("{broken")'),
        part("bad", "import sys; print('why'); sys.exit(7)"),
        part("slow", "import time; print('begun', flush=True); time.sleep(60)", seconds=2),
        part("toolless", "pass", needs="no-such-program"),
    ]
    outcomes = {outcome.name: outcome for outcome in run.run_group(group, run.time.monotonic() + 60)}
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "fine": "ok",
        "bad": "failed",
        "slow": "too slow",
        "toolless": "left out",
    }
    assert outcomes["fine"].results == [{"a": 1}]
    assert outcomes["bad"].reason == "exit code 7" and outcomes["toolless"].reason == "there is no no-such-program"
    assert outcomes["slow"].seconds < 30 and "begun" in outcomes["slow"].output


def test_when_the_time_is_up_parts_are_left_out(gpu_script, part):
    run = gpu_script("run")
    (outcome,) = run.run_group([part("late", "pass")], run.time.monotonic() + 1)
    assert (outcome.state, outcome.reason) == ("left out", "no time left")


def test_all_is_written_and_the_exit_code_tells(gpu_script, part, tmp_path, monkeypatch, capsys):
    run = gpu_script("run")
    stand_in = tmp_path / "nvidia-smi"
    stand_in.write_text("#!/bin/sh\necho 'NVIDIA Stand-In, 9.0'\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert run.card() == ("NVIDIA Stand-In", "90")
    good, bad = part("build", 'print(\'{"what": "x"}\')'), part("tests", "raise SystemExit('the reason')")
    monkeypatch.setattr(run, "all_parts", lambda capability: [[good], [bad]])
    assert run.main([]) == 1 and run.main(["build"]) == 0 and run.main(["nothing"]) == 1
    capsys.readouterr()
    run.main([])
    assert "the reason" in capsys.readouterr().out
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert kept["about"]["gpu"] == "NVIDIA Stand-In" and kept["parts"][0]["results"] == [{"what": "x"}]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["log.txt", "results.json", "summary.txt"]
    assert "##### tests: failed" in (tmp_path / "out" / "log.txt").read_text()


def test_the_parts_fit_into_nine_minutes_and_name_files_that_exist(gpu_script):
    groups = gpu_script("parts").all_parts("90")
    assert sum(max(part.seconds for part in group) for group in groups) <= 640  # none takes all it may
    assert gpu_script("run").SECONDS <= 540
    for part in (part for group in groups for part in group):
        for word in part.command:
            assert not word.endswith(".py") or (ROOT / word).is_file()


def test_tables(gpu_script):
    report = gpu_script("report")
    results = [
        {"what": "limits", "copy": 4e12, "fp32": 5e13},
        {
            "what": "kernel",
            "row": "k[1]",
            "compute": "float32",
            "bytes": 2e9,
            "flops": 1e9,
            "seconds": 1e-3,
            "torch": 2e-3,
        },
        {"what": "kernel", "row": "k[2]", "compute": "float32", "bytes": 2e9, "flops": 1e9, "error": "no such kernel"},
        {"what": "step", "job": "MLP", "contender": "fastnn", "seconds": 5e-5},
        {"what": "step", "job": "MLP", "contender": "torch eager", "error": "out of memory"},
    ]
    kernels = report.kernel_table(results)
    assert "copy 4,000 GB/s" in kernels[0]
    assert kernels[2].split() == ["k[1]", "float32", "1,000.0", "2,000.0", "2.00", "x", "2,000", "50%", "1.0", "(2%)"]
    assert kernels[3].split()[:4] == ["k[2]", "no", "such", "kernel"]
    steps = report.step_table(results)
    assert steps[1].split() == ["MLP", "50.0", "failed"] and "out of memory" in steps[2]


def test_targets_are_met_or_missed(gpu_script):
    report = gpu_script("report")
    steps = [
        {"what": "step", "job": "seed MLP, batch 32", "contender": name, "seconds": seconds}
        for name, seconds in {"fastnn": 1e-5, "torch eager": 6e-5, "torch compile": 1.1e-5}.items()
    ]
    found = [
        {"what": "target", "name": "AdamW, 25M", "reached": 0.93, "wanted": 0.9, "of": "copy"},
        {"what": "target", "name": "convolutions", "error": "RuntimeError: no"},
    ]
    lines = report.target_table(found + report.step_targets(steps))
    assert [line.split()[-1] for line in lines[1:]] == ["met", "failed", "met", "MISSED"]
    assert "93%" in lines[1] and "RuntimeError: no" in lines[2] and "6.00 x" in lines[3] and "1.10 x" in lines[4]
    assert report.step_targets(steps[1:]) == [] and report.target_table([]) == []


def test_ranks_are_reported(gpu_script):
    found = [{"what": "ranks", "ranks": 2, "count": 1024, "right": right, "seconds": 2e-5} for right in (True, False)]
    lines = gpu_script("report").rank_table(found)
    assert [line.split()[-2:] for line in lines[1:]] == [["20.0", "yes"], ["20.0", "NO"]]


def test_a_rank_that_fails_is_told(gpu_script, monkeypatch):
    ranks = gpu_script("one_card")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(ranks, "__file__", str(ROOT / "no_such_script.py"))
    assert ranks.main() == 1


class OnCpu:
    """Stands for gpu_arrays.OnGpu, with the arrays as they are."""

    def __init__(self, arguments, outputs, alias=None, aligned=False):
        self.arguments = {**arguments, **{output: arguments[source] for output, source in (alias or {}).items()}}


@pytest.fixture
def without_gpu(gpu_script, monkeypatch):
    """Loads a script that measures kernels, which are then those of the CPU; no call is timed, each is made once."""
    arrays = types.ModuleType("gpu_arrays")
    arrays.OnGpu, arrays.mapped_on_gpu = OnCpu, map_arrays
    kernels = types.ModuleType("fastnn._cuda")
    cpu = _backend.load_level(_backend.chosen_level())
    kernels.__getattr__ = lambda name: getattr(cpu, name)
    kernels.set_compute = lambda compute: None
    monkeypatch.setitem(sys.modules, "gpu_arrays", arrays)
    monkeypatch.setitem(sys.modules, "fastnn._cuda", kernels)
    monkeypatch.setattr(fastnn, "_cuda", kernels, raising=False)
    for name in ("kernels", "targets", "timing"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def load(name):
        script = gpu_script(name)
        for changed, value in {
            "seconds": lambda call, flush: (call(), 1e-3)[1],
            "wall_seconds": lambda call: (call(), 1e-3)[1],
            "flush_buffer": lambda: None,
            "limits": lambda flush: {"what": "limits", "copy": 1e9, "fp32": 1e12},
            "DEVICE": "cpu",
            "MANY": 1000,
        }.items():
            monkeypatch.setattr(script, changed, value, raising=False)
        return script

    return load


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_targets_without_a_gpu(without_gpu, monkeypatch, capsys):
    targets = without_gpu("targets")
    monkeypatch.setattr(
        targets,
        "MEMORY_BOUND",
        (
            lambda: [targets.loss("sparse_softmax_cross_entropy", 8, 16, weights=False)],
            lambda: targets.pooling(2, 6, 6, 4, (2, 2), (2, 2)),
            lambda: targets.batch_norm(32, 4),
            lambda: targets.layer_norm(8, 16),
        ),
    )
    monkeypatch.setattr(targets, "CONVOLUTIONS", (lambda: targets.conv2d(2, 6, 6, 4, 8, (3, 3)),))
    assert targets.main() == 0
    found = printed(capsys)
    assert len(found) == 5 + 10 + 2 and all(line["what"] == "target" and line["reached"] > 0 for line in found)
    assert {line["of"] for line in found} == {"copy", "torch fused", "torch foreach", "cuDNN"}
    monkeypatch.setattr(targets, "MEMORY_BOUND", (lambda: targets.pooling(0, 0),))
    assert targets.main() == 1
    (failed,) = [line for line in printed(capsys) if "error" in line]
    assert failed["name"] == "memory_bound" and "TypeError" in failed["error"]


def test_kernels_without_a_gpu(without_gpu, monkeypatch, capsys):
    script = without_gpu("kernels")
    some = [min((case for case in CASES if case.kernel == name), key=rows.operations) for name in ("gemm", "adam_rule")]
    monkeypatch.setattr(script, "BENCH", some)
    script.main()
    limit, *lines = printed(capsys)
    assert limit["what"] == "limits" and [line["compute"] for line in lines] == ["float32", "tf32", "float32"]
    assert all(line["seconds"] == 1e-3 for line in lines), lines


def test_nsight_computes_csv_is_read(gpu_script):
    text = (
        '==PROF== Connected\n"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'
        '"0","fnn::adam(int)","gpu__time_duration.sum","us","12.5"\n'
        '"0","fnn::adam(int)","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","81"\n'
    )
    heads, row = gpu_script("report").ncu_table(text)
    assert heads.split() == ["kernel", "time_duration", "throughput"]
    assert row.split() == ["fnn::adam(int)", "12.5", "us", "81", "%"]
    assert gpu_script("report").ncu_table("==ERROR== no permission") == []


def small_row(kernel, peers):
    """The smallest row of a kernel that torch has a function for, with that function and the arrays as tensors."""
    for case in sorted((case for case in CASES if case.kernel == kernel), key=rows.operations):
        if rows.operations(case) < 50 or case.alias:
            continue
        tensors = map_arrays(torch.from_numpy, case.arguments())
        peer = peers[kernel](tensors, case.options)
        if peer:
            return case, tensors, peer
    raise AssertionError(f"torch has nothing for {kernel}")


RESULTS = {  # how torch's result is read where it isn't our output as it stands
    "conv2d_forward": lambda result: {"y": result.permute(0, 2, 3, 1)},
    "conv2d_backward": lambda result: {"dw": result[1].permute(2, 3, 1, 0), "dx": result[0].permute(0, 2, 3, 1)},
    "max_pool2d_forward": lambda result: {"y": result[0].permute(0, 2, 3, 1)},
    "average_pool2d_forward": lambda result: {"y": result.permute(0, 2, 3, 1)},
    "gemm": lambda result: {"c": result},
}


@pytest.mark.parametrize("kernel", ["gemm", "dense_forward", "conv2d_forward", "conv2d_backward", "softmax_forward",
                                    "max_pool2d_forward", "average_pool2d_forward", "activation_forward"])  # fmt: skip
def test_torchs_functions_compute_the_same(gpu_script, kernel):
    case, _, peer = small_row(kernel, gpu_script("torch_kernels").PEERS)
    read = RESULTS.get(kernel, lambda result: {"y": result})
    for name, actual in read(peer()).items():
        assert not difference(actual.detach().numpy(), case.expected()[name], "sum"), case.name


def test_every_benchmark_of_a_peer_has_a_function_or_says_none(gpu_script):
    peers = gpu_script("torch_kernels").PEERS
    assert set(peers) <= {case.kernel for case in CASES}
    for case in (case for case in BENCH if case.kernel in peers and rows.operations(case) < 10_000_000):
        peer = peers[case.kernel](map_arrays(torch.from_numpy, case.arguments()), case.options)
        if peer:
            peer()


def test_training_steps_run(gpu_script, monkeypatch):
    steps = gpu_script("steps")
    monkeypatch.setattr(steps, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    for network in ("mlp", "cnn"):
        training = steps.TorchTraining(network, 8, 2, "eager")
        before = [param.clone() for param in training.model.parameters()]
        training.epoch()
        assert not torch.equal(before[0], next(training.model.parameters()))
        for name in ("fastnn", "torch eager"):
            assert steps.measure(lambda: steps.contender(name, network, 8, 2), 2) > 0  # noqa: B023
