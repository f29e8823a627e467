"""Writing a data set folder: train.npz, test.npz and data.json, all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.arrays import Kind, Split

FORMAT = 1


def array_sha256(array: np.ndarray) -> str:
    """SHA-256 (hex) of an array's dtype, shape and C-ordered bytes; the file's compression does not enter."""
    digest = hashlib.sha256(f"{array.dtype.str}{list(array.shape)}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def describe(name: str, kind: Kind, classes: list[str], splits: dict[str, Split]) -> dict[str, Any]:
    """The part of data.json that follows from the arrays; `sha256.dataset` identifies them all together."""
    hashes = {
        f"{split}.{key}": array_sha256(array)
        for split, content in splits.items()
        for key, array in content.arrays.items()
    }
    whole = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    return {
        "format": FORMAT,
        "name": name,
        "kind": kind,
        "classes": classes,
        "shape": list(splits["train"].x.shape[1:]),
        "counts": {split: len(content.x) for split, content in splits.items()},
        "sha256": {"dataset": whole, **hashes},
    }


@dataclass(frozen=True)
class Built:
    """What a source (facets, points, npz) makes and `write_dataset` writes.

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
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(f"{parent} is a file, so {out} cannot be made; choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{parent} cannot be written to; choose another --out")


def write_dataset(out: Path, built: Built) -> dict[str, Any]:
    """Write the folder `out` and return its data.json.

    The folder appears under its name only when it is complete; whatever interrupts the writing, Ctrl-C
    included, nothing half-written stays behind. Raises OSError like `check_target`, or when the disk is full.
    """
    check_target(out)
    info = describe(built.name, built.kind, built.classes, built.splits) | built.info
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
    try:
        for split, content in built.splits.items():
            np.savez_compressed(temporary / f"{split}.npz", allow_pickle=False, **content.arrays)
        (temporary / "data.json").write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", "utf-8")
        temporary.chmod(0o755)  # mkdtemp makes it private to this user
        check_target(out)
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return info
