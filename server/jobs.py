"""What passes between the API process and a worker: a Job goes in, a Result comes back.

The API process has checked a Job against the manifest; a worker does not check it again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

Format = Literal["png", "jpeg", "webp", "npy", "json"]
"""How results are written. Images: png, jpeg, webp, npy; points: npy, json."""

Layout = Literal["whole", "each"]
"""whole: one blob for the request (n images as a grid, n arrays stacked). each: one base64 text for each image,
ready to be put into a JSON reply."""


@dataclass(frozen=True)
class Job:
    """One admitted request: n samples, sample i with the seed seed + i.

    It is complete: a worker that has never seen the request before gives the same bytes, so a job may run twice.
    """

    id: int
    arrival: float
    """When it was admitted, in seconds of time.monotonic(), one clock for all processes of a machine."""
    seed: int
    n: int
    label: int | None
    """None: sample i draws its label from its own seed."""
    steps: int
    guidance: float | None
    """None for a model without the input."""
    format: Format
    layout: Layout

    @property
    def row_steps(self) -> int:
        """Network evaluations of one sample that the job needs in all."""
        return self.n * self.steps

    def header(self) -> dict[str, Any]:
        """The job as a frame header."""
        return {"op": "job", **vars(self)}

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> Job:
        """The job of a frame made by `header`."""
        return cls(**{name: header[name] for name in _JOB_FIELDS})


_JOB_FIELDS = tuple(field.name for field in fields(Job))


@dataclass(frozen=True)
class Stages:
    """Where the time of a request went, in seconds."""

    queue: float
    """From admission to the start of its first tick."""
    network: float
    """Ticks that it took part in: noise, network evaluation, sampler step."""
    decode: float
    encode: float


@dataclass(frozen=True)
class Result:
    """The answer to a job."""

    labels: list[int]
    """One for each sample, drawn ones included; the null label is len(manifest.labels)."""
    stages: Stages
    blobs: list[bytes]
    """One for layout `whole`, n for layout `each`."""


class JobFailed(Exception):
    """The worker could not run this job; the message says why."""


class Stopped(JobFailed):
    """The job was not run because the server ends; the message says why."""
