"""The GPU's memory and stream, as far as a native engine needs them; CuPy gives them."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines.machine import CUPY


class Buffer(Protocol):
    """Memory on the device."""

    @property
    def pointer(self) -> int:
        """Its address there."""

    def upload(self, values: NDArray[np.generic]) -> None:
        """Queue a copy of `values` (C order) to its beginning; they must stay as they are until it is done."""

    def download(self, values: NDArray[np.generic]) -> None:
        """Queue a copy of its beginning into `values` (C order)."""


class Device(Protocol):
    """One stream of one GPU: what is queued runs in order."""

    @property
    def stream(self) -> int:
        """The CUDA stream's handle."""

    def allocate(self, size: int) -> Buffer:
        """Memory of `size` bytes."""

    def synchronise(self) -> None:
        """Wait until all that was queued is done."""


class CupyBuffer:
    """A Buffer from CuPy's memory pool."""

    def __init__(self, cupy: Any, size: int, stream: Any) -> None:
        self._memory = cupy.cuda.alloc(size)
        self._stream = stream
        self.pointer: int = self._memory.ptr

    def upload(self, values: NDArray[np.generic]) -> None:
        """See Buffer."""
        self._memory.copy_from_host_async(values.ctypes.data, values.nbytes, self._stream)

    def download(self, values: NDArray[np.generic]) -> None:
        """See Buffer."""
        self._memory.copy_to_host_async(values.ctypes.data, values.nbytes, self._stream)


class CupyDevice:
    """The first GPU that this process may use."""

    def __init__(self) -> None:
        self._cupy = importlib.import_module(CUPY)
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self.stream: int = self._stream.ptr

    def allocate(self, size: int) -> CupyBuffer:
        """See Device."""
        return CupyBuffer(self._cupy, size, self._stream)

    def synchronise(self) -> None:
        """See Device."""
        self._stream.synchronize()
