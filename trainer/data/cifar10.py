"""CIFAR-10: 50,000 + 10,000 colour pictures, 32x32, in 10 classes (Krizhevsky 2009), from the official archive.

Get cifar-10-binary.tar.gz or cifar-10-python.tar.gz (both 170 MB) from https://www.cs.toronto.edu/~kriz/cifar.html and
give its path; no unpacking is needed. The checksum of the archive is verified before anything in it is read. The two
give the same data set. The authors state no licence.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.arrays import Split
from trainer.data.folder import Built

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
CREDITS = {"all": {"title": "CIFAR-10", "creator": "Alex Krizhevsky, Vinod Nair, Geoffrey Hinton"}}

SHA256 = {
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd": "binary",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce": "python",
}
"""Of the official archives -> their version."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build cifar10`."""
    parser.add_argument(
        "--from", dest="archive", type=Path, required=True, metavar="FILE",
        help="cifar-10-binary.tar.gz or cifar-10-python.tar.gz, as downloaded",
    )  # fmt: skip


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Read the archive."""
    info = {"licence": "unknown", "credits": CREDITS}
    return Built("cifar10", "image", CLASSES, read_cifar10(args.archive), info)


def read_cifar10(archive: Path, sha256: Mapping[str, str] = SHA256) -> dict[str, Split]:
    """The splits "train" and "test", uint8 [N, 32, 32, 3].

    Args:
        sha256: of the archives that are taken -> their version, `binary` or `python`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another archive.
    """
    if not archive.is_file():
        raise FileNotFoundError(
            f"{archive} does not exist; get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found not in sha256:
        official = " or ".join(f"{digest} ({version})" for digest, version in sha256.items())
        raise ValueError(f"{archive} has the SHA-256 {found}; the official archive has {official}; download it again")
    suffix, read = VERSIONS[sha256[found]]
    with tarfile.open(archive, "r:gz") as tar:
        contents = {Path(member.name).name: _content(tar, member) for member in tar if member.isfile()}
    splits = {}
    for split, names in FILES.items():
        pixels, labels = zip(*(read(contents[name + suffix]) for name in names), strict=True)
        # Stored as planes: 1024 red, 1024 green, 1024 blue, each row by row.
        images = np.concatenate(pixels).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = Split(np.ascontiguousarray(images), np.concatenate(labels).astype(np.int64))
    return splits


def read_binary(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, 3072] and labels [N] of a .bin file: a byte of label and 3072 of pixels per picture."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    return rows[:, 1:], rows[:, 0]


def read_python(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The same of a pickled batch. Raises ValueError where it asks for more than arrays, text, lists and dicts."""
    batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    return batch[b"data"], np.asarray(batch[b"labels"])


VERSIONS: dict[str, tuple[str, Callable[[bytes], tuple[np.ndarray, np.ndarray]]]] = {
    "binary": (".bin", read_binary),
    "python": ("", read_python),
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can make arrays and plain values, and can call nothing else. Behind the checksum besides."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _empty_array
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise ValueError(f"the archive asks for {module}.{name}; only arrays and plain values are read")


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """What numpy's `_reconstruct` makes for the pickle to fill: an empty array, here of no other type."""
    if kind is not np.ndarray:
        raise ValueError(f"the archive asks for an array of the type {kind.__name__}; only plain arrays are read")
    return np.ndarray.__new__(np.ndarray, (0,), np.uint8)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # a regular file
    return file.read()
