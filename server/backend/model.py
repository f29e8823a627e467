"""What is served, as the API process knows it: from the worker's hello, so that only the worker reads the bundle."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from export.runtime.flags import CPU
from export.runtime.manifest import Manifest

VERSION_DIGITS = 12
LEAST_DIGITS = 6
"""Digits of the digest that a version is called by, and that a request has to give at least."""


@dataclass(frozen=True)
class Model:
    """One bundle on one engine."""

    manifest: Manifest
    fingerprint: str
    threads: int
    """Threads of one network evaluation."""
    startup: dict[str, float]
    """Seconds of the worker's start, by part: process, imports, bundle, engine, warm."""
    engine: dict[str, Any]
    """Which of the bundle's engines runs, and why: `Choice.describe`."""

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """NAME@DIGITS: the name and the first digits of the digest, for whom no other version will do."""
        return f"{self.name}@{self.manifest.digest.removeprefix('sha256:')[:VERSION_DIGITS]}"

    def answers_to(self, name: str) -> bool:
        """Whether a request that names `name` means this model: by its name, or NAME@ and digits of its digest."""
        own, at, digits = name.partition("@")
        if own != self.name or not at:
            return name == self.name
        return len(digits) >= LEAST_DIGITS and self.manifest.digest.removeprefix("sha256:").startswith(digits)

    @property
    def default_steps(self) -> int:
        """Steps of a request that names none, as `longjump generate` has it."""
        return self.manifest.default_steps

    @property
    def deterministic(self) -> bool:
        """Whether a row's bits are the same in every batch, as the builder measured for the precision served.

        It measures on ONNX Runtime's CPU kernels; of another engine nothing is known.
        """
        return self.engine["name"] == CPU and self.manifest.batch_invariant[self.engine["precision"]]

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that results can be had in; the first is the default."""
        return ("png", "jpeg", "webp", "npy") if self.manifest.kind == "image" else ("json", "npy")

    @property
    def created(self) -> int:
        """When the bundle was built, in seconds since 1970 at midnight; 0 if it does not say."""
        built = self.manifest.provenance.get("built")
        try:
            day = date.fromisoformat(built["date"])  # type: ignore[index]
        except (TypeError, KeyError, ValueError):
            return 0
        return calendar.timegm(day.timetuple())

    @property
    def data(self) -> dict[str, Any] | None:
        """What it was trained on, as far as the bundle says: its name and, of generated points, the distribution."""
        found = self.manifest.provenance.get("data")
        if not isinstance(found, dict):
            return None
        return {key: found[key] for key in ("name", "generator") if key in found}

    def describe(self) -> dict[str, Any]:
        """An entry of /v1/models."""
        manifest = self.manifest
        return {
            "id": manifest.name,
            "object": "model",
            "created": self.created,
            "owned_by": "longjump",
            "kind": manifest.kind,
            "image_shape": manifest.image_shape,
            "z_shape": manifest.z_shape,
            "labels": manifest.labels,
            "steps": manifest.steps,
            "default_steps": self.default_steps,
            "guidance": manifest.guidance.model_dump() if manifest.guidance else None,
            "formats": self.formats,
            "method": manifest.method,
            "span": manifest.span,
            "precision": self.engine["precision"],
            "engine": self.engine,
            "batch_invariant": self.deterministic,
            "quality": manifest.quality,
            "licence": manifest.licence,
            "data": self.data,
            "digest": manifest.digest,
            "fingerprint": self.fingerprint,
        }


def names_of(models: Sequence[Model]) -> list[str]:
    """What a request may give as `model`: the names, and of a name with several versions each one's own."""
    names = [model.name for model in models]
    return list(dict.fromkeys(names)) + [model.version for model in models if names.count(model.name) > 1]


def read_hello(hello: dict[str, Any]) -> Model:
    """The model that a worker says it serves."""
    manifest = Manifest.model_validate(hello["manifest"])
    return Model(manifest, hello["fingerprint"], hello["threads"], hello["startup"], hello["engine"])
