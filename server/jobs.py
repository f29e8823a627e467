"""What passes between the API process and a worker: a Job goes in; Parts and one Result come back.

The API process has checked a Job against the manifest; a worker does not check it again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal

Format = Literal["png", "jpeg", "webp", "npy", "json"]
"""How results are written. Images: png, jpeg, webp, npy; points: npy, json."""

Layout = Literal["whole", "each", "animation"]
"""whole: one blob for the request (n images as a grid, n arrays stacked). each: one base64 text for each image,
ready to be put into a JSON reply. animation: one animated file (png: APNG, webp), a frame for each image."""

Priority = Literal["interactive", "batch"]
"""The class of a request; interactive ones go first."""


CancelStage = Literal["waiting", "running", "encoding"]
"""Where work was when nobody wanted it any more: before its first tick, in ticks, or after its last one."""


@dataclass(frozen=True)
class Vary:
    """Start from an image instead of noise: it is noised to t = strength, and the grid leads back from there."""

    strength: float
    """0 < strength <= 1, already one that the model's span allows."""
    image: bytes
    """uint8 RGB [H, W, 3] of the model's image size, C order."""


@dataclass(frozen=True)
class Path:
    """n images on the way from (seed, label) to (seed, label) here; image i is at w = i / (n - 1)."""

    seed: int
    label: int | None
    """None as in Job: drawn from the seed."""


@dataclass(frozen=True)
class Leap:
    """One jump of given points instead of a sample: all n rows from t to s."""

    t: float
    s: float
    """A jump that the model's span allows."""
    z: bytes
    """float32 [n, D], C order: where the rows are at t."""


def attached(vary: Vary | None, leap: Leap | None) -> list[bytes]:
    """What came with a request and waits with it: an image, or points."""
    if vary is not None:
        return [vary.image]
    return [] if leap is None else [leap.z]


PINNED_ROWS = 16
"""Rows of a network evaluation with `bitwise` rows on an engine whose bits depend on how many there are. The same on
every server, so that the same request gives the same bytes everywhere."""


def rows_per_step(n: int, label: int | None, path: Path | None, bitwise: bool = False) -> int:
    """Rows of one network evaluation that one step of n samples takes: two for a sample between two labels.

    Ends whose labels are drawn from their seeds count as two labels: only the worker draws. `bitwise` ones count what
    fills their evaluations up.
    """
    one_label = path is None or (path.label == label and label is not None)
    rows = n * (1 if one_label else 2)
    return -(-rows // PINNED_ROWS) * PINNED_ROWS if bitwise else rows


@dataclass(frozen=True)
class Job:
    """One admitted request: n samples, sample i with the seed seed + i (all of them `seed` with a `path`).

    It is complete: a worker that has never seen the request before gives the same bytes, so a job may run twice.
    """

    id: int
    client: str
    """Whose share of the device this work counts against."""
    priority: Priority
    arrival: float
    """When it was admitted, in seconds of time.monotonic(), one clock for all processes of a machine."""
    due: float
    """The virtual deadline that orders the work of one client: see `server.schedule.policy`."""
    deadline: float
    """After this it is not begun any more."""
    seed: int
    n: int
    label: int | None
    """None: sample i draws its label from its own seed."""
    steps: int
    guidance: float | None
    """None for a model without the input."""
    format: Format
    layout: Layout
    quality: int | None = None
    """1 to 100 for jpeg and webp; None: the format's default."""
    every_step: bool = False
    """Send a Part after every step but the last. Only with n = 1."""
    frame_ms: int = 100
    """Milliseconds that each frame of an `animation` shows."""
    bitwise: bool = False
    """Evaluate and decode its rows so that their bits do not depend on their company, though those of the engine do."""
    vary: Vary | None = None
    path: Path | None = None
    leap: Leap | None = None

    @cached_property
    def rows(self) -> int:
        """Rows of one step that are the job's own, without those that fill up the evaluations of a `bitwise` one."""
        return rows_per_step(self.n, self.label, self.path)

    @cached_property
    def rows_per_step(self) -> int:
        """Rows of one network evaluation that one step of all samples takes."""
        return rows_per_step(self.n, self.label, self.path, self.bitwise)

    @cached_property
    def row_steps(self) -> int:
        """Network evaluations of one row that the job needs in all."""
        return self.rows_per_step * self.steps

    def header(self) -> dict[str, Any]:
        """The job as a frame header; an image, or points, travel as the frame's one blob."""
        vary = None if self.vary is None else self.vary.strength
        path = None if self.path is None else (self.path.seed, self.path.label)
        leap = None if self.leap is None else (self.leap.t, self.leap.s)
        return {"op": "job", "id": self.id, "plain": _plain(self), "vary": vary, "path": path, "leap": leap}

    def blobs(self) -> list[bytes]:
        """The blobs of the job's frame."""
        return attached(self.vary, self.leap)

    @classmethod
    def from_frame(cls, header: dict[str, Any], blobs: list[bytes]) -> Job:
        """The job of a frame made of `header` and `blobs`."""
        vary = None if header["vary"] is None else Vary(header["vary"], blobs[0])
        path = None if header["path"] is None else Path(*header["path"])
        leap = None if header["leap"] is None else Leap(header["leap"][0], header["leap"][1], blobs[0])
        return cls(*(*header["plain"], vary, path, leap))


_plain = attrgetter(*(field.name for field in fields(Job) if field.name not in ("vary", "path", "leap")))
"""The fields that are plain values, in their order."""


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
class Part:
    """What a job with `every_step` shows on its way: the image it is heading for, as seen after `step` steps."""

    step: int
    blob: bytes


@dataclass(frozen=True)
class Result:
    """The answer to a job."""

    labels: list[int]
    """One for each sample, drawn ones included; the null label is len(manifest.labels). Of a path, the two ends'."""
    stages: Stages
    blobs: list[bytes]
    """One for layouts `whole` and `animation`, n for `each`."""


class JobFailed(Exception):
    """The worker could not run this job; the message says why."""


class Expired(JobFailed):
    """The job's deadline passed before it was begun."""


class Stopped(JobFailed):
    """The job was not run because the server ends; the message says why."""
