"""A stand-in for the Python module `nvidia.nvimgcodec`, as version 0.9.0 was read: names, arguments, enumerations.

Its encoder is Pillow's, and reads its images from the memory of a FakeDevice, through CUDA's array interface.
"""

from __future__ import annotations

import enum
import io
import sys
import types
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.runtime.gpu import jpeg

from .fake_device import FakeDevice

VERSION = "0.9.0"
NO_GPU = "CUDA Runtime failure: '#35' at /build/nvimgcodec/python/device_utils.h:32"


def make_nvimgcodec(devices: list[FakeDevice], gpu: bool = True, nvjpeg: bool = True) -> Any:
    """The module. Without `nvjpeg` nothing encodes on the GPU, which is said by giving None."""
    module: Any = types.ModuleType(jpeg.MODULE)
    module.__version__ = VERSION
    module.encoders = []
    """What encoders were created with, and what they were asked for."""

    class BackendKind(enum.IntEnum):
        CPU_ONLY, GPU_ONLY, HYBRID_CPU_GPU, HW_GPU_ONLY = range(1, 5)

    class QualityType(enum.IntEnum):
        DEFAULT, LOSSLESS, QUALITY, QUANTIZATION_STEP, PSNR, SIZE_RATIO = range(6)

    class ChromaSubsampling(enum.IntEnum):
        CSS_444, CSS_422, CSS_420 = 0, 2, 3

    class Backend:
        def __init__(self, backend_kind: Any, load_hint: float = 1.0, load_hint_policy: Any = None) -> None:
            self.backend_kind = backend_kind

    class EncodeParams:
        def __init__(
            self,
            quality_type: Any = QualityType.DEFAULT,
            quality_value: float = 0,
            color_spec: Any = None,
            chroma_subsampling: Any = None,
            jpeg_encode_params: Any = None,
            jpeg2k_encode_params: Any = None,
            tile_width: int | None = None,
            tile_height: int | None = None,
        ) -> None:
            self.quality_type, self.quality_value = quality_type, quality_value
            self.chroma_subsampling = chroma_subsampling

    class CodeStream:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def __bytes__(self) -> bytes:  # the real one has the buffer protocol
            return self._data

    class Encoder:
        def __init__(
            self,
            device_id: int = -1,
            max_num_cpu_threads: int = 0,
            backends: list[Backend] | None = None,
            options: str = "",
        ) -> None:
            if not gpu:
                raise RuntimeError(NO_GPU)
            self.kinds = [backend.backend_kind for backend in backends or ()]
            self.asked: list[tuple[float, tuple[int, ...]]] = []
            self.busy = False
            module.encoders.append(self)

        def encode(
            self, image_s: Any, codec: str, *, code_stream_s: Any = None, params: Any = None, cuda_stream: int = 0
        ) -> Any:
            assert codec == "jpeg"
            assert not self.busy, "two threads at once"
            self.busy = True
            try:
                told = image_s.__cuda_array_interface__
                assert (told["typestr"], told["version"], told["stream"]) == ("|u1", 3, None)
                device = next(each for each in devices if each.stream == cuda_stream)
                shape = told["shape"]
                pixels = device.view(told["data"][0], int(np.prod(shape))).reshape(shape).copy()
                self.asked.append((params.quality_value, shape))
                if not nvjpeg:
                    return None
                assert params.quality_type is QualityType.QUALITY
                assert params.chroma_subsampling is ChromaSubsampling.CSS_444
                buffer = io.BytesIO()
                # The mark tells it from Pillow's own.
                Image.fromarray(pixels).save(
                    buffer, "JPEG", quality=int(params.quality_value), subsampling=0, comment=b"fake nvJPEG"
                )
                return CodeStream(buffer.getvalue())
            finally:
                self.busy = False

    for kind in (BackendKind, QualityType, ChromaSubsampling, Backend, EncodeParams, CodeStream, Encoder):
        setattr(module, kind.__name__, kind)
    return module


def install_nvimgcodec(
    monkeypatch: pytest.MonkeyPatch, devices: list[FakeDevice], gpu: bool = True, nvjpeg: bool = True
) -> Any:
    """Let it be installed, for the test; the module."""
    module = make_nvimgcodec(devices, gpu, nvjpeg)
    monkeypatch.setattr(jpeg, "_installed", lambda: True)
    monkeypatch.setitem(sys.modules, jpeg.MODULE, module)
    return module
