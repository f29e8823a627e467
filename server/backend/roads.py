"""What the HTTP side knows of the way to the workers, be they processes of this machine (`server.backend.lines`) or
agents of a fleet (`server.fleet.lines`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from server.backend.dispatch import OnPart
from server.backend.model import Model
from server.jobs import Job, Priority, Result
from server.schedule.admission import Admitted, Refused, Wanted


class Overtaken(Exception):
    """A job was admitted, and others filled its place before it was in the queue."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


class Sending(Protocol):
    """Takes jobs, and answers."""

    async def submit(self, job: Job, on_part: OnPart | None = None) -> asyncio.Future[Result]:
        """See `Dispatch.submit`. Raises QueueFull, Overtaken or Stopped if the job is not in the queue."""

    def cancel(self, job_id: int) -> None:
        """Drop a job that nobody waits for any more."""

    def hear(self) -> None:
        """Take in what is known of ticks, before somebody looks at it."""


class Road(Protocol):
    """One bundle's way from admission to its answers."""

    @property
    def model(self) -> Model | None:
        """What is served; None until the first worker is warm."""

    @property
    def dispatch(self) -> Sending: ...

    @property
    def max_reply(self) -> int:
        """Bytes of one answer that may pass on this way."""

    @property
    def up(self) -> bool:
        """Whether a warm worker is there now."""

    @property
    def workers_wanted(self) -> int:
        """Workers that there should be."""

    def admit(self, wanted: Wanted, now: float) -> Admitted | Refused:
        """Whether a request is let in; `now` of time.monotonic()."""

    def default_deadline(self, priority: Priority) -> float:
        """Seconds that a request of a class has which names no deadline."""

    def capacity(self) -> dict[str, Any]:
        """What it can do and has to do: its entry in /v1/capacity."""


class Roads(Protocol):
    """All that is served."""

    draining: bool
    """Set when the server stops: it finishes what it has accepted, and is not ready any more."""
    http_seconds: float
    shared: bool
    """Whether the load that its lines tell of is that of a fleet, of which every API process tells the same."""
    failed: asyncio.Future[None]
    """Raises when nothing can be served any more."""

    @property
    def lines(self) -> Sequence[Road]:
        """Those that new requests go to."""

    @property
    def models(self) -> list[Model]:
        """What can be asked for, the default first. Of several versions of one name the first is the one to take."""

    @property
    def complete(self) -> bool:
        """Whether `models` is all that there will be, as far as is known."""

    @property
    def up(self) -> bool:
        """Whether requests should come here."""

    @property
    def lacking(self) -> str:
        """While it is not up: why, in words for a person."""

    def find(self, model: Model) -> Road:
        """The road to exactly this model. Raises Stopped if there is none any more."""

    async def ready(self) -> None:
        """Wait until it is up for the first time."""

    async def load(self, folder: Path) -> Road:
        """Serve the bundle in a folder, where that is this process's to decide."""

    def close(self, reason: str) -> int:
        """Fail every request that is still waiting; return how many there were."""

    async def stop(self, patience: float = ...) -> None:
        """End what was started for it."""
