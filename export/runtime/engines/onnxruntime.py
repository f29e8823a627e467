"""ONNX Runtime on the CPU, or by its TensorRT provider; `cuda` has the provider for CUDA."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.engines.choice import PROVIDERS, Choice
from export.runtime.engines.feed import check_inputs, named
from export.runtime.engines.machine import Gpu
from export.runtime.engines.pictures import Pictures
from export.runtime.engines.session import PROVIDER, open_session
from export.runtime.engines.trial import timed, zeros
from export.runtime.flags import CPU, CUDA, TENSORRT_PROVIDER
from export.runtime.images import encoder_version
from export.runtime.manifest import Manifest, jump_file

MAX_ROWS = 64
"""The largest batch that the TensorRT provider compiles for."""

# The CPU features that ONNX Runtime's kernels choose by: another set may round differently.
_X86_FEATURES = (
    *("sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
)
_ARM_FEATURES = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16", "sme")


class OnnxRuntimeEngine:
    """A bundle's graphs of one precision in ONNX Runtime; see Engine."""

    def __init__(self, bundle: Bundle, choice: Choice, threads: int | None = None, gpu: Gpu | None = None) -> None:
        """Load the graphs. Raises ValueError if ONNX Runtime or the provider that was chosen refuses one, or if the
        manifest tells of another."""
        self.manifest: Manifest = bundle.manifest
        self.choice = choice
        file, provider = choice.entry.file, PROVIDERS[choice.name]
        options = compiling_options(self.manifest) if choice.name == TENSORRT_PROVIDER else {}
        self._jump = open_session(bundle.read(file), str(bundle.path / file), threads, provider, options)
        check_inputs([node.name for node in self._jump.get_inputs()], self.manifest, str(bundle.path / file))
        decoding = CPU if choice.name == CPU else CUDA
        self._pictures = Pictures(bundle, choice.entry.precision, threads, PROVIDERS[decoding])
        self.fingerprint: str = fingerprint(self.manifest.digest, choice, gpu)

    def warm(self) -> None:
        """Run every graph once on one row."""
        self._pictures.warm(self.jump(*zeros(self.manifest, 1)))

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """One network evaluation for all rows; see Engine.jump."""
        z_s: NDArray[np.float32] = self._jump.run(("z_s",), named(z, t, s, label, guidance))[0]
        return z_s

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The images of z; see Engine.decode."""
        return self._pictures.decode(z)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The z of images; see Engine.encode."""
        return self._pictures.encode(images)

    def cost(self, rows: int) -> float:
        """See Engine.cost."""
        return timed(self, rows)


def compiling_options(manifest: Manifest) -> dict[str, str]:
    """Options of the TensorRT provider: one engine for 1 to MAX_ROWS rows, so that none is compiled in service.

    It keeps none on disk: an engine is a program, and nothing would vouch for the file.
    """
    inputs = {"z": manifest.z_shape, "t": (), "s": (), "label": ()}
    if manifest.guidance is not None:
        inputs["guidance"] = ()

    def shapes(rows: int) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, (rows, *shape)))}" for name, shape in inputs.items())

    return {
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(MAX_ROWS),
        "trt_profile_max_shapes": shapes(MAX_ROWS),
    }


def fingerprint(digest: str, choice: Choice | None = None, gpu: Gpu | None = None, jpeg: str | None = None) -> str:
    """16 hex digits of (bundle digest, runtime, provider, instruction set, encoders), and of precision, GPU and the
    name of an encoder of JPEGs where they are not the CPU's in fp32."""
    name = CPU if choice is None else choice.name
    parts = [digest, f"onnxruntime {ort.__version__}", PROVIDERS.get(name, PROVIDER), instruction_set()]
    parts.append(encoder_version())
    if choice is not None and choice.entry.file != jump_file("fp32"):
        parts.append(choice.entry.file)
    if gpu is not None and name != CPU:
        parts += [name, gpu.name, gpu.target, gpu.driver]
    if jpeg is not None:
        parts.append(jpeg)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def instruction_set() -> str:
    """The machine's architecture and the CPU features that kernels are chosen by, such as "x86_64 avx avx2
    fma".

    Features are read from /proc/cpuinfo. Where there is none (macOS, Windows), the processor's own
    description stands for them: it may tell two equal machines apart, never call two different ones equal.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            present = set(value.split())
            known = [feature for feature in (*_X86_FEATURES, *_ARM_FEATURES) if feature in present]
            return " ".join((platform.machine(), *known))
    return f"{platform.machine()} {platform.processor()}"
