"""Sessions of ONNX Runtime, with the options that everything here runs with."""

from __future__ import annotations

from collections.abc import Mapping

import onnxruntime as ort

from export.runtime.cores import available_cores
from export.runtime.engines.choice import PROVIDERS
from export.runtime.flags import CPU, CUDA, TENSORRT_PROVIDER

PROVIDER = PROVIDERS[CPU]


def open_session(
    model: bytes,
    where: str,
    threads: int | None = None,
    provider: str = PROVIDER,
    provider_options: Mapping[str, str] | None = None,
) -> ort.InferenceSession:
    """A session for a serialised ONNX model; `where` names it in the ValueError if it, or the provider, is refused.

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
    if provider not in ort.get_available_providers():
        raise ValueError(f"{where}: ONNX Runtime {ort.__version__} as installed has no {provider}")
    providers: list[tuple[str, dict[str, str]]] = [(provider, dict(provider_options or {}))]
    if provider == PROVIDERS[TENSORRT_PROVIDER]:
        providers.append((PROVIDERS[CUDA], {}))  # for what TensorRT leaves over
    if provider != PROVIDER:
        ort.set_default_logger_severity(4)  # of a library that is missing we tell ourselves, once
        ort.preload_dlls()  # NVIDIA's libraries from the packages that the extra `gpu` brings
    try:
        session = ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # the library's exceptions share no base class
        reason = " ".join(str(error).split())
        raise ValueError(f"{where}: ONNX Runtime {ort.__version__} refuses this graph: {reason}") from error
    # A provider whose libraries do not load is left out in silence, and the CPU would run the graph.
    if session.get_providers()[0] != provider:
        raise ValueError(
            f"{where}: ONNX Runtime {ort.__version__} cannot start {provider} here; are CUDA and cuDNN of the versions "
            "that it needs installed?"
        )
    session.disable_fallback()
    return session
