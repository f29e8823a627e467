"""Writing a data set folder: data.json and a .npy file per array, all or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data.arrays import Kind, Split
from trainer.data.npy import array_sha256, map_array, sampled_sha256, write_array

FORMAT = 2


def describe(name: str, kind: Kind, classes: list[str], splits: dict[str, Split]) -> dict[str, Any]:
    """The part of data.json that follows from the arrays; `sha256.dataset` identifies them all together."""
    arrays = named_arrays(splits)
    hashes = {key: array_sha256(array) for key, array in arrays.items()}
    return {
        "format": FORMAT,
        "name": name,
        "kind": kind,
        "classes": classes,
        "shape": list(splits["train"].x.shape[1:]),
        "counts": {split: len(content.x) for split, content in splits.items()},
        "sha256": {"dataset": combined_sha256(hashes), **hashes},
        "sampled_sha256": {key: sampled_sha256(array) for key, array in arrays.items()},
    }


def named_arrays(splits: dict[str, Split]) -> dict[str, Any]:
    """Arrays by the names they have in data.json, and with .npy in the folder: train.images, train.labels, ..."""
    return {f"{split}.{key}": array for split, content in splits.items() for key, array in content.arrays.items()}


def combined_sha256(hashes: dict[str, str]) -> str:
    """One hash of several arrays, from theirs."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Built:
    """What a source (facets, folder, ...) makes.

    `splits` has "train" and may have "test"; `info` is the rest of data.json: licence, credits, generator.
    """

    name: str
    kind: Kind
    classes: list[str]
    splits: dict[str, Split]
    info: dict[str, Any]


def check_target(out: Path) -> None:
    """Raise FileExistsError, NotADirectoryError or PermissionError unless the folder `out` can be made.

    Called before the work as well as before the rename: minutes of drawing must not end in a refusal.
    """
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"{out} exists already; choose another --out or remove it first")
    parent = _existing_parent(out)
    if not parent.is_dir():
        raise NotADirectoryError(f"{parent} is a file, so {out} cannot be made; choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{parent} cannot be written to; choose another --out")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, hidden beside `out`; it gets that name when the block ends well.

    Whatever interrupts the block, Ctrl-C included, nothing stays behind (after kill -9, a hidden `.partial` folder).
    Raises OSError like `check_target`, or, naming `out`, when the disk is full.
    """
    check_target(out)
    parent = _existing_parent(out)
    partial = Path(tempfile.mkdtemp(dir=parent, prefix=f".{out.name}.", suffix=".partial"))
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes it private to this user
        check_target(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(out)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(f"{out} could not be written: {error.strerror}; nothing half-written is left") from error
        raise


def fill(folder: Path, built: Built) -> dict[str, Any]:
    """Complete a folder of `new_folder` with what a source has built, and return its data.json.

    Arrays that the source has written to their place already, row by row, stay as they are. The hashes are of what is
    read back from the files.
    """
    splits = {}
    for split, content in built.splits.items():
        files = {key: folder / f"{split}.{key}.npy" for key in content.arrays}
        for key, array in content.arrays.items():
            if not files[key].exists():
                write_array(files[key], array)
        splits[split] = Split(map_array(files[content.key]), map_array(files["labels"]) if "labels" in files else None)
    info = describe(built.name, built.kind, built.classes, splits) | built.info
    (folder / "data.json").write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return info


def write_dataset(out: Path, built: Built) -> dict[str, Any]:
    """Write the folder `out`, all or nothing, and return its data.json. Raises what `new_folder` raises."""
    with new_folder(out) as folder:
        return fill(folder, built)


def _existing_parent(out: Path) -> Path:
    return next(folder for folder in out.absolute().parents if folder.exists())
