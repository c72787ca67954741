"""What kernels refuse: one argument of a good call is spoilt, the message names it, and nothing is written."""

import numpy as np
import pytest
from case import arrays_in
from cases import CASES
from placement import Placed
from spoilt import other_dtype, read_only, refused, strided, swapped, unaligned

from fastnn import _backend

KERNELS = _backend.load_level(_backend.isa_levels()[-1])
OTHERWISE = ("_rule", "_update")  # they take tables: test_optimizer_border.py, test_self_updates.py
OPTIONAL = {"bias", "b", "z", "dw", "db", "weights", "dlogits", "dprobs", "dpred"}
OPTIONAL_HERE = {(f"{layer}_backward", "dx") for layer in ("dense", "conv2d", "conv2d_max_pool2d", "depthwise_conv2d")}
OPTIONAL_HERE |= {("dense_input_gradient", "dx")}
OPTIONAL_HERE |= {(f"{kind}_forward", "index") for kind in ("max_pool2d", "global_max_pool", "conv2d_max_pool2d")}
OPTIONAL |= {"dkernel", "drecurrent_kernel", "dbias"}
OPTIONAL_HERE |= {
    (f"{kind}_forward", name) for kind in ("simple_rnn", "lstm", "gru") for name in ("y", "h", "c", "gates")
}
OPTIONAL_HERE |= {(f"{kind}_backward", "dx") for kind in ("simple_rnn", "lstm", "gru")}
OPTIONAL |= {"gamma", "beta", "dgamma", "dbeta"}
OPTIONAL_HERE |= {("batch_norm_backward", "dx"), ("layer_norm_backward", "dx")}
OPTIONAL_HERE |= {("batch_norm_inference", "mean"), ("layer_norm_forward", "mean"), ("layer_norm_forward", "inv_std")}
ANY_SHAPE = {("first_nonfinite", "x"), ("regularization_penalty", "param")}
ANY_LENGTH = {("gather_rows", "x"), ("embedding_forward", "w"), ("embedding_backward", "dw")}
ANY_WIDTH = {("top_k_matches", "pred"), ("sparse_categorical_matches", "pred")}


def good_rows():
    """The first row of each kernel that has all its arrays, with more than one element along each axis of the first."""
    rows = {}
    for case in CASES:
        if case.bench or case.alias or case.kernel.endswith(OTHERWISE):
            continue
        arrays = list(case.arguments().values())
        if all(array is not None and array.size for array in arrays) and min(arrays[0].shape) > 1:
            rows.setdefault(case.kernel, case)
    return rows


ROWS = good_rows()
ARGUMENTS = [(kernel, name) for kernel, case in ROWS.items() for name in case.arguments()]
OUTPUTS = [(kernel, name) for kernel, case in ROWS.items() for name in case.outputs if name != "return"]


def check_refused(kernel, spoil, message, error=ValueError):
    """`spoil` changes the arguments of a good call; it must raise and leave every byte as it was."""
    case = ROWS[kernel]
    placed = Placed(case.arguments(), case.outputs)
    arguments = dict(placed.arguments)
    spoil(arguments)
    before = [array.tobytes() for array in arrays_in(arguments)]
    refused(lambda: case.call(KERNELS, arguments)(), message, error)
    assert placed.unchanged()
    assert [array.tobytes() for array in arrays_in(arguments)] == before


# ---- arrays


def with_argument(name, make):
    return lambda arguments: arguments.update({name: make(arguments[name])})


def test_every_kernel_has_a_good_row():
    assert set(ROWS) == {case.kernel for case in CASES if not case.kernel.endswith(OTHERWISE)}


@pytest.mark.parametrize("kernel, name", ARGUMENTS)
def test_other_objects_and_dtypes(kernel, name):
    wanted = rf"^{kernel}: {name} must be an? \w+ array.*, got "
    check_refused(kernel, with_argument(name, np.ndarray.tolist), wanted + "list; .*numpy.asarray", TypeError)
    check_refused(kernel, with_argument(name, memoryview), wanted + "memoryview", TypeError)
    if (kernel, name) != ("gather_rows", "x"):  # takes any dtype; then `out` is wrong
        wrong = rf"^{kernel}: {name} must be an? .*array.*, got float\d\d"
        check_refused(kernel, with_argument(name, other_dtype), wrong)
    if ROWS[kernel].arguments()[name].itemsize > 1:
        check_refused(kernel, with_argument(name, swapped), wanted)
    if name not in OPTIONAL and (kernel, name) not in OPTIONAL_HERE:
        check_refused(kernel, with_argument(name, lambda array: None), wanted + "None", TypeError)


@pytest.mark.parametrize("kernel, name", [pair for pair in ARGUMENTS if pair not in ANY_SHAPE])
def test_other_shapes(kernel, name):
    # Where an array's size sets that of the others, one of those is what the message complains about.
    anything = rf"^{kernel}: \w+ must be .+, got .+"
    if (kernel, name) not in ANY_WIDTH:
        check_refused(kernel, with_argument(name, lambda array: np.repeat(array, 2, axis=-1)), anything)
    if (kernel, name) not in ANY_LENGTH:
        check_refused(kernel, with_argument(name, lambda array: np.concatenate([array, array[:1]])), anything)
    check_refused(kernel, with_argument(name, lambda array: array[None].copy()), anything)
    check_refused(kernel, with_argument(name, lambda array: np.asarray(array.reshape(-1)[0])), anything)


@pytest.mark.parametrize("kernel, name", ARGUMENTS)
def test_other_layouts(kernel, name):
    layout = "contiguous along its last axis" if kernel == "gemm" and name != "bias" else "C-contiguous"
    array = ROWS[kernel].arguments()[name]
    message = rf"^{kernel}: {name} must be {layout}, got .*strides.*numpy.ascontiguousarray\({name}\)"
    if array.shape[-1] > 1:
        check_refused(kernel, with_argument(name, strided), message)
    if array.ndim > 1 and min(array.shape) > 1:
        check_refused(kernel, with_argument(name, np.asfortranarray), message)
        check_refused(kernel, with_argument(name, lambda array: array[::-1]), message)
    if array.itemsize > 1:
        check_refused(kernel, with_argument(name, unaligned), f"^{kernel}: {name} must be aligned")


@pytest.mark.parametrize("kernel, name", OUTPUTS)
def test_outputs_must_be_writable(kernel, name):
    check_refused(kernel, with_argument(name, read_only), f"^{kernel}: {name} must be writable.*, got a read-only")


@pytest.mark.parametrize("kernel, name", OUTPUTS)
def test_outputs_must_lie_apart(kernel, name):
    """The other array begins one item before the output ends."""
    for other in ROWS[kernel].arguments():
        if other == name:
            continue

        def overlap(arguments, other=other):
            first, second = arguments[name], arguments[other]
            start = (first.nbytes - second.itemsize) // second.itemsize * second.itemsize
            memory = np.zeros((start + second.nbytes + 15) // 8 + 1)
            for key, array, offset in [(name, first, 0), (other, second, start)]:
                arguments[key] = np.ndarray(array.shape, array.dtype, memory.data, offset)
                arguments[key][...] = array

        check_refused(kernel, overlap, rf"^{kernel}: \w+ must be memory apart from \w+, got arrays that overlap")


# ---- numbers

REFUSED_NUMBERS = [
    *[
        (kernel, {"activation": number}, "activation", "0 to 9")
        for kernel in ROWS
        if "activation" in ROWS[kernel].options
        for number in (-1, 10)
    ],
    *[
        (kernel, {name: number}, name, wanted)
        for kernel in ROWS
        for name in ("activation", "recurrent_activation")
        if "go_backwards" in ROWS[kernel].options and name in ROWS[kernel].options
        for number, wanted in [(-1, "0 to 9"), (10, "0 to 9"), ("gelu", "one whose derivative is computed from its re")]
    ],
    *[
        (kernel, {name: value}, name, "at least")
        for kernel in ROWS
        if "strides" in ROWS[kernel].options
        for name, value in [("strides", (0, 1)), ("strides", (1, -2)), ("padding", (0, 0, -1, 0))]
    ],
    *[(f"{layer}2d_{way}", {"dilations": (1, 0)}, "dilations", "at least 1")
      for layer in ("conv", "depthwise_conv") for way in ("forward", "backward")],
    *[(f"conv2d_max_pool2d_{way}", {"activation": 5}, "activation", "linear or relu")
      for way in ("forward", "backward")],
    *[(f"conv2d_{way}", {"groups": groups}, "groups", "divisor")
      for way in ("forward", "backward") for groups in (0, 5)],
    *[(f"{kind}_pool2d_{way}", {"window": window}, "window", "at")
      for kind in ("max", "average") for way in ("forward", "backward") for window in ((0, 1), (900, 1))],
    *[(f"{kind}_pool2d_{way}", {"padding": (0, 900, 0, 0)}, "padding", "less than the window")
      for kind in ("max", "average") for way in ("forward", "backward")],
    *[(kernel, {"eps": eps}, "eps", "finite and at least 0") for eps in (-1.0, np.nan, np.inf)
      for kernel in ("batch_norm_forward", "batch_norm_inference", "layer_norm_forward")],
    *[("batch_norm_forward", {"momentum": value}, "momentum", "between 0 and 1") for value in (-0.1, 1.1, np.nan)],
    *[("dropout", {"rate": rate}, "rate", "between 0 and 1") for rate in (-0.1, 1.5, np.nan)],
    *[("dropout", {"stream": stream}, "stream", "0 to 4294967295") for stream in (-1, 1 << 32)],
    *[(f"crop_flip_{way}", {name: limits}, name, "the smallest and the largest, within a billion")
      for way in ("forward", "backward") for name in ("top", "left")
      for limits in ((1, 0), (-(1 << 40), 0), (0, 1 << 31))],
    ("crop_flip_forward", {"stream": -1}, "stream", "0 to 4294967295"),
    *[(case.kernel, {"label_smoothing": value}, "label_smoothing", "at least 0 and below 1")
      for case in ROWS.values() if case.kernel.endswith("cross_entropy") and not case.kernel.startswith("sparse")
      for value in (-0.1, 1.0, np.nan)],
    *[("huber", {"delta": delta}, "delta", "finite and above 0") for delta in (0.0, -1.0, np.inf, np.nan)],
    ("top_k_matches", {"k": 0}, "k", "at least 1"),
    ("confusion_counts", {"step": 0}, "step", "at least 1"),
    ("confusion_counts", {"first": -1}, "first", "from 0 to step - 1"),
    ("confusion_counts", {"first": 2, "step": 2}, "first", "from 0 to step - 1"),
]  # fmt: skip


@pytest.mark.parametrize("kernel, options, name, wanted", REFUSED_NUMBERS)
def test_refused_numbers(kernel, options, name, wanted):
    case = ROWS[kernel]
    placed = Placed(case.arguments(), case.outputs)
    given = {**case.options, **options}
    for key in ("activation", "recurrent_activation"):
        if isinstance(given.get(key), str):
            given[key] = KERNELS.ACTIVATIONS[given[key]]
    call = lambda: getattr(KERNELS, kernel)(**placed.arguments, **given)  # noqa: E731
    refused(call, f"^{kernel}: {name} must be .*{wanted}.*, got ")
    assert placed.unchanged()


@pytest.mark.parametrize("kind", ["simple_rnn", "lstm", "gru"])
def test_recurrent_kernels_need_steps_and_an_output(kind):
    case = ROWS[f"{kind}_forward"]
    arguments = case.arguments()
    without = {**arguments, "y": None, "h": None}
    refused(case.call(KERNELS, without), f"^{kind}_forward: y must be an array where h is None, got None")
    stepless = {**arguments, "x": arguments["x"][:, :0].copy()}
    refused(case.call(KERNELS, stepless), f"^{kind}_forward: x must be of at least one step, got none")


def test_negative_slope_is_refused():
    x = np.ones(3, np.float32)
    call = lambda: KERNELS.activation_forward(x, x.copy(), KERNELS.ACTIVATIONS["leaky_relu"], -0.1)  # noqa: E731
    refused(call, "^activation_forward: alpha must be at least 0, got ")


@pytest.mark.parametrize("kernel", [kernel for kernel, name in ARGUMENTS if name == "labels"])
@pytest.mark.parametrize("label", [-1, 10_000, -(2**31)])
def test_labels_outside_of_the_row(kernel, label):
    def spoil(arguments):
        arguments["labels"][1] = label

    case = ROWS[kernel]
    placed = Placed(case.arguments(), (*case.outputs, "labels"))
    spoil(placed.arguments)
    before = [array.tobytes() for array in arrays_in(placed.arguments)]
    refused(case.call(KERNELS, placed.arguments), rf"^{kernel}: labels must be in \[0, \d+\), got {label} at index 1")
    assert [array.tobytes() for array in arrays_in(placed.arguments)] == before


@pytest.mark.parametrize("row", [-1, 3, 1 << 40])
def test_gather_index_outside_of_the_array(row):
    x, out = np.ones((3, 2), np.float32), np.zeros((2, 2), np.float32)
    call = lambda: KERNELS.gather_rows(x, np.array([0, row]), out)  # noqa: E731
    refused(call, f"^gather_rows: index must be row numbers of x, at least 0 and below 3, got {row} at position 1")
    assert not out.any()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("row", [-1, 3, 1 << 30])
def test_embedding_ids_outside_of_the_table(row, dtype):
    w, y, ids = np.ones((3, 2), np.float32), np.zeros((2, 2), np.float32), np.array([0, row], dtype)
    wanted = f"ids must be row numbers of the table, at least 0 and below 3, got {row} at position 1"
    refused(lambda: KERNELS.embedding_forward(w, ids, y), f"^embedding_forward: {wanted}")
    refused(lambda: KERNELS.embedding_backward(ids, y, w, False), f"^embedding_backward: {wanted}")
    assert not y.any() and w.all()


def test_gather_refuses_objects():
    x, out = np.array([[{}], [[]]], object), np.empty((1, 1), object)
    refused(lambda: KERNELS.gather_rows(x, np.array([0]), out), "^gather_rows: x must be .*, got object")


def test_pool_index_outside_of_the_window_writes_nothing_outside():
    """The index of max pooling is not checked, being large: a wrong one must still stay inside of dx."""
    case = next(case for case in CASES if case.kernel == "max_pool2d_backward" and case.arguments()["dy"].size > 1)
    placed = Placed(case.arguments(), (*case.outputs, "index"))
    placed.arguments["index"][...] = 255
    case.call(KERNELS, placed.arguments)()
    assert not placed.damage()


@pytest.mark.parametrize("pixel", [-1, 20])
def test_global_pool_index_outside_of_the_image(pixel):
    dy, dx = np.ones((1, 3), np.float32), np.zeros((1, 4, 5, 3), np.float32)
    index = np.full((1, 3), pixel, np.int32)
    call = lambda: KERNELS.global_max_pool_backward(dy, index, dx)  # noqa: E731
    refused(call, f"^global_max_pool_backward: index must be .* below 20, got {pixel}")
    assert not dx.any()
