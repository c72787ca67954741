"""fastnn.functional's optimizer steps over arrays on a GPU, which the emulator and NumPy's memory stand for."""

import contextlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from emulated_kernels import load, on_device
from functional_runs import MATRICES, SHAPES, FakeCuda, array_of, numbers, takes_step, zeros
from spoilt import refused

from fastnn import _backend
from fastnn import functional as F  # noqa: N812
from fastnn.functional import places, tensor_lists

STEPS = 4
ROWS = {
    "sgd_": (F.sgd_, 0, SHAPES, {"lr": 0.1}),
    "sgd_ with momentum": (F.sgd_, 1, SHAPES, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam_": (F.adam_, 2, SHAPES, {"weight_decay": 0.1}),
    "adamw_ with amsgrad": (F.adamw_, 3, SHAPES, {"amsgrad": True}),
    "adamw_ with options": (F.adamw_, 2, SHAPES, {"l1": 0.01, "clip_norm": 0.5, "lr_scale": [1.0, 0.5, 2.0, 1.0]}),
    "rmsprop_": (F.rmsprop_, 3, SHAPES, {"centered": True, "momentum": 0.5, "eps": 0.1}),
    "adagrad_": (F.adagrad_, 1, SHAPES, {}),
    "lion_": (F.lion_, 1, SHAPES, {}),
    "lamb_": (F.lamb_, 2, SHAPES, {"adapts": [True, False, True, True], "weight_decay": [0.1, 0.2, 0.0, 0.0]}),
    "lars_": (F.lars_, 1, SHAPES, {"lr": 0.1}),
    "muon_": (F.muon_, 1, MATRICES, {}),
}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """The emulated kernels in the place of a GPU's."""
    monkeypatch.setattr(_backend, "cuda_kernels", lambda function, argument, device="cuda": load())
    tensor_lists._remembered.clear()
    yield load()
    tensor_lists._remembered.clear()  # of memory that goes


def given_to(lists):
    return [[on_device(array) for array in arrays] for arrays in lists]


@pytest.mark.parametrize("name", ROWS)
def test_steps_are_those_of_the_cpu(name):
    function, slots, shapes, options = ROWS[name]
    lists = [numbers(1, shapes), numbers(2, shapes), *zeros(slots, shapes)]
    wanted = [[array.copy() for array in arrays] for arrays in lists]
    for t in range(1, STEPS + 1):
        for array, plain, fresh in zip(lists[1], wanted[1], numbers(10 + t, shapes)):
            array[...] = plain[...] = fresh
        step = {"step": t} if takes_step(function) else {}
        assert function(*given_to(lists), **step, **options) is True
        assert function(*wanted, **step, **options) is True
    for arrays, plain in zip(lists, wanted):
        for one, other in zip(arrays, plain):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def test_a_table_is_made_once_and_gradients_may_move():
    params, moments, tables = numbers(1), zeros(2), []
    for t in range(1, 4):
        F.adamw_(*given_to([params, numbers(t), *moments]), step=t)
        (entry,) = tensor_lists._remembered.values()
        tables.append(entry[2])
    assert tables[0] is tables[1] is tables[2]


def test_states_of_8_bits_and_masters():
    count = 600
    param = np.random.default_rng(3).standard_normal(count).astype(np.float32)
    lists = [[param.astype(np.float16)], [array_of(1, count)], [np.zeros(count, np.uint8)], [np.zeros(count, np.uint8)]]
    scales = {"exp_avg": [np.zeros(3, np.float32)], "exp_avg_sq": [np.zeros(3, np.float32)]}
    master = [lists[0][0].astype(np.float32)]
    plain = [[array.copy() for array in arrays] for arrays in lists]
    plain_scales = {key: [array.copy() for array in arrays] for key, arrays in scales.items()}
    plain_master = [array.copy() for array in master]
    for t in range(1, STEPS + 1):
        F.adamw_(*plain, step=t, scales=plain_scales, master=plain_master)
        F.adamw_(
            *given_to(lists),
            step=t,
            scales={key: [on_device(array) for array in arrays] for key, arrays in scales.items()},
            master=[on_device(array) for array in master],
        )
    np.testing.assert_allclose(master[0], plain_master[0], rtol=1e-5, atol=1e-5)
    assert (np.abs(lists[2][0].astype(int) - plain[2][0]) <= 1).mean() > 0.99


def test_what_was_skipped_only_the_gpu_knows():
    params, grads = numbers(1), numbers(2)
    before = [param.copy() for param in params]
    found = np.zeros(1, np.float32)
    grads[1][3] = np.nan
    options = {"lr": 0.1, "skip_nonfinite": True}
    assert F.sgd_(*given_to([params, grads]), found_inf=on_device(found), **options) is None
    assert F.sgd_(*given_to([params, grads]), **options) is None
    assert found[0] == 1 and all(map(np.array_equal, params, before))
    assert F.sgd_(*given_to([params, numbers(3)]), lr=0.1, found_inf=on_device(found)) is None
    assert all(map(np.array_equal, params, before))


@pytest.mark.parametrize("place", ["params", "grads", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("most", ["cpu", "cuda"])
def test_arrays_of_both_places_in_one_call(place, most):
    """An error, and nothing is changed."""
    lists = dict(zip(("params", "grads", "exp_avg", "exp_avg_sq"), [numbers(1), numbers(2), *zeros(2)]))
    before = [array.copy() for arrays in lists.values() for array in arrays]
    if most == "cuda":
        given = {name: [on_device(a) for a in arrays] for name, arrays in lists.items()}
        given[place][1] = lists[place][1]
        message = rf"^adamw_: {place}\[1\] must be on cuda, as params\[0\], got an array on the CPU"
    else:
        given = {name: list(arrays) for name, arrays in lists.items()}
        given[place][1] = FakeCuda(lists[place][1])
        message = rf"^adamw_: {place}\[1\] must be on the CPU, as params\[0\], got an array on device cuda"
    refused(lambda: F.adamw_(**given, step=1), message)
    after = [array for arrays in lists.values() for array in arrays]
    assert all(map(np.array_equal, before, after))


@pytest.mark.parametrize(
    "found, given",
    [
        (np.zeros(1, np.float32), "float32 of 1 elements on cpu"),
        (on_device(np.zeros(2, np.float32)), "float32 of 2 elements on cuda"),
        (on_device(np.zeros(1)), "float64 of 1 elements on cuda"),
    ],
    ids=["CPU", "two", "float64"],
)
def test_found_inf_is_on_the_gpu(found, given):
    wanted = "^sgd_: found_inf must be a writable float32 array of one element on cuda, got "
    refused(lambda: F.sgd_(*given_to([numbers(1), numbers(2)]), lr=0.1, found_inf=found), wanted + given)


def test_arrays_that_overlap():
    memory = array_of(0, 12)
    arrays = [on_device(memory[:8])], [on_device(memory[4:])]
    refused(lambda: F.sgd_(*arrays, lr=0.1), r"^sgd_: grads\[0\] must be memory apart from params\[0\]")


# ---- streams


class Entered:
    """A framework's device as a context, which notes when it's entered and left."""

    def __init__(self, notes, name):
        self.notes, self.name = notes, name

    def __enter__(self):
        self.notes.append(f"enter {self.name}")

    def __exit__(self, *error):
        self.notes.append(f"leave {self.name}")


def test_kernels_go_to_the_current_stream_of_the_framework(gpu):
    notes = []
    with pytest.raises(KeyError), places.OnStream(Entered(notes, "GPU 1"), lambda: 0x50, gpu):
        assert gpu.current_stream() == 0x50 and notes == ["enter GPU 1"]
        raise KeyError
    assert gpu.current_stream() == 0 and notes == ["enter GPU 1", "leave GPU 1"]


def test_the_stream_of_torch(gpu, monkeypatch):
    torch, notes = pytest.importorskip("torch"), []
    monkeypatch.setattr(torch.cuda, "device", lambda device: Entered(notes, device))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0x70 + device.index))
    tensor = torch.ones(3)
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda:2"), raising=False)
    place = places.place_of("f", [tensor])
    assert not place.on_cpu and place.device == "cuda:2"
    with place.current():
        assert gpu.current_stream() == 0x72
    assert notes == ["enter cuda:2", "leave cuda:2"]


def test_the_stream_of_cupy(gpu, monkeypatch):
    notes = []

    class Ndarray:
        __cuda_array_interface__ = {}
        device = Entered(notes, "CuPy's")

    Ndarray.device.id = 1
    stream = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=0x90))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=Ndarray, cuda=stream))
    place = places.place_of("f", [Ndarray()])
    assert place.device == "cuda:1"
    with place.current():
        assert gpu.current_stream() == 0x90
    assert notes == ["enter CuPy's", "leave CuPy's"]


def test_arrays_of_others_go_to_the_stream_that_is_current(gpu):
    with gpu.use_stream(0x30), places.place_of("f", [on_device(array_of(0))]).current():
        assert gpu.current_stream() == 0x30
    assert isinstance(places.CPU.current(), contextlib.nullcontext)


def test_devices_that_may_be_the_same():
    pairs = [("cpu", "cpu"), ("cuda:1", "cuda:1"), ("cuda", "cuda:1"), ("cuda:1", "cuda")]
    assert all(places.same_device(*pair) for pair in pairs)
    assert not any(places.same_device(*pair) for pair in [("cpu", "cuda"), ("cuda:0", "cuda:1"), ("cuda:0", "cpu")])
