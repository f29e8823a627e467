"""Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes in 10 classes (Xiao et al., arXiv 1708.07747), MIT licence.

The four idx.gz files come with the Debian package dataset-fashion-mnist (30 MB, `apt-get install
dataset-fashion-mnist`); `--from DIR` takes them from elsewhere. What is in them must be what was published, which is
checked. The pictures are 28x28; a border of 2 black pixels makes them 32x32, which networks can halve more often.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trainer.data.arrays import Split
from trainer.data.folder import Built

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
LICENCE = "MIT"
BORDERS = [(0, 0), (2, 2), (2, 2)]  # pixels before and after, per dimension of [N, 28, 28]

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Of the unpacked files: Debian has packed them again, so the .gz files differ from those of the authors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `longjump data build fashion-mnist`."""
    parser.add_argument(
        "--from", dest="source_folder", type=Path, default=DEBIAN, metavar="DIR",
        help=f"folder of the four idx.gz files (default: the Debian package's, {DEBIAN})",
    )  # fmt: skip


def build(args: argparse.Namespace, folder: Path) -> Built:
    """Read the four files."""
    info = {"licence": LICENCE, "credits": {"all": {"title": "Fashion-MNIST", "creator": "Zalando SE"}}}
    return Built("fashion-mnist", "image", CLASSES, read_fashion_mnist(args.source_folder), info)


def read_fashion_mnist(source: Path, sha256: Mapping[str, str] = SHA256) -> dict[str, Split]:
    """The splits "train" and "test", uint8 [N, 32, 32, 1].

    Raises FileNotFoundError that says where to get the files, or ValueError for one that is not the published one.
    """
    return {
        split: Split(
            np.pad(_read_idx(source, f"{stem}-images-idx3-ubyte", sha256), BORDERS)[..., None],
            _read_idx(source, f"{stem}-labels-idx1-ubyte", sha256).astype(np.int64),
        )
        for split, stem in (("train", "train"), ("test", "t10k"))
    }


def _read_idx(source: Path, name: str, sha256: Mapping[str, str]) -> np.ndarray:
    """An idx file: zero, zero, the type (8: uint8), the number of dimensions, their sizes (big-endian), the data."""
    file = source / f"{name}.gz"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; apt-get install dataset-fashion-mnist, or give the folder of the files with --from"
        )
    try:
        content = gzip.decompress(file.read_bytes())
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256[name]:
        raise ValueError(
            f"{file}: the SHA-256 of what is in it is {found}, but that of Fashion-MNIST is {sha256[name]}; "
            "it is damaged or another data set"
        )
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
