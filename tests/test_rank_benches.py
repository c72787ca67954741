"""The benches of collectives time their ranks. Times are never asserted."""

import json
import os
import re
import shutil

import numpy as np
import pytest

QUICK = ["--sizes", "4096", "--repeats", "1", "--seconds", "0.01", "--no-gloo"]


def check_times(file, names):
    found = json.loads(file.read_text())
    assert found["ranks"] == 2 and found["cpus"] >= 1 and names <= found["seconds"].keys()
    assert all(seconds > 0 for times in found["seconds"].values() for seconds in times.values())


def test_collectives_are_timed(bench_script, run_python, tmp_path):
    script, file = bench_script("collectives"), tmp_path / "times.json"
    arguments = [*QUICK, "--json", str(file)]
    result = run_python(script.__file__, *arguments)
    assert result.returncode == 0, result.stderr
    check_times(file, {"mapped", "private", "ring", "limit"})
    assert re.search(r"^4096 \| [\d.]+ \| ", result.stdout, re.M)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and ip")
@pytest.mark.parametrize("ranks", [2, 3])
def test_hosts_of_a_net_are_timed(bench_script, run_python, tmp_path, ranks):
    script, file = bench_script("tcp"), tmp_path / "times.json"
    arguments = [*QUICK, "-n", str(ranks), "--json", str(file)]
    result = run_python(script.__file__, *arguments)
    if "Operation not permitted" in result.stderr:
        pytest.skip(f"no network namespaces here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    assert json.loads(file.read_text())["seconds"]["fastnn"]["4096"] > 0
    assert re.search(r"^4096 \| [\d.]+ \| ", result.stdout, re.M)


def test_without_root_the_net_says_what_it_needs(bench_script, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert bench_script("tcp").main([]) == 1
    assert "need root" in capsys.readouterr().err


def test_the_push_loop_sums_into_all(kernels):
    for count in (1, 2, 3):
        for size in (0, 1, 7, 1003):
            arrays = [np.arange(size, dtype=np.float32) + number for number in range(count)]
            wanted = sum(array.copy() for array in arrays)
            kernels.limits.push_loop(arrays, 1)
            for array in arrays:
                np.testing.assert_array_equal(array, wanted)
            kernels.limits.push_loop(arrays, 2)
            np.testing.assert_array_equal(arrays[0], wanted * count**2)
    with pytest.raises(ValueError, match="push_loop: arrays must be .*shape.*, got"):
        kernels.limits.push_loop([np.zeros(3, np.float32), np.zeros(4, np.float32)], 1)


def test_a_rank_that_ends_ends_the_bench(bench_script):
    ranks = bench_script("ranks")
    with pytest.raises(SystemExit, match="a rank ended"):
        ranks.Job([(["false"], {**os.environ})], 1)
