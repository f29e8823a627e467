"""ONNX Runtime on an NVIDIA GPU: bound buffers, a CUDA graph for each batch bucket, noise made on the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.engines.choice import Choice
from export.runtime.engines.device import CupyDevice, Device
from export.runtime.engines.feed import named
from export.runtime.engines.machine import Gpu
from export.runtime.engines.onnxruntime import MAX_ROWS, fingerprint
from export.runtime.engines.pictures import Pictures
from export.runtime.engines.trial import timed, zeros
from export.runtime.gpu.bound import BoundGraph
from export.runtime.gpu.buckets import buckets
from export.runtime.gpu.jpeg import open_jpeg
from export.runtime.gpu.jump import OUTPUT, jump_tensors
from export.runtime.manifest import Manifest


class CudaEngine:
    """A bundle's jump in ONNX Runtime's CUDA provider; see Engine, Drawing and Printing."""

    def __init__(
        self,
        bundle: Bundle,
        choice: Choice,
        gpu: Gpu,
        threads: int | None = None,
        device: Callable[[], Device] | None = None,
    ) -> None:
        """Load the graphs, each on a `device` (a stream of CuPy's) of its own; `threads` are those of the CPU's part.

        Raises ValueError if ONNX Runtime refuses one.
        """
        self.manifest: Manifest = bundle.manifest
        device = device or CupyDevice
        tensors, file = jump_tensors(self.manifest), choice.entry.file
        output = tensors.pop(OUTPUT)
        self._jump = BoundGraph(
            bundle.read(file),
            str(bundle.path / file),
            device(),
            tensors,
            output,
            buckets(MAX_ROWS),
            capture=True,
            draws=True,
        )
        # The decoder of latents is large and wants the GPU; pixels are scaled sooner than copied.
        own = None if self.manifest.latents is None else device
        self._pictures = Pictures(bundle, choice.entry.precision, threads, device=own)
        self.jpeg, self.choice = open_jpeg(self.manifest, choice, device)
        self.fingerprint: str = fingerprint(
            self.manifest.digest, choice, gpu, None if self.jpeg is None else self.jpeg.name
        )

    @property
    def captured(self) -> bool:
        """Whether the network runs as CUDA graphs."""
        return self._jump.captured

    def warm(self) -> None:
        """Run every bucket, which captures its graph, and the graphs for pictures on one row."""
        for size in reversed(self._jump.sizes):
            z = self.jump(*zeros(self.manifest, size))
        self._pictures.warm(z)

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """One network evaluation for all rows, several where there are more than MAX_ROWS; see Engine.jump."""
        return self._jump.run(named(z, t, s, label, guidance))

    def draw(
        self,
        seeds: NDArray[np.uint64],
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """See Drawing.draw."""
        return self._jump.run(named(z, t, s, label, guidance), seeds)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The images of z; see Engine.decode."""
        return self._pictures.decode(z)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The z of images; see Engine.encode."""
        return self._pictures.encode(images)

    def cost(self, rows: int) -> float:
        """See Engine.cost."""
        return timed(self, rows)
