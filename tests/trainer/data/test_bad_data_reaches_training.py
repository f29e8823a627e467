"""Every fault of a file is refused when it is opened, in one line that names the file and what is right."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.dataset import open_dataset

Save = Callable[..., Path]

IMAGES = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3)
LABELS = np.array([0, 1, 2, 0, 1, 2])
POINTS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2)
NAN, HUGE = POINTS.copy(), POINTS.astype(np.float64)
NAN[4, 1] = np.nan
HUGE[3, 0] = 1e300

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no arrays": ({}, "holds no arrays; it needs exactly one of images"),
    "only labels": ({"labels": LABELS}, "holds the array labels; it needs exactly one of images"),
    "both kinds": ({"images": IMAGES, "x": POINTS}, "needs exactly one of images"),
    "misspelt labels": (
        {"images": IMAGES, "label": LABELS},
        "holds the array label; a data set has images or x",
    ),
    "float images": ({"images": IMAGES / 255}, "images is float64 [6, 4, 4, 3]; it must be uint8"),
    "channels first": ({"images": IMAGES.transpose(0, 3, 1, 2)}, "it looks like [N, C, H, W]; transpose it"),
    "one image": ({"images": IMAGES[0]}, "images is uint8 [4, 4, 3]; it must have 4 dimensions"),
    "alpha": ({"images": np.zeros((6, 8, 8, 4), np.uint8)}, "must be 1 (grey) or 3 (RGB)"),
    "no images": ({"images": IMAGES[:0]}, "images is uint8 [0, 4, 4, 3]; it is empty"),
    "integer points": ({"x": POINTS.astype(int)}, "x is int64 [6, 2]; it must be float32"),
    "points on a line": ({"x": POINTS[:, 0]}, "for points on a line use x[:, None]"),
    "no points": ({"x": POINTS[:, :0]}, "x is float32 [6, 0]; it is empty"),
    "nan": ({"x": NAN}, "must be finite in float32 (1 of 6 rows are not)"),
    "too large for float32": ({"x": HUGE}, "x[3] is [1e+300"),
    "float labels": ({"x": POINTS, "labels": LABELS * 1.0}, "labels is float64 [6]; it must be an integer"),
    "one-hot labels": ({"x": POINTS, "labels": np.eye(3, dtype=int)[LABELS]}, "it must have 1 dimension"),
    "labels too short": ({"x": POINTS, "labels": LABELS[:5]}, "labels is int64 [5], but there are 6 samples"),
    "negative label": ({"x": POINTS, "labels": LABELS - 1}, "labels[0] is -1; labels are 0 to K-1"),
    "empty class": (
        {"x": POINTS, "labels": LABELS * 2},
        "2 of 5 classes have no sample: 1 (1), 3 (3)",
    ),
    "stray label": ({"x": POINTS, "labels": LABELS * 10**12}, "the largest label is 2000000000000"),
    "unsigned beyond int64": (
        {"x": POINTS, "labels": np.array([0, 0, 0, 0, 0, 2**63], np.uint64)},
        "labels[5] is 9223372036854775808",
    ),
    "python objects": ({"x": np.array([{}], dtype=object)}, "holds Python objects"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_file(fault: str, save: Save) -> None:
    arrays, message = FAULTS[fault]
    path = save(**arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        open_dataset(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64])
def test_a_good_file_opens(dtype: type, save: Save) -> None:
    """The control: without a fault the same arrays open, whatever the integer type of the labels."""
    images = open_dataset(save(images=IMAGES, labels=LABELS.astype(dtype)))
    assert (images.kind, images.classes, images.shape) == ("image", ["0", "1", "2"], (4, 4, 3))
    assert images.train.labels is not None
    assert images.train.labels.dtype == np.int64
    np.testing.assert_array_equal(images.train.x, IMAGES)

    points = open_dataset(save(x=POINTS.astype(">f8")))
    assert (points.kind, points.classes, points.train.labels) == ("points", [], None)
    assert points.train.x.dtype == np.float32
    assert points.sha256 == open_dataset(save("other.npz", x=POINTS)).sha256 != images.sha256


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.npz does not exist"):
        open_dataset(tmp_path / "absent.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 but no more"])
def test_a_file_that_is_no_zip_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.npz is not an npz file"):
        open_dataset(path)


def test_a_bare_npy_is_not_taken_for_an_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", POINTS)
    with pytest.raises(ValueError, match=r"x\.npy is not an npz file"):
        open_dataset(tmp_path / "x.npy")


def test_another_zip_is_not_taken_for_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images", b"not an array")
    with pytest.raises(ValueError, match=r"mine\.npz is not an npz file: it holds files that are not"):
        open_dataset(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_byte_is_noticed(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    x = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    (np.savez_compressed if compressed else np.savez)(path, x=x)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.npz is damaged"):
        open_dataset(path)


def test_a_truncated_file_is_refused(save: Save) -> None:
    path = save(x=POINTS)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"mine\.npz is not an npz file"):
        open_dataset(path)
