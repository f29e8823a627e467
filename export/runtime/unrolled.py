"""A grid's steps and the decoder in one run, where a bundle has the graph of it (`generate_<N>.onnx`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.engines.session import open_session
from export.runtime.manifest import Manifest, unrolled_file
from export.runtime.noise import INITIAL_STEP
from export.runtime.sampler import noise_rows


class Unrolled:
    """The graph of one step count in ONNX Runtime on the CPU, in float32."""

    def __init__(self, model: bytes, manifest: Manifest, steps: int, threads: int | None = None) -> None:
        """Load it. Raises ValueError if ONNX Runtime refuses it."""
        self._session = open_session(model, unrolled_file(steps), threads)
        self._z_shape = manifest.z_shape
        self._noisy = [number for number, step in enumerate(manifest.grid(steps), start=1) if step.b]

    def generate(
        self, seeds: Sequence[int], labels: Sequence[int], guidance: float | None, batch: int = 16
    ) -> NDArray[Any]:
        """What sampling along the grid and decoding give: u8 [N, H, W, 3], or z f32 [N, D] of points."""
        parts = []
        for start in range(0, len(seeds), batch):
            rows = seeds[start : start + batch]
            feed: dict[str, NDArray[Any]] = {
                "z": noise_rows(rows, INITIAL_STEP, self._z_shape),
                "label": np.asarray(labels[start : start + batch], dtype=np.int64),
            }
            if guidance is not None:
                feed["guidance"] = np.full(len(rows), guidance, dtype=np.float32)
            if self._noisy:
                feed["noise"] = np.stack([noise_rows(rows, number, self._z_shape) for number in self._noisy], axis=1)
            parts.append(self._session.run(None, feed)[0])
        made: NDArray[Any] = np.concatenate(parts)
        return made


def open_unrolled(bundle: Bundle, steps: int, threads: int | None = None) -> Unrolled:
    """The graph of a bundle for `steps` steps; ValueError that says which there are."""
    manifest = bundle.manifest
    file = unrolled_file(steps)
    if file not in manifest.files:
        there = [str(n) for n in manifest.steps if unrolled_file(n) in manifest.files]
        has = f"it has those of {', '.join(there)} steps" if there else "longjump export --unroll adds them"
        raise ValueError(f"--unrolled: {manifest.name} has no graph of {steps} steps in one; {has}")
    return Unrolled(bundle.read(file), manifest, steps, threads)
