"""Tapes of kernel calls: replays, ports, the state of a step, and what the border refuses."""

import numpy as np
import pytest

import fastnn
from fastnn._backend import empty, kernels


@pytest.fixture(autouse=True)
def keep_threads():
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def test_tape_replays_kernels_on_their_memory():
    fastnn.set_num_threads(2)
    x, y = np.full(50_000, 2, np.float32), np.zeros(50_000, np.float32)
    tape = kernels.Tape()
    tape.start()
    kernels.activation_forward(x, y, kernels.ACTIVATIONS["relu"], 0.0)
    tape.stop()
    assert len(tape) == 1
    assert tape.threads == 2
    x[:] = 3
    assert (y == 2).all()
    assert tape.replay(1) == 1
    assert (y == 3).all()
    del x, y  # the tape keeps them
    assert tape.replay(2) == 2


def test_tape_stops_where_a_value_is_not_finite():
    total, losses_, slot = np.zeros(1), np.zeros(4), np.zeros(1, np.int64)
    position = np.zeros(1, np.int64)
    tape = kernels.Tape()
    tape.start()
    kernels.store_loss(total, losses_, slot)
    assert kernels.stop_unless_finite(total)
    kernels.end_batch(position, slot)
    tape.stop()
    total[0] = 5
    assert tape.replay(2) == 2
    total[0] = np.nan
    assert tape.replay(1) == 0
    np.testing.assert_array_equal(losses_, [0, 5, 5, np.nan])
    assert slot[0] == position[0] == 3


@pytest.mark.parametrize("value, expected", [(1.5, 0), (np.nan, 1), (np.inf, 1), (-np.inf, 1)])
def test_note_of_a_value_that_is_not_finite(value, expected):
    total, found = np.array([value]), np.zeros(1, np.float32)
    kernels.note_nonfinite(total, found)
    assert found[0] == expected
    total[0] = 0
    kernels.note_nonfinite(total, found)
    assert found[0] == expected  # it stays until somebody clears it


def test_state_of_a_step_beyond_its_arrays():
    """A replay may be one too many: nothing out of place is read or written."""
    order, position, index = np.arange(10, 15), np.zeros(1, np.int64), np.zeros(2, np.int64)
    total, losses_, slot = np.ones(1), np.zeros(3), np.zeros(1, np.int64)
    rates, rate, step = np.array([0.5, 0.25, 0.125]), np.zeros(1), np.zeros(1, np.int64)
    tape = kernels.Tape()
    tape.start()
    kernels.begin_batch(order, position, index, 2, np.zeros(1))
    kernels.store_loss(total, losses_, slot)
    kernels.begin_update(rates, slot, rate, step)
    kernels.end_batch(position, slot)
    tape.stop()
    tape.replay(1)
    assert (list(index), rate[0]) == ([12, 13], 0.25)
    tape.replay(1)
    assert (list(index), rate[0]) == ([14, -1], 0.125)
    tape.replay(1)
    assert list(index) == [-1, -1]
    assert np.isnan(rate[0])
    assert list(losses_) == [1, 1, 1]
    assert step[0] == slot[0] == position[0] == 4


def test_threads_meet_only_where_they_must():
    fastnn.set_num_threads(2)
    n = 2000
    logits, y, dx = np.ones((n, 40), np.float32), np.zeros((n, 40), np.float32), np.zeros((n, 40), np.float32)
    labels, total, state, slot = np.zeros(n, np.int32), np.zeros(1), np.zeros(2), np.zeros(1, np.int64)
    small = np.zeros((1, 3), np.float32)
    tape = kernels.Tape()
    tape.start()
    kernels.end_batch(slot, np.zeros(1, np.int64))  # alone, at the end of the step before
    kernels.softmax_forward(logits, y)  # by rows, as the next three
    kernels.sparse_categorical_matches(y, labels, None, state)  # the sum of the rows waits for the meeting
    kernels.sparse_cross_entropy(y, labels, None, dx, total, 1 / n)
    kernels.softmax_backward(y, dx, dx)
    kernels.stop_unless_finite(total)
    kernels.softmax_forward(small, small)  # alone, in the same meeting
    kernels.activation_forward(dx, y, kernels.ACTIVATIONS["relu"], 0.0)  # divides otherwise
    tape.stop()
    assert (len(tape), tape.meetings) == (10, 2)
    assert tape.replay(3) == 3
    np.testing.assert_array_equal(state, [4 * n, 4 * n])
    assert slot[0] == 4
    np.testing.assert_allclose(total, 4 * np.log(40), rtol=1e-6)


def test_tape_border():
    fastnn.set_num_threads(1)
    tape = kernels.Tape()
    with pytest.raises(ValueError, match="replay: steps must be at least 0, got -1"):
        tape.replay(-1)
    tape.start()
    try:
        with pytest.raises(ValueError, match="record: a tape must be recorded one at a time"):
            kernels.Tape().start()
        with pytest.raises(ValueError, match="replay: the tape must be replayed after recording"):
            tape.replay(1)
    finally:
        tape.stop()
    fastnn.set_num_threads(2)
    with pytest.raises(ValueError, match="replay: the number of threads must be what it was .* 1, got 2"):
        tape.replay(1)


def test_step_state_border():
    one, order, index = np.zeros(1, np.int64), np.arange(5), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="begin_batch: position must be that of a batch inside order, got 1"):
        kernels.begin_batch(order, np.ones(1, np.int64), index, 3, np.zeros(1))
    with pytest.raises(ValueError, match="store_loss: slot must be 0 to 1, got 2"):
        kernels.store_loss(np.zeros(1), np.zeros(2), one + 2)
    with pytest.raises(ValueError, match="begin_update: slot must be 0 to 1, got -1"):
        kernels.begin_update(np.zeros(2), one - 1, np.zeros(1), one)
    with pytest.raises(ValueError, match="advance_random: state must be a uint64 array"):
        kernels.advance_random(one)


def recorded_product():
    """(tape, x, y): y = x W for two rows, both ports."""
    x, w, y = empty((2, 5)), np.eye(5, 4, dtype=np.float32), empty((2, 4))
    x[...] = 1
    tape = kernels.Tape()
    tape.start()
    kernels.dense_forward(x, w, None, y, None, 0, 0.0)
    tape.stop()
    assert tape.port(x) == 1
    assert tape.port(y, written=True) == 1
    return tape, x, y


def test_ports_move_through_arrays():
    tape, _, _ = recorded_product()
    x, y = np.arange(30, dtype=np.float32).reshape(6, 5), np.zeros((6, 4), np.float32)
    assert tape.replay(3, x, y) == 3
    np.testing.assert_array_equal(y, x[:, :4])
    y[...] = 0
    assert tape.replay(1, x[2:], y[4:]) == 1
    np.testing.assert_array_equal(y, np.concatenate([y[:4] * 0, x[2:4, :4]]))


def test_border_of_ports():
    tape, x, y = recorded_product()
    with pytest.raises(ValueError, match=r"replay: arrays must be as many as the tape has ports, 2, got 0"):
        tape.replay(1)
    with pytest.raises(ValueError, match=r"replay: arrays\[0\] must be of at least 2 times 40 bytes, got 40"):
        tape.replay(2, x, y)
    with pytest.raises(ValueError, match=r"replay: arrays\[0\] must be C-contiguous"):
        tape.replay(1, np.ones((2, 10), np.float32)[:, ::2], y)
    y.flags.writeable = False
    with pytest.raises(ValueError, match=r"replay: arrays\[1\] must be writable"):
        tape.replay(1, x, y)
    with pytest.raises(ValueError, match=r"port: array must be one with elements, got an empty one"):
        tape.port(x[:0])
    with pytest.raises(TypeError, match=r"port: array must be a numeric array, got list"):
        tape.port([1.0])


def test_border_of_the_predictor():
    tape, x, _ = recorded_product()
    count = np.zeros(1, np.int64)
    predictor = kernels.Predictor((5,), (4,), [], count)
    with pytest.raises(ValueError, match="add: tape must be recorded with batches of 3, got ports of other sizes"):
        predictor.add(3, tape)
    with pytest.raises(ValueError, match="add: tape must be one with two ports, got 0"):
        predictor.add(2, kernels.Tape())
    with pytest.raises(ValueError, match="Predictor: generation must be a int64 array of shape"):
        kernels.Predictor((5,), (4,), [], np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="Predictor: sample_shape must be of at most 7 axes, got 8"):
        kernels.Predictor((1,) * 8, (4,), [], count)
    predictor.add(2, tape)
    predictor.add(2, tape)
    assert len(predictor) == 1
    call = predictor.call
    del predictor, tape
    np.testing.assert_array_equal(call(x), [[1, 1, 1, 1]] * 2)
    assert call(x[:1]) is call(None) is call(x.tolist()) is None
    count[0] = 1
    assert call(x) is None


@pytest.mark.parametrize("columns", [1, 3, 15, 17, 20, 130])
def test_a_row_times_a_matrix_reads_nothing_behind_it(columns, run_python):
    """The matrix ends where the readable memory ends."""
    script = f"""
import ctypes, mmap
import numpy as np
from fastnn._backend import kernels
memory = mmap.mmap(-1, 9 * mmap.PAGESIZE)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + 8 * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
size = 40 * {columns}
w = np.frombuffer(memory, np.float32, size, 8 * mmap.PAGESIZE - 4 * size).reshape(40, {columns})
w[...] = 1
y = np.empty((1, {columns}), np.float32)
kernels.dense_forward(np.ones((1, 40), np.float32), w, None, y, None, 0, 0.0)
print((y == 40).all())
"""
    result = run_python("-c", script)
    assert result.stdout.strip() == "True", result
