"""Engines: what runs a bundle's graphs on a device, behind one interface."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.manifest import Manifest


class Engine(Protocol):
    """One bundle, loaded on one device. Safe to call from several threads."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the bundle."""

    @property
    def fingerprint(self) -> str:
        """With the same fingerprint, seed, label, steps and guidance an image is the same, byte for byte."""

    def warm(self) -> None:
        """Run every graph once, so that the first request does not pay for it."""

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Move row i from t[i] to s[i]: z f32 [B, *z_shape], t, s f32 [B], label i64 [B] -> z_s f32 [B,
        *z_shape].

        `guidance` is f32 [B] if and only if the manifest has guidance. The result is a new array.
        """

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The images of z at t = 0, uint8 [B, H, W, 3]. Raises ValueError for a points bundle."""


def open_engine(bundle: Bundle, threads: int | None = None) -> Engine:
    """The best engine of the bundle that this machine can run.

    `threads` is how many share one network evaluation (None: one for each core). Raises ValueError if there
    is none.
    """
    # Here and not above: a process that only reads manifests need not load an engine library.
    from export.runtime.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(bundle, threads)
