"""The graphs of a bundle that lead between z and pictures, in ONNX Runtime, whichever engine runs the jump."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.engines.session import PROVIDER, open_session
from export.runtime.manifest import decode_file, encode_file

# A graph below this many bytes has no weights to speak of, and waking a second thread costs more than it
# saves.
_SMALL_GRAPH = 65_536


class Pictures:
    """Decoder and encoder of a bundle, as far as it has them."""

    def __init__(self, bundle: Bundle, precision: str, threads: int | None, provider: str = PROVIDER) -> None:
        """Load them in a precision, in fp32 where there is none of it. Raises ValueError if one is refused."""
        self._name = bundle.manifest.name
        self._decode = _open(bundle, decode_file(precision), decode_file("fp32"), threads, provider)
        self._encode = _open(bundle, encode_file(precision), encode_file("fp32"), threads, provider)

    def warm(self, z: NDArray[np.float32]) -> None:
        """Run both once, on rows f32 [B, *z_shape]."""
        if self._decode is not None:
            images = self.decode(z)
            if self._encode is not None:
                self.encode(images)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See Engine.decode."""
        if self._decode is None:
            raise ValueError(f"{self._name} makes points, not images: there is nothing to decode")
        images: NDArray[np.uint8] = self._decode.run(None, {"z": z})[0]
        return images

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Engine.encode."""
        if self._encode is None:
            raise ValueError(f"{self._name} has no encoder that would make z of an image")
        z: NDArray[np.float32] = self._encode.run(None, {"image": images})[0]
        return z


def _open(bundle: Bundle, file: str, otherwise: str, threads: int | None, provider: str) -> ort.InferenceSession | None:
    """A session of one of two files, the first if it is there; None if neither is."""
    found = next((each for each in (file, otherwise) if each in bundle.manifest.files), None)
    if found is None:
        return None
    data = bundle.read(found)
    return open_session(data, str(bundle.path / found), 1 if len(data) < _SMALL_GRAPH else threads, provider)
