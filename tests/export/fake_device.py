"""A stand-in for a GPU's memory and one stream, and for ONNX Runtime's sessions on it.

Whatever is queued happens as late as it can: when its end is waited for. A buffer that is filled or read too early is
caught by that. Memory is the host's, under its real addresses, so that ONNX Runtime itself can be bound to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

from export.runtime.engines.session import open_session
from export.runtime.gpu.noise import NO_SEED
from export.runtime.noise import normal

ALIGNMENT = 256

Work = tuple[str, Callable[[], None]]


class FakeDevice:
    """A GPU of the test with one stream."""

    kind = "cpu"  # where the memory really is, for ONNX Runtime's bindings

    def __init__(self, stream: int = 77) -> None:
        self.stream = stream
        self.order: list[str] = []
        """What ran, in order."""
        self.sizes: list[int] = []
        """Bytes of the uploads and downloads that ran, in order."""
        self._memory: list[np.ndarray] = []
        self._pinned: list[np.ndarray] = []
        self._queue: list[Work] = []
        self._done = 0
        self._recorded: list[Work] | None = None

    def allocate(self, size: int) -> FakeBuffer:
        block = np.zeros(size + ALIGNMENT, dtype=np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        self._memory.append(block[start : start + size])
        return FakeBuffer(self, block.ctypes.data + start)

    def pinned(self, size: int) -> np.ndarray:
        self._pinned.append(np.zeros(size, dtype=np.uint8))
        return self._pinned[-1]

    def view(self, pointer: int, size: int) -> np.ndarray:
        """Memory of the device; AssertionError where none was allocated."""
        for block in self._memory:
            start = pointer - block.ctypes.data
            if 0 <= start <= len(block):
                assert start + size <= len(block), "beyond the end of the buffer"
                return block[start : start + size]
        raise AssertionError("no memory of the device is there")

    def check_pinned(self, values: np.ndarray) -> None:
        """AssertionError unless a copy from or to `values` can run beside the CPU, and finds them alive."""
        assert values.flags.c_contiguous
        assert any(np.may_share_memory(block, values) for block in self._pinned), "not page-locked memory"

    def queue(self, what: str, work: Callable[[], None]) -> None:
        (self._queue if self._recorded is None else self._recorded).append((what, work))

    def mark(self) -> FakeMark:
        assert self._recorded is None
        return FakeMark(self, self._done + len(self._queue))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self._recorded = []
        try:
            work()
        finally:
            recorded, self._recorded = self._recorded, None

        def run() -> None:
            for _, part in recorded:
                part()

        return lambda: self.queue("graph", run)

    def noise(self, seeds: int, steps: int, out: int, count: int, rows: int) -> None:
        def make() -> None:
            keys = [self.view(place, 8 * rows).view(np.uint64).tolist() for place in (seeds, steps)]
            made = self.view(out, 4 * count * rows).view(np.float32).reshape(rows, count)
            for row, seed, step in zip(made, *keys):
                if seed < NO_SEED:
                    normal(seed, step, (count,), out=row)

        self.queue("noise", make)

    def run(self, until: int) -> None:
        while self._done < until:
            what, work = self._queue.pop(0)
            self._done += 1
            self.order.append(what)
            work()

    def synchronise(self) -> None:
        assert self._recorded is None, "waiting breaks a capture"
        self.run(self._done + len(self._queue))


class FakeMark:
    def __init__(self, device: FakeDevice, place: int) -> None:
        self._device = device
        self._place = place

    def wait(self) -> None:
        self._device.run(self._place)


class FakeBuffer:
    def __init__(self, device: FakeDevice, pointer: int) -> None:
        self._device = device
        self.pointer = pointer

    def upload(self, values: np.ndarray) -> None:
        self._device.check_pinned(values)

        def copy() -> None:
            self._device.sizes.append(values.nbytes)
            self._device.view(self.pointer, values.nbytes)[...] = values.ravel().view(np.uint8)

        self._device.queue("upload", copy)

    def download(self, values: np.ndarray) -> None:
        self._device.check_pinned(values)

        def copy() -> None:
            self._device.sizes.append(values.nbytes)
            values.ravel().view(np.uint8)[...] = self._device.view(self.pointer, values.nbytes)

        self._device.queue("download", copy)


class FakeSession:
    """A real session on the CPU, bound as one on the GPU would be, whose runs wait in the stream of their device."""

    def __init__(self, session: ort.InferenceSession, device: FakeDevice, captures: bool) -> None:
        self._session = session
        self._device = device
        self._captures = captures
        self.graphs: dict[str, ort.IOBinding] = {}
        self.get_outputs = session.get_outputs
        self.io_binding = session.io_binding

    def run_with_iobinding(self, binding: ort.IOBinding, options: ort.RunOptions) -> None:
        # Without it the call waits for the stream.
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        what = "run"
        if self._captures:
            what = f"graph {options.get_run_config_entry('gpu_graph_id')}"
            # ONNX Runtime replays a graph into the buffers and shapes of its first run, whatever it is given later.
            assert self.graphs.setdefault(what, binding) is binding
        self._device.queue(what, lambda: self._session.run_with_iobinding(binding))


class FakeCuda:
    """What opens such sessions in place of export.runtime.engines.session.open_session, and their devices."""

    def __init__(self, captures: bool) -> None:
        self._captures = captures
        self.devices: list[FakeDevice] = []
        self.options: list[Mapping[str, str]] = []

    def device(self) -> FakeDevice:
        self.devices.append(FakeDevice(100 + len(self.devices)))
        return self.devices[-1]

    def open(self, model: bytes, where: str, threads: int | None, provider: str, options: Mapping[str, str]) -> Any:
        assert provider == "CUDAExecutionProvider"
        self.options.append(options)
        capture = options.get("enable_cuda_graph") == "1"
        if capture and not self._captures:
            raise ValueError(f"{where}: This session cannot use the graph capture feature as requested by the user")
        device = next(each for each in self.devices if str(each.stream) == options["user_compute_stream"])
        return FakeSession(open_session(model, where, 1), device, capture)
