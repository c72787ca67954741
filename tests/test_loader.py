"""The loader: what it yields, that threads change nothing, and that it ends cleanly whatever the consumer does."""

import gc
import threading

import numpy as np
import pytest

import fastnn
from fastnn.data import Augment, Loader


def arrays(n=23, shape=(4, 4, 1)):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (n, *shape), np.uint8)
    return x, np.arange(n), np.linspace(0, 1, n)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastnn-loader")]


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
def test_in_order_every_sample_once(prefetch):
    x, y, w = arrays()
    loader = Loader(x, y, w, batch_size=5, prefetch=prefetch, scale=1 / 255, mean=0.5, std=0.25)
    assert len(loader) == 5 and loader.input_shape == (4, 4, 1)
    for _ in range(2):
        batches = list(loader)
        assert [len(b[0]) for b in batches] == [5, 5, 5, 5, 3]
        xs, ys, ws = (np.concatenate(parts) for parts in zip(*batches))
        assert (xs.dtype, ys.dtype, ws.dtype) == (np.float32, np.int32, np.float32)
        np.testing.assert_allclose(xs, (x / 255 - 0.5) / 0.25, atol=1e-6)
        np.testing.assert_array_equal(ys, y)
        np.testing.assert_array_equal(ws, w.astype(np.float32))


def test_yields_what_it_is_given():
    x, y, _ = arrays()
    assert [len(batch) for batch in Loader(x, batch_size=23)] == [1]
    assert [len(batch) for batch in Loader(x, y, batch_size=23)] == [2]
    targets = np.random.default_rng(0).normal(size=(23, 3))
    ((_, batch),) = Loader(x, targets, batch_size=23)
    assert batch.dtype == np.float32 and batch.shape == (23, 3)


def test_drop_last():
    x, y, _ = arrays()
    loader = Loader(x, y, batch_size=5, drop_last=True, shuffle=True, seed=0)
    assert len(loader) == 4 and loader.samples == 20 and [len(b[1]) for b in loader] == [5] * 4


def test_shuffle_is_a_new_permutation_each_epoch_and_repeats_by_seed():
    x, y, _ = arrays()
    first = [
        np.concatenate([b[1] for b in loader]) for loader in [Loader(x, y, batch_size=4, shuffle=True, seed=9)] * 3
    ]
    again = Loader(x, y, batch_size=4, shuffle=True, seed=9)
    again.epoch = 2
    assert all(sorted(order) == list(range(23)) for order in first)
    assert (first[0] != first[1]).any() and (first[1] != first[2]).any()
    np.testing.assert_array_equal(np.concatenate([b[1] for b in again]), first[2])
    fastnn.set_seed(4)
    seeds = [Loader(x, shuffle=True, batch_size=4).seed for _ in range(2)]
    fastnn.set_seed(4)
    assert seeds == [Loader(x, shuffle=True, batch_size=4).seed for _ in range(2)] and seeds[0] != seeds[1]


@pytest.mark.parametrize("other", [{"workers": 4, "prefetch": 7}, {"prefetch": 0}, {"batch_size": 23}])
def test_augmentation_depends_on_neither_threads_nor_batches(other):
    x, y, _ = arrays()
    options = {"batch_size": 4, "seed": 3, "augment": Augment(padding=2, flip="horizontal")}
    one, two = (np.concatenate([b[0] for _ in range(2) for b in loader])
                for loader in (Loader(x, y, **options), Loader(x, y, **{**options, **other})))  # fmt: skip
    np.testing.assert_array_equal(one, two)
    assert (one[:23] != one[23:]).any()


def test_stopping_early_leaves_no_thread():
    x, y, _ = arrays()
    loader = Loader(x, y, batch_size=1, prefetch=3, workers=2)
    for _ in loader:
        assert loader_threads()
        break
    iterator = iter(loader)
    next(iterator)
    iterator.close()
    abandoned = iter(loader)
    next(abandoned)
    del abandoned
    gc.collect()
    assert not loader_threads()
    iter(loader)  # never started: no thread either
    assert not loader_threads()


def test_a_consumers_exception_leaves_no_thread():
    x, y, _ = arrays()
    with pytest.raises(KeyError):
        for _ in Loader(x, y, batch_size=2):
            raise KeyError("consumer")
    gc.collect()
    assert not loader_threads()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_exception_of_the_thread_is_raised_here(prefetch, monkeypatch):
    x, y, _ = arrays()
    loader = Loader(x, y, batch_size=5, prefetch=prefetch)
    make = loader.maker.make

    def fail_at_ten(x, index, *rest):
        if 10 in index:
            raise RuntimeError("no sample 10")
        make(x, index, *rest)

    monkeypatch.setattr(loader.maker, "make", fail_at_ten)
    seen = []
    with pytest.raises(RuntimeError, match="no sample 10"):
        for _, labels in loader:
            seen.extend(labels)
    assert seen == list(range(10)) and not loader_threads()


def test_two_iterations_at_once():
    x, y, _ = arrays()
    loader = Loader(x, y, batch_size=4, shuffle=True, seed=1)
    pairs = list(zip(loader, loader))
    assert loader.epoch == 2 and len(pairs) == 6
    assert any((a[1] != b[1]).any() for a, b in pairs)


def test_storage():
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert Loader(x, batch_size=2).x is x
    for given in (x.astype(np.float64), x.astype(np.int16), x[:, ::2], np.asfortranarray(x), x.tolist(), x > 3):
        loader = Loader(given, batch_size=4)
        ((batch,),) = loader
        assert loader.x.dtype == np.float32 and loader.x.flags.c_contiguous
        np.testing.assert_array_equal(batch, np.asarray(given, np.float32))


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (
            (np.zeros((0, 3)),),
            {},
            r"Loader: x must be an array of at least one sample, got float64 array of shape \(0, 3\)",
        ),
        ((np.float32(3),), {}, r"Loader: x must be an array of at least one sample"),
        ((np.array(["a"]),), {}, r"Loader: x must be an array of numbers, got <U1 array"),
        (
            (np.zeros((4, 2)), np.zeros(3)),
            {},
            r"Loader: y must be of length 4, as x is, got float64 array of shape \(3,\)",
        ),
        ((np.zeros((4, 2)), np.full(4, 2**40)), {}, r"Loader: y must be integers that fit int32, got values from 1099"),
        ((np.zeros((4, 2)), None, np.ones(4)), {}, r"Loader: y must be given with sample_weight, got None"),
        ((np.zeros((4, 2)), np.ones(4), np.ones(3)), {}, r"Loader: sample_weight must be of shape \(4,\), got \(3,\)"),
        ((np.zeros((4, 2)),), {}, r"Loader: batch_size must be at most the 4 samples of x, got 32. Pass batch_size=4"),
        ((np.zeros((4, 2)),), {"batch_size": 0}, r"Loader: batch_size must be a whole number of at least 1, got 0"),
        ((np.zeros((4, 2)),), {"batch_size": 2.0}, r"Loader: batch_size must be a whole number of at least 1, got 2.0"),
        ((np.zeros((4, 2)),), {"batch_size": 2, "seed": -1}, r"Loader: seed must be a whole number from 0 to"),
        ((np.zeros((4, 2)),), {"batch_size": 2, "prefetch": -1}, r"Loader: prefetch must be a whole number"),
        ((np.zeros((4, 2)),), {"batch_size": 2, "workers": 0}, r"Loader: workers must be a whole number"),
        ((np.zeros((4, 2)),), {"batch_size": 2, "std": -1}, r"Loader: std must be finite and positive, got -1"),
        ((np.zeros((4, 2)),), {"batch_size": 2, "augment": Augment()}, r"Loader: x must be images of shape"),
    ],
)
def test_bad_input(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Loader(*arguments, **options)
