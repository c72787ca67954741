"""Known data sets as uint8 arrays: the handwritten digits shipped with fastnn, Fashion-MNIST from IDX files.

Each ``load_`` function returns ``(x_train, y_train), (x_test, y_test)`` as ``keras.datasets`` does, but with the axis
of channels that the image layers want: x uint8 [n, height, width, 1], y uint8 [n].
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._check import fail

if TYPE_CHECKING:
    from numpy.typing import NDArray

Images = tuple["NDArray[np.uint8]", "NDArray[np.uint8]"]

CLASS_NAMES = {
    "digits": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),  # fmt: skip
}  # fmt: skip

FASHION_MNIST_FOLDERS = (
    Path("/usr/share/datasets/fashion-mnist"),  # Debian's package dataset-fashion-mnist
    Path("~/.keras/datasets/fashion-mnist"),
    Path("data/FashionMNIST/raw"),  # torchvision's, root="data"
)
_FASHION_MNIST_REMEDY = (
    "Install Debian's package dataset-fashion-mnist (apt install dataset-fashion-mnist), or download the four files "
    "from https://github.com/zalandoresearch/fashion-mnist and name their folder."
)
_DAMAGED = "The file is damaged: fetch it again."
_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_digits() -> tuple[Images, Images]:
    """The UCI handwritten digits, 8 x 8 pixels of 0 to 16: 1,442 images for training, 355 for testing.

    Every fifth image of each digit is for testing: the split is the same everywhere, and has all digits in both parts.
    Source and licence (CC BY 4.0): ``DIGITS.md`` beside this file.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        images, labels = archive["images"][..., None], archive["labels"]
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[4::5]] = True
    return (images[~test], labels[~test]), (images[test], labels[test])


def load_fashion_mnist(data_dir: str | os.PathLike[str] | None = None) -> tuple[Images, Images]:
    """Fashion-MNIST (Xiao et al., 2017), 28 x 28 pixels, 10 classes: 60,000 images for training, 10,000 for testing.

    Args:
        data_dir: the folder of the four IDX files (``train-images-idx3-ubyte`` ..., as they are or with ``.gz``); None
            looks where Debian's package dataset-fashion-mnist, Keras and torchvision put them.

    Raises:
        FileNotFoundError: no such folder, or a file is missing from it.
        ValueError: a file isn't an IDX file of the expected form, or is truncated.
    """
    folder = _fashion_mnist_folder(data_dir)
    return _idx_pair(folder, "train"), _idx_pair(folder, "t10k")


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, gzip-compressed or not: bytes 0, 0, type, rank, the sizes as big-endian uint32, the values.

    Raises:
        ValueError: the file isn't one, or holds less or more bytes than its header says.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        wanted = "an IDX file (first bytes 00 00, a type code 08 to 0e, the rank)"
        fail("read_idx", str(path), wanted, f"first bytes {content[:4].hex(' ') or '(none)'}")
    rank, header = content[3], 4 + 4 * content[3]
    if len(content) < header:
        fail("read_idx", str(path), f"at least the {header} bytes of its header", f"{len(content)} bytes")
    shape = struct.unpack(f">{rank}I", content[4:header])
    dtype = np.dtype(_IDX_DTYPES[content[2]])
    wanted_bytes = header + math.prod(shape) * dtype.itemsize
    if len(content) != wanted_bytes:
        sizes = " x ".join(map(str, shape))
        wanted = f"{wanted_bytes} bytes for its {sizes} values of {dtype.name}"
        fail("read_idx", str(path), wanted, f"{len(content)} bytes", _DAMAGED)
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        fail("read_idx", "path", "a readable file", f"{str(path)!r} ({reason})", error=FileNotFoundError)
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        fail("read_idx", str(path), "a complete gzip file", f"{len(raw)} bytes ({error})", _DAMAGED)


def _fashion_mnist_folder(data_dir: str | os.PathLike[str] | None) -> Path:
    if data_dir is None:
        candidates = [folder.expanduser() for folder in FASHION_MNIST_FOLDERS]
    else:
        root = Path(data_dir).expanduser()
        candidates = [root, root / "fashion-mnist", root / "FashionMNIST" / "raw"]
    for folder in candidates:
        if _find(folder, "train-images-idx3-ubyte") is not None:
            return folder
    given = f"none of {', '.join(map(str, candidates))}" if data_dir is None else repr(str(data_dir))
    wanted = "a folder that holds train-images-idx3-ubyte or train-images-idx3-ubyte.gz"
    fail("load_fashion_mnist", "data_dir", wanted, given, _FASHION_MNIST_REMEDY, error=FileNotFoundError)


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _idx_pair(folder: Path, part: str) -> Images:
    arrays = []
    for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
        path = _find(folder, name)
        if path is None:
            given = f"{str(folder)!r} without it"
            wanted = f"a folder that holds {name} or {name}.gz"
            fail("load_fashion_mnist", "data_dir", wanted, given, _FASHION_MNIST_REMEDY, error=FileNotFoundError)
        arrays.append((path, read_idx(path)))
    (images_path, images), (labels_path, labels) = arrays
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        given = f"{images.dtype} of shape {images.shape}"
        fail("load_fashion_mnist", str(images_path), "uint8 of shape (n, 28, 28)", given, "Is it another data set?")
    if labels.dtype != np.uint8 or labels.shape != (len(images),):
        wanted = f"uint8 of shape ({len(images)},), one label for each image"
        fail("load_fashion_mnist", str(labels_path), wanted, f"{labels.dtype} of shape {labels.shape}")
    if labels.size and labels.max() > 9:
        at = int(labels.argmax())
        fail("load_fashion_mnist", str(labels_path), "labels in [0, 9]", f"{labels[at]} at index {at}")
    return images[..., None], labels
