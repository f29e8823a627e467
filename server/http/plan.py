"""What every endpoint turns a request into: a Plan of what is made, and a Visit of who asks and how.

The `server.http.desk` takes the pair and gives the answer; nothing else of a request reaches the work.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Hashable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.backend.model import Model
from server.jobs import Format, Job, Layout, Leap, Path, Priority, Vary, attached, rows_per_step
from server.observe.account import Account
from server.schedule.admission import auto_choices

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Auto:
    """Steps that the server chooses: of those that the model supports, the best that can be done in time."""

    min: int
    max: int
    """Both included; at least one supported step count lies between."""


@dataclass(frozen=True)
class Plan:
    """A request that can be served: every field settled and checked against the model."""

    model: Model
    seed: int
    n: int
    label: int | None
    """None: each sample draws its label from its seed."""
    steps: int | Auto
    guidance: float | None
    format: Format
    layout: Layout = "whole"
    quality: int | None = None
    """1 to 100 for jpeg and webp; None: the format's default."""
    drawn_seed: bool = False
    """The server drew the seed, so that nobody can ask for the same again: no cache, no joining."""
    bitwise: bool = False
    """The bytes shall not depend on the company, though the model's do; False where they do not anyway."""
    vary: Vary | None = None
    path: Path | None = None
    leap: Leap | None = None
    frame_ms: int = 100
    """Milliseconds that each frame of an `animation` shows."""

    def key(self, steps: int) -> Hashable:
        """All that the bytes of the answer depend on, when it takes this many steps.

        Equal keys: equal bytes, if the model is deterministic. The identity for ETags, the cache and joining.
        """
        vary = self.vary and (self.vary.strength, hashlib.blake2b(self.vary.image, digest_size=16).digest())
        path = self.path and (self.path.seed, self.path.label)
        leap = self.leap and (self.leap.t, self.leap.s, hashlib.blake2b(self.leap.z, digest_size=16).digest())
        made = (self.seed, self.n, self.label, steps, self.guidance, vary, path, leap, self.bitwise)
        return (self.model.fingerprint, *made, self.format, self.layout, self.quality, self.frame_ms)

    @property
    def deterministic(self) -> bool:
        """Whether the same request always gives the same bytes."""
        return self.bitwise or self.model.deterministic

    @property
    def rows_per_step(self) -> int:
        """Rows of one network evaluation that one step of all samples takes."""
        return rows_per_step(self.n, self.label, self.path, self.bitwise)

    def job(
        self, job_id: int, visit: Visit, steps: int, due: float, deadline: float, *, every_step: bool = False
    ) -> Job:
        """The plan as a job for the queue, admitted with `steps`; `due` and `deadline` are times of the clock."""
        return Job(
            job_id,
            visit.client,
            visit.priority,
            visit.arrival,
            due,
            deadline,
            self.seed,
            self.n,
            self.label,
            steps,
            self.guidance,
            self.format,
            self.layout,
            self.quality,
            every_step,
            self.frame_ms,
            self.bitwise,
            self.vary,
            self.path,
            self.leap,
        )

    @property
    def size(self) -> int:
        """Bytes of what came with the request and waits with it."""
        return sum(map(len, attached(self.vary, self.leap)))

    def choices(self, fewer: int | None = None) -> Sequence[int]:
        """The step counts that it may be served with, the best first; only those below `fewer`, if there is one."""
        if isinstance(self.steps, Auto):
            choices: Sequence[int] = auto_choices(self.model.manifest, self.steps.min, self.steps.max)
        else:
            choices = (self.steps,)
        return [steps for steps in choices if steps < fewer] if fewer is not None else choices

    @property
    def answer_size(self) -> int:
        """Bytes of the answer's pictures or arrays at most, of formats that lose nothing; 0: nobody knows before."""
        manifest = self.model.manifest
        if self.format == "npy" and manifest.image_shape is None:
            raw = 4 * self.n * math.prod(manifest.z_shape)
        elif self.format in ("npy", "png") and manifest.image_shape is not None:
            raw = self.n * math.prod(manifest.image_shape)
        else:
            return 0
        return raw * 4 // 3 if self.layout == "each" else raw


@dataclass(frozen=True)
class Visit:
    """Who asks, and how: what does not change the bytes of the answer."""

    client: str = "anyone"
    """Whose share of the device the work counts against: the name of the key, or the peer's address."""
    priority: Priority = "interactive"
    arrival: float = field(default_factory=time.monotonic)
    """Seconds of time.monotonic()."""
    deadline: float | None = None
    """Seconds after arrival within which the client wants its answer; None: the server's default for the class."""
    no_store: bool = False
    """The cache is neither read nor written, and no work is shared."""
    no_cache: bool = False
    """The cache is not read."""
    finish: bool = False
    """Work goes on for the cache when the client leaves."""
    account: Account = field(default_factory=Account, compare=False)
