"""The shipped digits, and IDX files: right ones, and wrong ones with what is wrong about them."""

import gzip
import struct

import numpy as np
import pytest

from fastnn.data import datasets


def idx(array, code=0x08):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype({0x08: "u1", 0x0C: ">i4", 0x0D: ">f4"}[code]).tobytes()


def write_fashion(folder, suffix="", **changes):
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 7)):
        images = rng.integers(0, 256, (count, 28, 28))
        files = {f"{part}-images-idx3-ubyte": idx(images), f"{part}-labels-idx1-ubyte": idx(np.arange(count) % 10)}
        for name, content in files.items():
            content = changes.get(name.replace("-", "_"), content)
            (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)


def test_digits():
    (x_train, y_train), (x_test, y_test) = datasets.load_digits()
    assert x_train.shape == (1442, 8, 8, 1) and x_test.shape == (355, 8, 8, 1)
    assert x_train.dtype == y_train.dtype == np.uint8 and x_train.max() == 16
    counts = np.bincount(y_train), np.bincount(y_test)
    assert len(counts[0]) == len(counts[1]) == 10 and min(counts[0]) > 135 and min(counts[1]) >= 34
    assert y_train[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert not {image.tobytes() for image in x_train} & {image.tobytes() for image in x_test}


def test_digits_are_those_of_scikit_learn():
    from sklearn import datasets as sklearn_datasets

    reference = sklearn_datasets.load_digits()
    (x_train, _), (x_test, _) = datasets.load_digits()
    ours = sorted(image.tobytes() for image in np.concatenate([x_train, x_test]))
    assert ours == sorted(image.astype(np.uint8).tobytes() for image in reference.images)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inside", ["", "fashion-mnist", "FashionMNIST/raw"])
def test_fashion_mnist_from_a_folder(tmp_path, suffix, inside):
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    write_fashion(folder, suffix)
    (x_train, y_train), (x_test, y_test) = datasets.load_fashion_mnist(str(tmp_path))
    assert x_train.shape == (20, 28, 28, 1) and x_test.shape == (7, 28, 28, 1) and x_train.dtype == np.uint8
    assert y_train.tolist() == [i % 10 for i in range(20)] and y_test.tolist() == list(range(7))


def test_fashion_mnist_is_found_by_itself(tmp_path, monkeypatch):
    write_fashion(tmp_path, ".gz")
    monkeypatch.setattr(datasets, "FASHION_MNIST_FOLDERS", (tmp_path / "none", tmp_path))
    assert len(datasets.load_fashion_mnist()[0][0]) == 20
    monkeypatch.setattr(datasets, "FASHION_MNIST_FOLDERS", (tmp_path / "none",))
    with pytest.raises(
        FileNotFoundError, match="data_dir must be a folder that holds .*apt install dataset-fashion-mnist"
    ):
        datasets.load_fashion_mnist()


@pytest.mark.parametrize("code, array", [(0x0C, np.arange(-3, 3)), (0x0D, np.linspace(0, 1, 6).reshape(2, 3))])
def test_other_types_and_ranks(tmp_path, code, array):
    (tmp_path / "file").write_bytes(idx(array, code))
    np.testing.assert_allclose(datasets.read_idx(tmp_path / "file"), array, rtol=1e-6)


GOOD = idx(np.zeros((3, 2, 2)))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"must be an IDX file .*, got first bytes \(none\)"),
        (b"PK\3\4rest", r"must be an IDX file .*, got first bytes 50 4b 03 04"),
        (b"\0\0\x07\3" + GOOD[4:], r"must be an IDX file .*, got first bytes 00 00 07 03"),
        (GOOD[:9], r"must be at least the 16 bytes of its header, got 9 bytes"),
        (GOOD[:-1], r"must be 28 bytes for its 3 x 2 x 2 values of uint8, got 27 bytes. The file is damaged"),
        (GOOD + b"\0", r"must be 28 bytes for its 3 x 2 x 2 values of uint8, got 29 bytes"),
        (
            gzip.compress(GOOD)[:-12],
            r"must be a complete gzip file, got \d+ bytes .*The file is damaged: fetch it again",
        ),
        (gzip.compress(GOOD)[:5] + b"\xff" * 30, r"must be a complete gzip file"),
        (gzip.compress(GOOD[:-1]), r"must be 28 bytes .* got 27 bytes"),
    ],
)
def test_a_wrong_idx_file_is_named(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"read_idx: .*train-images-idx3-ubyte {message}"):
        datasets.read_idx(path)


def test_missing_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"read_idx: path must be a readable file, got '.*nothing' \(No such file"
    ):
        datasets.read_idx(tmp_path / "nothing")
    with pytest.raises(
        FileNotFoundError, match=r"load_fashion_mnist: data_dir must be a folder that holds train-images.*"
    ):
        datasets.load_fashion_mnist(tmp_path)
    write_fashion(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_dir must be a folder that holds t10k-labels-idx1-ubyte or"):
        datasets.load_fashion_mnist(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_images_idx3_ubyte": idx(np.zeros((20, 32, 32)))}, r"\(n, 28, 28\), got uint8 of shape \(20, 32, 32\)"),
        (
            {"train_labels_idx1_ubyte": idx(np.zeros(19))},
            r"train-labels-idx1-ubyte must be uint8 of shape \(20,\), one label",
        ),
        (
            {"t10k_labels_idx1_ubyte": idx(np.arange(7) + 5)},
            r"t10k-labels.* must be labels in \[0, 9\], got 11 at index 6",
        ),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, changes, message):
    write_fashion(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        datasets.load_fashion_mnist(tmp_path)
