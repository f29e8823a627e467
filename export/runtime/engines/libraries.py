"""TensorRT and TensorRT-RTX: two libraries of one API, and everything in which they differ for us.

Both are always used strongly typed: the precision of an engine is that of its ONNX graph.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CURRENT = "current"
"""The target that means the GPU of this machine."""


@dataclass(frozen=True)
class Library:
    """One of the two."""

    backend: str
    """Its name in manifests and for --engine."""
    module: str
    install: str
    """How to get it."""
    ahead: bool
    """Whether it compiles for GPUs that are not there, several in one engine."""


LIBRARIES = {
    library.backend: library
    for library in (
        Library("tensorrt", "tensorrt", "NVIDIA's TensorRT 10.14 to 11 with its Python package", ahead=False),
        Library("tensorrt-rtx", "tensorrt_rtx", "pip install 'longjump[tensorrt]'", ahead=True),
    )
}


def load_library(library: Library) -> Any:
    """Its Python module. ValueError that says how to get it, or what is wrong with it."""
    if importlib.util.find_spec(library.module) is None:
        raise ValueError(f"the Python package {library.module!r} is not installed ({library.install})")
    try:
        return importlib.import_module(library.module)
    except Exception as error:  # a shared library that does not load, of whatever kind
        reason = " ".join(str(error).split())
        raise ValueError(f"the Python package {library.module!r} does not load: {reason}") from None


def stamp(library: Library, module: Any) -> str:
    """Who compiles, as manifests have it: backend and version."""
    return f"{library.backend} {module.__version__}"


def library_stamp(library: Library) -> str | None:
    """The stamp of the installed library; None if it cannot be loaded."""
    try:
        return stamp(library, load_library(library))
    except ValueError:
        return None


def targets_ahead(library: Library, module: Any) -> tuple[str, ...]:
    """The GPUs that it compiles for without having them, such as sm80; none for TensorRT."""
    if not library.ahead:
        return ()
    return tuple(name.lower() for name in module.ComputeCapability.__members__ if name.startswith("SM"))


def set_targets(library: Library, module: Any, config: Any, targets: Sequence[str]) -> None:
    """Tell a builder config what to compile for: [CURRENT], or targets of `targets_ahead`. ValueError if it refuses."""
    if not library.ahead:
        return  # TensorRT compiles for the GPU that it finds
    config.num_compute_capabilities = len(targets)
    for place, target in enumerate(targets):
        capability = getattr(module.ComputeCapability, target.upper())
        if not config.set_compute_capability(capability, place):
            raise ValueError(f"{library.module} {module.__version__} does not compile for {target}")


def create(kind: Any, log: Any) -> Any:
    """A builder or runtime of a library. ValueError with what it says where it cannot be, as without a GPU."""
    try:
        return kind(log)
    except Exception as error:  # TensorRT's bindings raise TypeError for a null pointer
        raise ValueError(f"{kind.__module__.partition('.')[0]} does not start here: {log.errors}") from error


def header_fault(library: Library, module: Any, plan: bytes) -> str | None:
    """What the library finds wrong with an engine's header, before anything of it is loaded; None if nothing.

    TensorRT-RTX reads header and version, on machines without a GPU too, and where there is one whether the engine fits
    it. TensorRT has no such check.
    """
    if not library.ahead:
        return None
    log = listener(module)
    validity, diagnostics = create(module.Runtime, log).get_engine_validity(plan)
    flags = module.EngineInvalidityDiagnostics
    if diagnostics & int(flags.MALFORMED_ENGINE):
        return "it is not an engine of this library, or of another version"
    # Where there is no GPU the flag stays unset, and only the message tells.
    if diagnostics & int(flags.VERSION_MISMATCH) or "has been created with" in log.text:
        return f"it was built by another version than {stamp(library, module)}"
    if validity == module.EngineValidity.INVALID and diagnostics:
        known = [name for name, flag in flags.__members__.items() if diagnostics & int(flag)]
        return f"it does not fit this machine ({', '.join(known).lower()})"
    return None


def context_settings(library: Library, module: Any, engine: Any) -> tuple[Any, ...]:
    """What an engine's execution contexts are created with.

    TensorRT-RTX would compile kernels for each batch that it meets, beside the service, and change over to them: the
    bits of a picture could change with it. It is told to stay with those that it has.
    """
    if not library.ahead:
        return ()
    settings = engine.create_runtime_config()
    settings.dynamic_shapes_kernel_specialization_strategy = module.DynamicShapesKernelSpecializationStrategy.NONE
    return (settings,)


def capturable(library: Library, context: Any, stream: int) -> bool:
    """Whether what a context queues may be captured as a CUDA graph. TensorRT-RTX says; TensorRT always lets it."""
    return bool(context.is_stream_capturable(stream)) if library.ahead else True


def listener(module: Any) -> Any:
    """A logger for the library's objects that keeps what it hears: `errors` in one line, `text` in full.

    The library's own loggers print to the standard output.
    """

    class Listener(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.heard: list[tuple[bool, str]] = []

        def log(self, severity: Any, message: str) -> None:
            own = module.ILogger
            if severity != own.VERBOSE:
                self.heard.append((severity in (own.ERROR, own.INTERNAL_ERROR), " ".join(message.split())))

        @property
        def text(self) -> str:
            return "\n".join(message for _, message in self.heard)

        @property
        def errors(self) -> str:
            """The first error, which the others follow from."""
            return next((message for wrong, message in self.heard if wrong), "it gives no reason")

    return Listener()
