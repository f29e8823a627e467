"""What is known of a request for metrics, logs and traces: who sent it and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from server.jobs import Priority, Stages

Source = Literal["run", "cache", "joined"]
"""Where an answer came from: its own work, the cache, or the work of an identical request in flight."""

DISCONNECTED = 499
"""The status that metrics and logs give a request whose client went away (nobody receives it)."""


@dataclass(slots=True)
class Account:
    """What became of one HTTP request, written down as it goes, for metrics and logs. None: it did not get so far."""

    endpoint: str = "other"
    """The route, as `server.http.gate` names it."""
    status: int = 200
    """The reply's; `DISCONNECTED` where nobody was there to receive one."""
    refused: str | None = None
    """The short name of the problem that was the reply."""
    model: str | None = None
    steps: int | None = None
    """Of the answer, as far as it was settled."""
    source: Source | None = None
    stages: Stages | None = None
    """Of work that was done for this request or one that it joined."""
    deadline: float | None = None
    """Seconds from arrival, of admitted work: the client's or the default."""
    timed: bool = False
    """Whether the reply has a Server-Timing header of its own."""
    first_image: float | None = None
    """Seconds from arrival to the first image that was ready to be sent."""
    priority: Priority | None = None
    """The class that it asked for, or was given."""


class Caller(NamedTuple):
    """Who sent a request, as the gate before all endpoints found out; it stands in scope["caller"]."""

    client: str
    """The name of the key, or the peer's address."""
    request_id: str
