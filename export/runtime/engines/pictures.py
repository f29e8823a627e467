"""The graphs of a bundle that lead between z and pictures, in ONNX Runtime, whichever engine runs the jump."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.engines.session import PROVIDER, open_session
from export.runtime.manifest import decode_file, encode_file

if TYPE_CHECKING:
    from export.runtime.engines.device import Device

# A graph below this many bytes has no weights to speak of, and waking a second thread costs more than it
# saves.
_SMALL_GRAPH = 65_536

GPU_ROWS = 8
"""The largest batch that they run in on a GPU: more would take gigabytes there for a large decoder."""

Run = Callable[[NDArray[Any]], NDArray[Any]]


class Pictures:
    """Decoder and encoder of a bundle, as far as it has them."""

    def __init__(
        self,
        bundle: Bundle,
        precision: str,
        threads: int | None,
        provider: str = PROVIDER,
        device: Callable[[], Device] | None = None,
    ) -> None:
        """Load them in a precision, in fp32 where there is none of it. Raises ValueError if one is refused.

        They run by ONNX Runtime's `provider`; or each bound to a `device` of its own, so that what the writers' thread
        decodes runs beside the next tick.
        """
        self._bundle, self._precision, self._threads = bundle, precision, threads
        self._provider, self._device = provider, device
        manifest = bundle.manifest
        z = tuple(manifest.z_shape), np.dtype(np.float32)
        image = tuple(manifest.image_shape or ()), np.dtype(np.uint8)
        self._decode = self._load(decode_file, "z", z, image)
        self._encode = self._load(encode_file, "image", image, z)

    def warm(self, z: NDArray[np.float32]) -> None:
        """Run both once, on rows f32 [B, *z_shape]."""
        if self._decode is not None:
            images = self.decode(z)
            if self._encode is not None:
                self.encode(images)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See Engine.decode."""
        if self._decode is None:
            raise ValueError(f"{self._bundle.manifest.name} makes points, not images: there is nothing to decode")
        return self._decode(z)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Engine.encode."""
        if self._encode is None:
            raise ValueError(f"{self._bundle.manifest.name} has no encoder that would make z of an image")
        return self._encode(images)

    def _load(self, file_of: Callable[[str], str], name: str, source: Any, result: Any) -> Run | None:
        """What runs a file of the precision, or of fp32; None if there is neither. Ends are (shape, dtype)."""
        files = self._bundle.manifest.files
        file = next((each for each in (file_of(self._precision), file_of("fp32")) if each in files), None)
        if file is None:
            return None
        model, where = self._bundle.read(file), str(self._bundle.path / file)
        if self._device is not None:
            # Only here: it needs what is on machines with a GPU.
            from export.runtime.gpu.bound import BoundGraph
            from export.runtime.gpu.buckets import buckets
            from export.runtime.gpu.road import Tensor

            inputs, sizes = {name: Tensor(*source)}, buckets(GPU_ROWS)
            graph = BoundGraph(model, where, self._device(), inputs, Tensor(*result), sizes)
            return lambda values: graph.run({name: values})
        threads = 1 if len(model) < _SMALL_GRAPH else self._threads
        session = open_session(model, where, threads, self._provider)

        def run(values: NDArray[Any]) -> NDArray[Any]:
            made: NDArray[Any] = session.run(None, {name: values})[0]
            return made

        return run
