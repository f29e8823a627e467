"""A GPU's memory and one stream of it, as far as engines need them; CuPy gives them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines.machine import CUPY
from export.runtime.gpu.noise import Noise


class Buffer(Protocol):
    """Memory on the device."""

    @property
    def pointer(self) -> int:
        """Its address there."""

    def upload(self, values: NDArray[np.generic]) -> None:
        """Queue a copy of `values` (C order) to its beginning; they must stay as they are until it is done."""

    def download(self, values: NDArray[np.generic]) -> None:
        """Queue a copy of its beginning into `values` (C order)."""


class Mark(Protocol):
    """A place in the stream."""

    def wait(self) -> None:
        """Wait until what was queued before it is done."""


class Device(Protocol):
    """One stream of one GPU: what is queued runs in order."""

    @property
    def kind(self) -> str:
        """What ONNX Runtime calls memory of this device."""

    @property
    def stream(self) -> int:
        """The CUDA stream's handle."""

    def allocate(self, size: int) -> Buffer:
        """Memory of `size` bytes, zeroes."""

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Page-locked memory of the host, `size` bytes, zeroes."""

    def mark(self) -> Mark:
        """The end of what is queued by now."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` queues as a CUDA graph, without running it; the result queues the graph."""

    def noise(self, seeds: int, steps: int, out: int, count: int, rows: int) -> None:
        """Queue the noise of rows; see gpu.noise.Noise.queue."""

    def synchronise(self) -> None:
        """Wait until all that was queued is done."""


class CupyBuffer:
    """A Buffer from CuPy's memory pool."""

    def __init__(self, cupy: Any, size: int, stream: Any) -> None:
        self._memory = cupy.cuda.alloc(size)
        self._memory.memset_async(0, size, stream)
        self._stream = stream
        self.pointer: int = self._memory.ptr

    def upload(self, values: NDArray[np.generic]) -> None:
        """See Buffer."""
        self._memory.copy_from_host_async(values.ctypes.data, values.nbytes, self._stream)

    def download(self, values: NDArray[np.generic]) -> None:
        """See Buffer."""
        self._memory.copy_to_host_async(values.ctypes.data, values.nbytes, self._stream)


class CupyMark:
    """A Mark by a CUDA event."""

    def __init__(self, cupy: Any, stream: Any) -> None:
        self._event = cupy.cuda.Event(block=False, disable_timing=True)
        self._event.record(stream)

    def wait(self) -> None:
        """See Mark."""
        self._event.synchronize()


class CupyDevice:
    """A stream of the first GPU that this process may use."""

    kind = "cuda"

    def __init__(self) -> None:
        self._cupy = importlib.import_module(CUPY)
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self.stream: int = self._stream.ptr
        self._noise: Noise | None = None

    def allocate(self, size: int) -> CupyBuffer:
        """See Device."""
        return CupyBuffer(self._cupy, size, self._stream)

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """See Device."""
        memory = self._cupy.cuda.alloc_pinned_memory(size)
        values = np.frombuffer(memory, dtype=np.uint8, count=size)  # keeps `memory` alive
        values[...] = 0
        return values

    def mark(self) -> CupyMark:
        """See Device."""
        return CupyMark(self._cupy, self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See Device."""
        self._stream.begin_capture()
        try:
            work()
        finally:
            graph = self._stream.end_capture()

        def launch() -> None:
            graph.launch(self._stream)

        return launch

    def noise(self, seeds: int, steps: int, out: int, count: int, rows: int) -> None:
        """See Device."""
        if self._noise is None:
            self._noise = Noise(self._cupy)
        self._noise.queue(seeds, steps, out, count, rows, self._stream)

    def synchronise(self) -> None:
        """See Device."""
        self._stream.synchronize()
