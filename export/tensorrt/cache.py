"""Compiled engines kept between runs: a folder of files, each named by all that its content follows from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

ENVIRONMENT = "LONGJUMP_ENGINE_CACHE"
"""A folder in place of the default; empty: keep none."""

LIMIT_BYTES = 8 * 2**30
"""The oldest engines go when the folder would hold more than this."""


def default_folder() -> Path | None:
    """Where the engines lie: $LONGJUMP_ENGINE_CACHE, else longjump/engines under $XDG_CACHE_HOME or ~/.cache.

    None where the variable is empty or the user has no home.
    """
    chosen = os.environ.get(ENVIRONMENT)
    if chosen is not None:
        return Path(chosen) if chosen else None
    cache = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):
        return (Path(cache) if cache else Path.home() / ".cache") / "longjump" / "engines"
    return None


def key(parts: dict[str, Any]) -> str:
    """The hash of everything that an engine follows from: equal parts, equal key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class EngineCache:
    """A folder of engines. A file that was damaged is as good as none; one that cannot be written is not kept."""

    def __init__(self, folder: Path | None, limit: int = LIMIT_BYTES) -> None:
        """`folder` None: nothing is kept."""
        self._folder = folder
        self._limit = limit

    def load(self, name: str) -> bytes | None:
        """The engine of a key, as it was stored; None if there is none, or it is not what was stored."""
        if self._folder is None:
            return None
        file = self._folder / f"{name}.engine"
        try:
            data = file.read_bytes()
            digest = file.with_suffix(".sha256").read_text()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        with contextlib.suppress(OSError):
            os.utime(file)  # the oldest by use goes first
        return data

    def store(self, name: str, data: bytes) -> None:
        """Keep an engine, and let the oldest go where the folder grows too large."""
        if self._folder is None or len(data) > self._limit:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._trim(len(data))
            # The hash last: an engine without one is not loaded.
            self._write(self._folder / f"{name}.engine", data)
            self._write(self._folder / f"{name}.sha256", hashlib.sha256(data).hexdigest().encode())

    def _trim(self, room: int) -> None:
        assert self._folder is not None
        found = sorted((file.stat().st_mtime, file) for file in self._folder.glob("*.engine"))
        total = sum(file.stat().st_size for _, file in found)
        for _, file in found:
            if total + room <= self._limit:
                return
            total -= file.stat().st_size
            file.with_suffix(".sha256").unlink(missing_ok=True)
            file.unlink()

    def _write(self, file: Path, data: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as out:
            temporary = Path(out.name)
            try:
                out.write(data)
                out.flush()
                temporary.replace(file)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
