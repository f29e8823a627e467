"""What an evaluation has computed so far, on disk: the next one with the same settings goes on from there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from export.runtime.images import encode_npy
from export.runtime.target import write_file
from trainer.progress import Lines

CHUNK = 128
"""Rows of a file."""

SEAL = 32
"""Bytes at the end of a file."""

LINE = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f}%), {rate_fmt}, {remaining} left"


def default_folder() -> Path:
    """longjump/evaluate under $XDG_CACHE_HOME or ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "longjump" / "evaluate"


class Store:
    """Arrays by what they are: rows in files of CHUNK, each written whole or not at all.

    A file ends with its SHA-256, and one that is not as it was written is made again: it can be.

    Args:
        folder: made where it is not there. Two evaluations may share it.
        shown: whether progress is shown on stderr.
    """

    def __init__(self, folder: Path, shown: bool = True) -> None:
        self.folder, self.shown = folder, shown

    def rows(
        self, what: dict[str, Any], count: int, make: Callable[[int, int], NDArray[Any]], title: str
    ) -> NDArray[Any]:
        """Rows 0 to `count` of an array.

        Args:
            what: says which array it is: all that its rows depend on, as JSON. Not their number.
            count: how many; more than the last time go on from there.
            make: rows from START to STOP, where they are not stored.
            title: for the progress.
        """
        folder = self._open(what)
        files = [folder / f"{start:08d}-{min(start + CHUNK, count):08d}.npy" for start in range(0, count, CHUNK)]
        parts = [_read(file) for file in files]
        missing = [index for index, part in enumerate(parts) if part is None]
        done = sum(len(part) for part in parts if part is not None)
        with self._progress(title, done, count, bool(missing)) as progress:
            for index in missing:
                start, stop = index * CHUNK, min((index + 1) * CHUNK, count)
                parts[index] = _write(files[index], make(start, stop))
                progress.update(stop - start)
        return np.concatenate([part for part in parts if part is not None])

    def array(self, what: dict[str, Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """An array that is made at once."""
        file = self._open(what) / "whole.npy"
        found = _read(file)
        return _write(file, make()) if found is None else found

    def _open(self, what: dict[str, Any]) -> Path:
        text = json.dumps(what, sort_keys=True, ensure_ascii=False)
        folder = self.folder / hashlib.sha256(text.encode()).hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "what.json").is_file():
            write_file(folder / "what.json", (json.dumps(what, indent=2, ensure_ascii=False) + "\n").encode())
        return folder

    def _progress(self, title: str, done: int, count: int, shown: bool) -> tqdm[Never]:
        terminal = sys.stderr.isatty()
        return tqdm(
            desc=title,
            initial=done,
            total=count,
            unit=" pictures",
            disable=not (self.shown and shown),
            mininterval=0.5 if terminal else 30,
            maxinterval=10 if terminal else 600,  # see trainer.progress
            dynamic_ncols=terminal,
            file=sys.stderr if terminal else Lines(),
            bar_format=None if terminal else LINE,
        )


def _write(file: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Store an array; the array."""
    data = encode_npy(array)
    write_file(file, data + _seal(file, data))
    return array


def _read(file: Path) -> NDArray[Any] | None:
    """A stored array; None where there is none, or another than was written."""
    try:
        found = file.read_bytes()
    except FileNotFoundError:
        return None
    data, seal = found[:-SEAL], found[-SEAL:]
    return np.load(io.BytesIO(data), allow_pickle=False) if seal == _seal(file, data) else None


def _seal(file: Path, data: bytes) -> bytes:
    """The end of a file: the SHA-256 of its place in the store and its content."""
    return hashlib.sha256(f"{file.parent.name}/{file.name}".encode() + data).digest()
