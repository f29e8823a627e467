"""Which engine runs: a pure function of what a bundle has and what the machine offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.runtime.engines.libraries import LIBRARIES
from export.runtime.engines.machine import Machine
from export.runtime.flags import CPU, CUDA, TENSORRT_PROVIDER
from export.runtime.manifest import EngineEntry

PROVIDERS = {
    CPU: "CPUExecutionProvider",
    CUDA: "CUDAExecutionProvider",
    TENSORRT_PROVIDER: "TensorrtExecutionProvider",
}
"""Engines that ONNX Runtime is: name -> the provider that runs the graph."""

RANK: dict[str, tuple[str, ...]] = {
    "tensorrt": ("fp16", "fp32"),
    "tensorrt-rtx": ("fp16", "fp32"),
    CUDA: ("fp16", "fp32"),
    CPU: ("fp32",),
    TENSORRT_PROVIDER: (),
}
"""Engines, best first -> the precisions that are picked unasked, best first; others run only when asked for.

ONNX Runtime's TensorRT provider is never picked unasked: it compiles at the start of every process, for minutes.
"""

_NO_CUPY = "the Python package 'cupy' is not installed (pip install 'longjump[gpu]')"

Key = tuple[str, str]
"""An engine's name and its file: what may have been tried."""


@dataclass(frozen=True)
class Choice:
    """The engine that runs a bundle here, and why this one."""

    name: str
    entry: EngineEntry
    reason: str
    warning: str | None = None
    """What the person should know who expected another one, in one line."""

    def describe(self) -> dict[str, Any]:
        """For /v1/models."""
        entry = self.entry
        return {
            "name": self.name,
            "precision": entry.precision,
            "file": entry.file,
            "target": entry.target,
            "state": entry.standing,
            "reason": self.reason,
        }


def choose(
    entries: Sequence[EngineEntry],
    machine: Machine,
    engine: str | None = None,
    precision: str | None = None,
    failed: Mapping[Key, str] | None = None,
) -> Choice:
    """The best of a bundle's engines that the machine can run; of the name and precision asked for, where they are.

    `failed` says of engines that were tried already why they could not be loaded. Raises ValueError with the reasons if
    the one asked for, or none at all, can run.
    """
    if engine is not None and engine not in RANK:
        raise ValueError(f"--engine {engine}: there is no such engine; there are {', '.join(RANK)}")
    asked = " ".join(
        f"--{flag} {value}" for flag, value in (("engine", engine), ("precision", precision)) if value is not None
    )
    failed = failed or {}
    passed: list[tuple[str, EngineEntry, str]] = []
    for name, entry in _options(entries, engine, precision):
        why_not = failed.get((name, entry.file)) or _obstacle(name, entry, machine)
        if why_not is None:
            told = None if engine else _warning(name, entry, passed, failed)
            return Choice(name, entry, "; ".join([_praise(asked), *_grouped(passed, "not ")]), told)
        passed.append((name, entry, why_not))
    if passed:
        raise ValueError(f"{asked or 'no engine of the bundle can run here'}: {'; '.join(_grouped(passed))}")
    # Nothing in the bundle is like that.
    has = sorted({f"{entry.backend} {entry.precision}" for entry in entries})
    hint = "; longjump export BUNDLE --tensorrt compiles one" if engine in LIBRARIES else ""
    raise ValueError(f"{asked or 'unasked'}: the bundle has no such engine, it has {', '.join(has)}{hint}")


def _options(
    entries: Sequence[EngineEntry], engine: str | None, precision: str | None
) -> Iterator[tuple[str, EngineEntry]]:
    """What might run, best first; without what is not picked unasked, unless its engine or precision is asked for."""
    for name, preferred in RANK.items():
        if engine not in (None, name) or (engine is None and not preferred):
            continue
        backend = "onnxruntime" if name in PROVIDERS else name
        # An engine that was asked for without a precision: its usual ones, then fp32, then whatever there is.
        order = dict.fromkeys((*preferred, "fp32")) if engine else dict.fromkeys(preferred)
        places = {one: place for place, one in enumerate(order)}
        own = [entry for entry in entries if entry.backend == backend and precision in (None, entry.precision)]
        if engine is None and precision is None:
            own = [entry for entry in own if entry.precision in places]
        yield from ((name, entry) for entry in sorted(own, key=lambda entry: places.get(entry.precision, len(places))))


def _obstacle(name: str, entry: EngineEntry, machine: Machine) -> str | None:
    """Why the machine cannot run it, as far as can be known without loading it; None if nothing is in the way."""
    if name in PROVIDERS:
        if PROVIDERS[name] not in machine.providers:
            install = "" if name == CPU else " (pip install 'longjump[gpu]', and not the extra cpu)"
            return f"the installed ONNX Runtime has no {PROVIDERS[name]}{install}"
        if name != CPU and machine.gpu is None:
            return f"no GPU: {machine.no_gpu}"
        return _NO_CUPY if name == CUDA and not machine.cupy else None
    library = LIBRARIES[name]
    if machine.gpu is None:
        return f"no GPU: {machine.no_gpu}"
    if name not in machine.libraries:
        return f"the Python package {library.module!r} is not installed ({library.install})"
    if machine.gpu.target not in entry.target.split(","):
        return f"it was compiled for {entry.target}; the GPU here, {machine.gpu.name}, is {machine.gpu.target}"
    if entry.builder != machine.libraries[name]:
        return f"it was compiled by {entry.builder}, here is {machine.libraries[name]}, and one version's fit no other"
    return None if machine.cupy else _NO_CUPY


def _praise(asked: str) -> str:
    return f"asked for by {asked}" if asked else "the best that can run here"


def _warning(
    name: str, entry: EngineEntry, passed: Sequence[tuple[str, EngineEntry, str]], failed: Mapping[Key, str]
) -> str | None:
    """A word on engines that failed or lack CuPy, and on compiled ones where none runs; those for another GPU beside
    one that runs are not worth it."""
    missed = [
        one
        for one in passed
        if (one[0], one[1].file) in failed or (name in PROVIDERS and one[0] in LIBRARIES) or one[2] == _NO_CUPY
    ]
    if not missed:
        return None
    return f"{'; '.join(_grouped(missed))}. {name} runs {entry.file} instead"


def _grouped(passed: Sequence[tuple[str, EngineEntry, str]], prefix: str = "") -> list[str]:
    """What was passed over, those with one reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, entry, why_not in passed:
        groups.setdefault((name, why_not), []).append(entry.file)
    return [f"{prefix}{name} ({', '.join(files)}): {why_not}" for (name, why_not), files in groups.items()]
