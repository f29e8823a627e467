"""The files that a person asked for: refused before the work where they cannot be written, then written whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def check_target(out: Path) -> Path:
    """The file that is written for `out`: itself, or the one that a link leads to.

    Raises OSError or ValueError for a folder, for a file whose folder is not there, and for what is there and is no
    ordinary file, such as /dev/null, which a rename would replace. A command asks before it does long work.
    """
    file = Path(os.path.realpath(out))
    if file.is_dir():
        raise IsADirectoryError(f"{out} is a folder; give the file to write")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{file.parent} is not a folder, so {file.name} cannot be written into it")
    if os.path.lexists(file) and not file.is_file():
        raise ValueError(f"{out} is no ordinary file; give the name of one")
    return file


def write_named(temporary: Path, data: bytes, out: Path) -> None:
    """Write what is to become `out`. Raises OSError that names that: a person knows nothing of a temporary."""
    try:
        temporary.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(out)) from None


def write_file(out: Path, data: bytes) -> None:
    """Write one file, as `write_files` does."""
    write_files({out: data})


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write files whole, all of them to temporary names before the first takes its place; what `check_target` says.

    Raises OSError that names the file, of a full disk say; all are then as they were.
    """
    ready: list[tuple[Path, Path]] = []
    try:
        for out, data in contents.items():
            file = check_target(out)
            partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
            ready.append((partial, file))
            write_named(partial, data, out)
        for partial, file in ready:
            partial.replace(file)
    finally:
        for partial, _ in ready:
            partial.unlink(missing_ok=True)
