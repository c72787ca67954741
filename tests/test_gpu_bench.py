"""bench/gpu.sh without a GPU: it says so; its parts run under a limit of time; its tables; torch computes the same."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from case import map_arrays
from cases import BENCH, CASES
from emulator import rows
from tolerances import difference

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
