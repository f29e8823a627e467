"""Compiled engines on a GPU: TensorRT and TensorRT-RTX, by one code path (`libraries` has the differences)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.engines.choice import PROVIDERS, Choice
from export.runtime.engines.device import CupyDevice, Device
from export.runtime.engines.feed import named
from export.runtime.engines.libraries import (
    LIBRARIES,
    Library,
    capturable,
    context_settings,
    create,
    header_fault,
    listener,
    load_library,
    stamp,
)
from export.runtime.engines.machine import Gpu
from export.runtime.engines.onnxruntime import fingerprint
from export.runtime.engines.pictures import Pictures
from export.runtime.engines.trial import timed, zeros
from export.runtime.flags import CUDA
from export.runtime.gpu.buckets import buckets
from export.runtime.gpu.jpeg import open_jpeg
from export.runtime.gpu.jump import OUTPUT, jump_tensors
from export.runtime.gpu.road import Road, Tensor
from export.runtime.manifest import EngineEntry, Manifest, jump_file


class Range(NamedTuple):
    """Batches that one optimisation profile takes: `least` to `most` rows, compiled to be quickest for `best`."""

    least: int
    best: int
    most: int


class TensorRtEngine:
    """A bundle's jump as a compiled engine; see Engine. Pictures are decoded and encoded by ONNX Runtime."""

    def __init__(
        self,
        bundle: Bundle,
        choice: Choice,
        gpu: Gpu,
        threads: int | None = None,
        device: Device | None = None,
        plan: bytes | None = None,
    ) -> None:
        """Load the engine; `threads` are those of the graphs for pictures, `plan` the engine if it is in no bundle yet.

        Raises ValueError or OSError, saying why, if the file is not as the manifest says, was compiled from another
        graph or by another version, or if the library refuses it.
        """
        self.manifest: Manifest = bundle.manifest
        self.choice = choice
        entry, library = choice.entry, LIBRARIES[choice.name]
        check_origin(bundle.manifest, entry)
        module = load_library(library)
        if stamp(library, module) != entry.builder:
            raise ValueError(f"{entry.file} was compiled by {entry.builder}, here is {stamp(library, module)}")
        if plan is None:
            plan = bundle.read(entry.file)  # compared with its SHA-256: an engine is a program
        self._device = device or CupyDevice()
        self._engine = deserialise(library, module, plan, entry.file)
        tensors = check_tensors(module, self._engine, self.manifest, entry.file)
        output = OUTPUT, tensors.pop(OUTPUT)
        self._inputs = tensors
        self.ranges = read_ranges(self._engine)
        sizes = buckets(self.ranges[-1].most)
        self._road = Road(self._device, tensors, output, sizes, draws=True)
        self._settings = context_settings(library, module, self._engine)
        self._evaluations = {size: self._record(library, size) for size in sizes}
        self._device.synchronise()  # what goes wrong on the device is known here
        # The decoder of latents is large and wants the GPU; pixels are scaled sooner than copied.
        cuda = self.manifest.latents is not None and PROVIDERS[CUDA] in ort.get_available_providers()
        self._pictures = Pictures(bundle, entry.precision, threads, device=CupyDevice if cuda else None)
        self.jpeg, self.choice = open_jpeg(self.manifest, choice, CupyDevice)
        self.fingerprint: str = fingerprint(
            self.manifest.digest, choice, gpu, None if self.jpeg is None else self.jpeg.name
        )

    def warm(self) -> None:
        """Run every bucket once, and the graphs for pictures on one row."""
        for size in sorted(self._evaluations, reverse=True):
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
        """One network evaluation for all rows, several where there are more than the engine takes; see Engine.jump."""
        return self._road.run(named(z, t, s, label, guidance), self._evaluate)

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
        return self._road.run(named(z, t, s, label, guidance), self._evaluate, seeds)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The images of z; see Engine.decode."""
        return self._pictures.decode(z)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The z of images; see Engine.encode."""
        return self._pictures.encode(images)

    def cost(self, rows: int) -> float:
        """See Engine.cost."""
        return timed(self, rows)

    def _evaluate(self, rows: int) -> None:
        """Queue the network for a bucket of rows."""
        self._evaluations[rows]()

    def _record(self, library: Library, rows: int) -> Callable[[], None]:
        """What queues the network for a bucket: its CUDA graph, where the library lets it be captured.

        Each has a context of its own: a graph knows the context that it was captured from, and dies with its shapes.
        """
        file = self.choice.entry.file
        context = self._engine.create_execution_context(*self._settings)
        if context is None:
            raise ValueError(f"{file}: the GPU has too little memory for it")
        context.set_optimization_profile_async(profile_for(self.ranges, rows), self._device.stream)
        self._device.synchronise()
        for name, address in self._road.addresses.items():
            context.set_tensor_address(name, address)
        for name, tensor in self._inputs.items():
            if not context.set_input_shape(name, (rows, *tensor.shape)):
                raise RuntimeError(f"{file} does not take {name} for {rows} rows")

        def queue() -> None:
            if not context.execute_async_v3(self._device.stream):
                raise RuntimeError(f"{file} could not be run for {rows} rows")

        queue()  # what a change of shapes leaves to be done is no part of a graph
        return self._device.capture(queue) if capturable(library, context, self._device.stream) else queue


def check_origin(manifest: Manifest, entry: EngineEntry) -> None:
    """ValueError unless an engine was compiled from the graph of its precision that is in the bundle."""
    graph = manifest.files.get(jump_file(entry.precision))
    if graph is None or entry.graph != graph.sha256:
        raise ValueError(
            f"{entry.file} was not compiled from this bundle's {jump_file(entry.precision)}; compile it again: "
            "longjump export BUNDLE --tensorrt"
        )


def deserialise(library: Library, module: Any, plan: bytes, where: str) -> Any:
    """The library's engine of a plan. ValueError that says why not; `plan` must be what a manifest vouches for."""
    if fault := header_fault(library, module, plan):
        raise ValueError(f"{where}: {fault}")
    log = listener(module)
    engine = create(module.Runtime, log).deserialize_cuda_engine(plan)
    if engine is None:
        raise ValueError(f"{where}: {library.backend} cannot load it: {log.errors}")
    return engine


def check_tensors(module: Any, engine: Any, manifest: Manifest, where: str) -> dict[str, Tensor]:
    """The tensors of the jump, `jump_tensors` of the manifest; ValueError if an engine has others."""
    expected = jump_tensors(manifest)
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    found = {
        name: Tensor(tuple(engine.get_tensor_shape(name))[1:], np.dtype(module.nptype(engine.get_tensor_dtype(name))))
        for name in names
    }
    if found != expected:
        raise ValueError(f"{where} has the tensors {_listed(found)}; the manifest's jump has {_listed(expected)}")
    return expected


def read_ranges(engine: Any) -> tuple[Range, ...]:
    """The batches of an engine's profiles, in their order."""
    profiles = range(engine.num_optimization_profiles)
    return tuple(Range(*(shape[0] for shape in engine.get_tensor_profile_shape("z", number))) for number in profiles)


def profile_for(ranges: Sequence[Range], rows: int) -> int:
    """The profile that takes `rows` rows: the first whose range reaches so far. ValueError if none does."""
    for number, batch in enumerate(ranges):
        if batch.least <= rows <= batch.most:
            return number
    raise ValueError(f"no profile takes {rows} rows; there are {', '.join(f'{r.least} to {r.most}' for r in ranges)}")


def _listed(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {dtype}{[*shape]}" for name, (shape, dtype) in tensors.items())
