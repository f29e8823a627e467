"""What is served, as the API process knows it: from the worker's hello, so that only the worker reads the bundle."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date
from typing import Any

from export.runtime.flags import CPU
from export.runtime.manifest import Manifest


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


def read_hello(hello: dict[str, Any]) -> Model:
    """The model that a worker says it serves."""
    manifest = Manifest.model_validate(hello["manifest"])
    return Model(manifest, hello["fingerprint"], hello["threads"], hello["startup"], hello["engine"])
