"""What an evaluation has computed so far, on disk: the next one with the same settings goes on from there."""

from __future__ import annotations

import hashlib
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

LINE = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f}%), {rate_fmt}, {remaining} left"


def default_folder() -> Path:
    """longjump/evaluate under $XDG_CACHE_HOME or ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "longjump" / "evaluate"


class Store:
    """Arrays by what they are: rows in files of CHUNK, each written whole or not at all.

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
        starts = range(0, count, CHUNK)
        files = [folder / f"{start:08d}-{min(start + CHUNK, count):08d}.npy" for start in starts]
        missing = [(start, file) for start, file in zip(starts, files, strict=True) if not file.is_file()]
        done = count - sum(min(CHUNK, count - start) for start, _ in missing)
        with self._progress(title, done, count, bool(missing)) as progress:
            for start, file in missing:
                stop = min(start + CHUNK, count)
                write_file(file, encode_npy(make(start, stop)))
                progress.update(stop - start)
        return np.concatenate([np.load(file, allow_pickle=False) for file in files])

    def array(self, what: dict[str, Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """An array that is made at once."""
        file = self._open(what) / "whole.npy"
        if not file.is_file():
            write_file(file, encode_npy(make()))
        return np.load(file, allow_pickle=False)

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
            dynamic_ncols=terminal,
            file=sys.stderr if terminal else Lines(),
            bar_format=None if terminal else LINE,
        )
