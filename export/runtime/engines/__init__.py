"""Engines: what runs a bundle's graphs on a device, behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.flags import CPU, CUDA
from export.runtime.manifest import Manifest

if TYPE_CHECKING:
    from export.runtime.engines.choice import Choice
    from export.runtime.engines.machine import Machine
    from export.runtime.images import Jpeg


class Engine(Protocol):
    """One bundle, loaded on one device. Safe to call from several threads."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the bundle."""

    @property
    def choice(self) -> Choice:
        """Which of the bundle's engines this is, and why."""

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

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The z f32 [B, *z_shape] at t = 0 of images uint8 [B, H, W, 3], by the bundle's encoder.

        Raises ValueError for a bundle that has none (see Manifest.encodes).
        """

    def cost(self, rows: int) -> float:
        """Seconds that one jump of `rows` rows takes now, measured once from arrays in memory to arrays in memory."""


@runtime_checkable
class Drawing(Protocol):
    """An Engine that makes the noise itself, where it needs it."""

    def draw(
        self,
        seeds: NDArray[np.uint64],
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Engine.jump of rows of which row i starts from normal(seeds[i], INITIAL_STEP, z_shape) where its seed is
        below SEED_BOUND, and else from z[i]."""


@runtime_checkable
class Printing(Protocol):
    """An Engine on a GPU, which may write JPEGs there."""

    @property
    def jpeg(self) -> Jpeg | None:
        """The encoder that its fingerprint names, for images.encode; None: Pillow's."""


def open_engine(
    bundle: Bundle, threads: int | None = None, engine: str | None = None, precision: str | None = None
) -> Engine:
    """Load the best engine of the bundle that this machine can run, or the one of this name and precision.

    `threads` is how many share one network evaluation (None: one for each core). One that turns out not to load gives
    way to the next best (`Engine.choice` tells), unless it was asked for by name. Raises ValueError with the reason if
    none can run.
    """
    # Here and not above: a process that only reads manifests need not load an engine library.
    from export.runtime.engines.choice import Key, choose
    from export.runtime.engines.machine import look

    entries = bundle.manifest.engines
    machine = look(entry.backend for entry in entries)
    failed: dict[Key, str] = {}
    while True:
        choice = choose(entries, machine, engine, precision, failed)
        try:
            return load_engine(bundle, choice, machine, threads)
        except (ValueError, OSError) as error:
            if engine is not None or choice.name == CPU:
                raise
            failed[choice.name, choice.entry.file] = str(error)


def load_engine(bundle: Bundle, choice: Choice, machine: Machine, threads: int | None = None) -> Engine:
    """Load the chosen engine. Raises ValueError or OSError that says why it does not load."""
    from export.runtime.engines.choice import PROVIDERS

    if choice.name in PROVIDERS and choice.name != CUDA:
        from export.runtime.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(bundle, choice, threads, machine.gpu)
    from export.runtime.engines.cuda import CudaEngine
    from export.runtime.engines.proof import check_agreement
    from export.runtime.engines.tensorrt import TensorRtEngine

    assert machine.gpu is not None  # or it would not have been chosen
    try:
        if choice.name == CUDA:
            return CudaEngine(bundle, choice, machine.gpu, threads)
        engine = TensorRtEngine(bundle, choice, machine.gpu, threads)
        check_agreement(engine, bundle)
    except (ValueError, OSError):
        raise
    except Exception as error:  # CuPy's and the driver's share no base class
        raise ValueError(f"{choice.entry.file}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    return engine
