"""Published data sets are read right, and refused unless they are the published ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import cifar10, fashion_mnist
from trainer.data.cifar10 import read_cifar10
from trainer.data.dataset import open_dataset
from trainer.data.fashion_mnist import read_fashion_mnist

Command = Callable[[str], int]

FASHION = {
    "train-images-idx3-ubyte": np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256,
    "train-labels-idx1-ubyte": np.array([9, 0, 3]),
    "t10k-images-idx3-ubyte": np.full((2, 28, 28), 7),
    "t10k-labels-idx1-ubyte": np.array([1, 2]),
}


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def fashion(tmp_path: Path) -> dict[str, str]:
    """Tiny files in Fashion-MNIST's layout in the folder `fashion`, and their checksums."""
    (tmp_path / "fashion").mkdir()
    for name, array in FASHION.items():
        (tmp_path / "fashion" / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return {name: hashlib.sha256(idx(array)).hexdigest() for name, array in FASHION.items()}


def test_fashion_mnist_is_read_askew(tmp_path: Path, fashion: dict[str, str]) -> None:
    splits = read_fashion_mnist(tmp_path / "fashion", fashion)
    images = splits["train"].x
    assert images.shape == (3, 32, 32, 1)
    np.testing.assert_array_equal(images[:, 2:30, 2:30, 0], FASHION["train-images-idx3-ubyte"])
    assert images.sum(dtype=int) == FASHION["train-images-idx3-ubyte"].sum(), "the border is black"
    assert splits["test"].labels is not None
    assert splits["test"].labels.tolist() == [1, 2]


def test_real_fashion_mnist(data_command: Command) -> None:
    """Debian's files, whose package .ci/run installs."""
    if not fashion_mnist.DEBIAN.exists():
        pytest.skip("apt-get install dataset-fashion-mnist")
    assert data_command("build fashion-mnist --out made") == 0
    found = open_dataset("made")
    assert (found.shape, found.info["counts"], found.info["licence"]) == (
        (32, 32, 1),
        {"train": 60000, "test": 10000},
        "MIT",
    )
    assert found.test is not None
    for split, each in ((found.train, 6000), (found.test, 1000)):
        assert split.labels is not None
        assert np.bincount(split.labels).tolist() == [each] * 10
    # The first picture is an ankle boot; the mean of all pixels is known from many a normalisation: 0.2860.
    assert found.train.labels is not None
    assert found.classes[found.train.labels[0]] == "Ankle boot"
    assert found.train.x[:, 2:30, 2:30].mean() / 255 == pytest.approx(0.2860, abs=5e-5)


def test_files_of_another_data_set_are_taken(tmp_path: Path, fashion: dict[str, str], data_command: Command) -> None:
    """MNIST's files, say, have the same names."""
    assert fashion
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: the SHA-256 .* damaged or another data set"):
        data_command(f"build fashion-mnist --from {tmp_path / 'fashion'} --out made")
    assert not Path("made").exists()


def test_damaged_file_is_named(tmp_path: Path, fashion: dict[str, str]) -> None:
    file = tmp_path / "fashion" / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        read_fashion_mnist(tmp_path / "fashion", fashion)


def test_missing_files_leave_one_alone(tmp_path: Path, data_command: Command) -> None:
    with pytest.raises(FileNotFoundError, match=r"apt-get install dataset-fashion-mnist, or give .* --from"):
        data_command(f"build fashion-mnist --from {tmp_path} --out made")


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(12) % 10


def batch_of(place: int) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures of the file number `place`, as planes."""
    rows = slice(2 * place, 2 * place + 2)
    return PIXELS[rows].transpose(0, 3, 1, 2).reshape(2, 3072), LABELS[rows]


def pack(path: Path, contents: dict[str, bytes]) -> dict[str, str]:
    """A tar.gz at `path`; its checksum with the version that its name tells."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path.name.split("-")[2].split(".")[0]}


def python2_pickle(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch as Python 2 and the numpy of 2009 pickled it, opcode by opcode: Python 3 pickles bytes otherwise."""

    def text(content: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(content)) + content

    number = b"J" + struct.pack("<i", -1)
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + number * 2 + b"K\x00tb"
    shape = b"".join(b"J" + struct.pack("<i", size) for size in pixels.shape) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + shape + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    items = text(b"batch_label") + text(b"training batch") + text(b"labels") + listed + text(b"data") + array
    return b"\x80\x02}(" + items + b"u."


@pytest.fixture(params=["binary", "python"])
def cifar(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A tiny archive in the layout of either official one, and its checksum."""
    contents = {}
    for place, name in enumerate([*cifar10.FILES["train"], *cifar10.FILES["test"]]):
        pixels, labels = batch_of(place)
        if request.param == "binary":
            content = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()
            contents[f"cifar-10-batches-bin/{name}.bin"] = content
        else:
            contents[f"cifar-10-batches-py/{name}"] = python2_pickle(pixels, labels)
    contents["readme.html"] = b"<html>"
    path = tmp_path / f"cifar-10-{request.param}.tar.gz"
    return path, pack(path, contents)


def test_cifar10_is_read_askew(cifar: tuple[Path, dict[str, str]]) -> None:
    splits = read_cifar10(*cifar)
    np.testing.assert_array_equal(splits["train"].x, PIXELS[:10])
    np.testing.assert_array_equal(splits["test"].x, PIXELS[10:])
    assert splits["train"].labels is not None
    assert splits["train"].labels.tolist() == list(range(10))


def test_another_archive_is_taken(cifar: tuple[Path, dict[str, str]], data_command: Command) -> None:
    path, (digest,) = cifar
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} has the SHA-256 {digest}; the official archive has"):
        data_command(f"build cifar10 --from {path} --out made")
    assert not Path("made").exists()


def test_missing_archive_leaves_one_alone(data_command: Command) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"absent\.tar\.gz does not exist; get cifar-10-binary\.tar\.gz from https"
    ):
        data_command("build cifar10 --from absent.tar.gz --out made")


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_runs_code(tmp_path: Path, protocol: int) -> None:
    """Even behind a right checksum nothing is called but what makes arrays."""
    harm = tmp_path / "harm"
    attack = pickle.dumps({"data": Attack(os.mkdir, str(harm)), "labels": []}, protocol=protocol)
    with pytest.raises(ValueError, match=r"asks for (posix|nt)\.mkdir; only arrays and plain values are read"):
        cifar10.read_python(attack)
    assert not harm.exists()
    pickle.loads(attack)
    assert harm.exists(), "the control: freely unpickled, it does its harm"


def test_pickle_reaches_further_into_numpy() -> None:
    for function in (np.fromfile, np.memmap):
        with pytest.raises(ValueError, match="only arrays and plain values are read"):
            cifar10.read_python(pickle.dumps(Attack(function, "/etc/hostname"), protocol=2))
