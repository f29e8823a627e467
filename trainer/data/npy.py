"""Arrays of any size as .npy files: written row by row, mapped into memory on reading, hashed piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

BLOCK = 16 * 2**20  # bytes hashed, copied or checked at a time
SAMPLED_ROWS = 1024


class ArrayFile:
    """A new .npy file that grows by rows; how many there will be need not be known.

    Its folder is one that appears by a rename (`trainer.data.folder.new_folder`), so the file has its name at once.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """`shape` and `dtype` are those of one row."""
        self.path, self.shape, self.dtype, self.count = file, shape, dtype, 0
        self._file = file.open("xb")
        self._header()

    def _header(self) -> None:
        # numpy leaves room in the header for the first dimension to grow to 21 digits, so that it can be written again.
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, rows: np.ndarray) -> None:
        """Add [n, *shape]. Raises OSError when the disk is full."""
        assert rows.shape[1:] == self.shape
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.count += len(rows)

    def close(self) -> None:
        """Write the number of rows and close."""
        with self._file:
            self._file.seek(0)
            self._header()

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def write_array(file: Path, array: np.ndarray) -> None:
    """Write a whole array, block by block. Raises OSError."""
    with ArrayFile(file, array.shape[1:], array.dtype) as out:
        for rows in blocks(array):
            out.append(rows)


def map_array(file: Path) -> np.ndarray:
    """The array of a .npy file, read only where it is looked at; what is written to it stays in this process.

    Raises FileNotFoundError, or ValueError for a file that is damaged or no .npy file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist")
    try:
        # Copy on write, because torch warns of arrays that cannot be written to.
        array = np.load(file, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file} is damaged, or not a .npy file of plain numbers ({reason})") from None
    if not isinstance(array, np.memmap):
        raise ValueError(f"{file} is not a .npy file")
    return array


def blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of an array in pieces of at most `BLOCK` bytes (at least one row)."""
    size = max(1, BLOCK // max(1, array[:1].nbytes))
    for first in range(0, len(array), size):
        yield array[first : first + size]


def array_sha256(array: np.ndarray) -> str:
    """SHA-256 (hex) of an array's dtype, shape and C-ordered bytes; how it is stored does not enter."""
    digest = _started(array)
    for rows in blocks(array):
        digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def sampled_sha256(array: np.ndarray) -> str:
    """The same of at most 1,024 rows, evenly spaced from the first to the last, and of the whole array's shape.

    Tells one array from another in a moment, whatever their size; a single altered row it will most likely not see.
    """
    digest = _started(array)
    for row in np.linspace(0, len(array) - 1, min(len(array), SAMPLED_ROWS)).round().astype(np.int64):
        digest.update(np.ascontiguousarray(array[row : row + 1]).data)
    return digest.hexdigest()


def _started(array: np.ndarray) -> hashlib._Hash:
    return hashlib.sha256(f"{array.dtype.str}{list(array.shape)}".encode())
