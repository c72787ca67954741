"""The team of threads: its size, many callers at once, changes of size meanwhile, and fork."""

import textwrap
import threading

import numpy as np
import pytest

import fastnn
from fastnn import _backend

pytestmark = pytest.mark.parametrize("level", _backend.isa_levels()[-1:])


@pytest.fixture(autouse=True)
def _restored():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def product(kernels, seed, n=90):
    """One matrix product that is worth several threads; returns (result, operands)."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    c = np.empty((n, n), np.float32)
    kernels.gemm(a, b, c)
    return c, a, b


def test_size(level):
    kernels = _backend.load_level(level)
    for threads in (1, 3, 2, 7, 1):
        kernels.set_num_threads(threads)
        assert kernels.num_threads() == threads
        c, a, b = product(kernels, 0)
        np.testing.assert_allclose(c, a @ b, atol=1e-4)


def test_package_wide_size(level):
    kernels = _backend.load_level(level)
    fastnn.set_num_threads(3)
    assert fastnn.get_num_threads() == 3 and kernels.num_threads() == 3
    with pytest.raises(ValueError, match="^set_num_threads: n must be a whole number .*1.*, got 0"):
        fastnn.set_num_threads(0)
    assert kernels.num_threads() == 3


@pytest.mark.parametrize("threads", [0, -1, 4096])
def test_impossible_sizes(level, threads):
    with pytest.raises(ValueError, match=f"^set_num_threads: threads must be 1 to 4095, got {threads}"):
        _backend.load_level(level).set_num_threads(threads)


def run_together(*functions):
    """Runs each function in a thread of its own; raises the first error, also if one does not end."""
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_callers_get_what_one_gets(level, threads):
    """Several Python threads call many small kernels and some larger ones; every result has the same bits as alone."""
    kernels = _backend.load_level(level)
    kernels.set_num_threads(threads)
    alone = [product(kernels, seed, 90)[0].tobytes() for seed in range(4)]
    x = np.linspace(-3, 3, 20_001).astype(np.float32)
    expected = np.empty_like(x)
    kernels.activation_forward(x, expected, kernels.ACTIVATIONS["tanh"])

    def caller(seed):
        y, tiny = np.empty_like(x), np.empty(5, np.float32)
        for _ in range(60):
            assert product(kernels, seed, 90)[0].tobytes() == alone[seed]
            kernels.activation_forward(x, y, kernels.ACTIVATIONS["tanh"])
            kernels.activation_forward(x[:5], tiny, kernels.ACTIVATIONS["tanh"])
            assert y.tobytes() == expected.tobytes() and tiny.tobytes() == expected[:5].tobytes()

    run_together(*[lambda seed=seed: caller(seed) for seed in range(4)])


def test_size_changes_while_kernels_run(level):
    kernels = _backend.load_level(level)
    done = threading.Event()

    def resizer():
        sizes = [1, 2, 3, 5]
        for i in range(200):
            kernels.set_num_threads(sizes[i % 4])
        done.set()

    def caller(seed):
        _, a, b = product(kernels, seed, 70)
        exact = a.astype(np.float64) @ b
        while not done.is_set():
            np.testing.assert_allclose(product(kernels, seed, 70)[0], exact, atol=1e-4)

    run_together(resizer, *[lambda seed=seed: caller(seed) for seed in range(3)])


FORK = """
import os, signal, sys, threading, time
import numpy as np
from fastnn import _backend
kernels = _backend.load_level({level!r})
kernels.set_num_threads(3)
a = np.random.default_rng(0).standard_normal((90, 90)).astype(np.float32)

def product():
    c = np.empty_like(a)
    kernels.gemm(a, a, c)
    return c.tobytes()

expected = product()
stop = threading.Event()

def busy():
    while not stop.is_set():
        product()

callers = [threading.Thread(target=busy) for _ in range({callers})]
for caller in callers:
    caller.start()
for _ in range({forks}):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        right = kernels.num_threads() == 3 and all(product() == expected for _ in range(20))
        kernels.set_num_threads(2)
        product()
        os._exit(0 if right else 3)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child's status is {{status}}"
    assert product() == expected
stop.set()
for caller in callers:
    caller.join()
print("fine")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.parametrize("callers, forks", [(0, 5), (2, 20)], ids=["idle", "while kernels run"])
def test_fork(level, run_python, callers, forks):
    """Kernels work in the child and go on working in the parent, also if other threads are in the middle of one."""
    script = textwrap.dedent(FORK).format(level=level, callers=callers, forks=forks)
    result = run_python("-W", "ignore::DeprecationWarning", "-c", script, timeout=90)
    assert result.stdout.strip() == "fine", result.stderr


def test_multiprocessing_pool(level, run_python):
    """What a data loader does: forked workers that use the package after the parent has."""
    script = f"""
import multiprocessing, sys
import numpy as np
from fastnn import _backend
kernels = _backend.load_level({level!r})
kernels.set_num_threads(2)

def total(n):
    a = np.full((80, 80), n, np.float32)
    c = np.empty_like(a)
    kernels.gemm(a, a, c)
    return float(c[0, 0])

first = total(1)
with multiprocessing.get_context("fork").Pool(3) as pool:
    print([first, *pool.map_async(total, range(4)).get(60)])
"""
    result = run_python("-W", "ignore::DeprecationWarning", "-c", script, timeout=90)
    assert result.stdout.strip() == "[80.0, 0.0, 80.0, 320.0, 720.0]", result.stderr


def test_process_ends_with_a_team(level, run_python):
    script = f"from fastnn import _backend; _backend.load_level({level!r}).set_num_threads(4)"
    assert run_python("-c", script, timeout=60).returncode == 0
