"""ONNX Runtime on the CPU."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.runtime.bundle import Bundle
from export.runtime.cores import available_cores
from export.runtime.images import encoder_version
from export.runtime.manifest import Manifest, decode_file, jump_file

PROVIDER = "CPUExecutionProvider"

# A graph below this many bytes has no weights to speak of, and waking a second thread costs more than it
# saves.
_SMALL_GRAPH = 65_536

# The CPU features that ONNX Runtime's kernels choose by: another set may round differently.
_X86_FEATURES = (
    *("sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
)
_ARM_FEATURES = ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16", "sme")


class OnnxRuntimeEngine:
    """A bundle's fp32 graphs in ONNX Runtime; see Engine."""

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Load the graphs. Raises ValueError if ONNX Runtime refuses one."""
        self.manifest: Manifest = bundle.manifest
        file = jump_file("fp32")
        self._jump = open_session(bundle.read(file), str(bundle.path / file), threads)
        self._decode: ort.InferenceSession | None = None
        if self.manifest.kind == "image":
            file = decode_file("fp32")
            data = bundle.read(file)
            decode_threads = 1 if len(data) < _SMALL_GRAPH else threads
            self._decode = open_session(data, str(bundle.path / file), decode_threads)
        self.fingerprint: str = fingerprint(self.manifest.digest)

    def warm(self) -> None:
        """Run the jump and the decoder once on one row."""
        z = np.zeros((1, *self.manifest.z_shape), dtype=np.float32)
        t, s = np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
        label = np.array([self.manifest.null_label], dtype=np.int64)
        scale = self.manifest.guidance
        z = self.jump(z, t, s, label, None if scale is None else np.array([scale.default], dtype=np.float32))
        if self._decode is not None:
            self.decode(z)

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """One network evaluation for all rows; see Engine.jump."""
        feed = {"z": z, "t": t, "s": s, "label": label}
        if guidance is not None:
            feed["guidance"] = guidance
        z_s: NDArray[np.float32] = self._jump.run(("z_s",), feed)[0]
        return z_s

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The images of z; see Engine.decode."""
        if self._decode is None:
            raise ValueError(f"{self.manifest.name} makes points, not images: there is nothing to decode")
        image: NDArray[np.uint8] = self._decode.run(None, {"z": z})[0]
        return image


def open_session(model: bytes, where: str, threads: int | None = None) -> ort.InferenceSession:
    """A session on the CPU for a serialised ONNX model; `where` names it in the ValueError if it is refused.

    One operator runs at a time, on `threads` threads (None: one for each core). Idle threads spin for a
    moment: with more than one thread this halves the latency of a lone request.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    options = ort.SessionOptions()
    # ONNX Runtime's own default counts the machine's cores and pins its threads to them, where those of two workers
    # would collide.
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # errors come as exceptions; printing them too would say it twice
    try:
        return ort.InferenceSession(model, options, providers=[PROVIDER])
    except Exception as error:  # the library's exceptions share no base class
        reason = " ".join(str(error).split())
        raise ValueError(f"{where}: ONNX Runtime {ort.__version__} refuses this graph: {reason}") from error


def fingerprint(digest: str) -> str:
    """16 hex digits of (bundle digest, runtime, provider, instruction set, encoders)."""
    parts = (digest, f"onnxruntime {ort.__version__}", PROVIDER, instruction_set(), encoder_version())
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
