"""JPEGs written on the GPU: nvImageCodec over nvJPEG, where it is installed. Never executed: see docs/engines.md."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.engines.choice import Choice
from export.runtime.engines.device import Buffer, Device
from export.runtime.manifest import Manifest

MODULE = "nvidia.nvimgcodec"

INSTALL = "pip install 'longjump[gpu-jpeg]'"


class GpuJpeg:
    """nvImageCodec's encoder on a stream of its own. Calls from several threads take turns."""

    def __init__(self, library: Any, device: Device) -> None:
        """ValueError if it does not write a trial image."""
        self._library = library
        self._device = device
        # nvJPEG and nothing else: without it nvImageCodec would take OpenCV, on the CPU. One thread, for one image.
        nvjpeg = library.Backend(library.BackendKind.HYBRID_CPU_GPU)
        self._encoder = library.Encoder(max_num_cpu_threads=1, backends=[nvjpeg])
        self._lock = threading.Lock()
        self._sent: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
        self._there: Buffer | None = None
        self.name: str = f"nvimgcodec {library.__version__}"
        """For fingerprints: another version may write other bytes."""
        self(np.zeros((16, 16, 3), dtype=np.uint8), 95)

    def __call__(self, image: NDArray[np.uint8], quality: int) -> bytes:
        """The JPEG of an image uint8 [H, W, 3], at a quality of 1 to 100, colour as fine as light. ValueError if it
        fails."""
        library = self._library
        params = library.EncodeParams(
            quality_type=library.QualityType.QUALITY,
            quality_value=quality,
            chroma_subsampling=library.ChromaSubsampling.CSS_444,
        )
        with self._lock:
            there = self._upload(image)
            written = self._encoder.encode(there, "jpeg", params=params, cuda_stream=self._device.stream)
            if written is None:  # it logs the reason
                raise ValueError(f"{self.name} cannot write a JPEG of {image.shape[1]}x{image.shape[0]} pixels")
            return bytes(written)

    def _upload(self, image: NDArray[np.uint8]) -> _OnDevice:
        """The image in memory of the device, which is that of the last one unless it is larger."""
        if self._there is None or self._sent.size < image.size:
            self._sent, self._there = self._device.pinned(image.size), self._device.allocate(image.size)
        sent = self._sent[: image.size]
        sent[...] = image.reshape(-1)
        self._there.upload(sent)
        self._device.mark().wait()  # whatever stream the encoder reads on, it is there
        return _OnDevice(self._there.pointer, image.shape)


@dataclass(frozen=True)
class _OnDevice:
    """uint8 in C order on the device, as CUDA's array interface describes it."""

    pointer: int
    shape: tuple[int, ...]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": "|u1", "data": (self.pointer, False), "version": 3, "stream": None}


def open_jpeg(manifest: Manifest, choice: Choice, device: Callable[[], Device]) -> tuple[GpuJpeg | None, Choice]:
    """The encoder on a `device` of its own, and the choice, which tells of it: None where it is not installed or the
    model makes no pictures, and None with a warning where it does not start."""
    if manifest.kind != "image" or not _installed():
        return None, choice
    try:
        jpeg = GpuJpeg(importlib.import_module(MODULE), device())
    except Exception as error:  # a library that does not load, the driver, the encoder: they share no base class
        reason = f"JPEGs are written on the CPU: {MODULE} does not start ({' '.join(str(error).split())})"
        warnings = [warning for warning in (choice.warning, reason) if warning is not None]
        return None, replace(choice, warning="; ".join(warnings))
    return jpeg, replace(choice, reason=f"{choice.reason}; JPEGs by {jpeg.name}")


def _installed() -> bool:
    try:
        return importlib.util.find_spec(MODULE) is not None
    except ModuleNotFoundError:  # none of NVIDIA's packages is
        return False
