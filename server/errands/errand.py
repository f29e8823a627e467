"""An errand: what was asked with `POST /jobs`, and what became of it.

In a fleet, servers of an older and a newer longjump share them. An errand says the oldest version that can run it
(1: it is left out), and readers pass over names that they do not know.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from server.jobs import Priority

VERSION = 1
"""The newest version of errands that this longjump runs."""

LATER: dict[str, int] = {}
"""Fields of POST /jobs that came after version 1 -> the version that first knew each."""

State = Literal["queued", "running", "done", "failed", "cancelled"]

OVER: tuple[State, ...] = ("done", "failed", "cancelled")

Told = Literal["waiting", "delivered", "failed"]
"""What became of the message to a webhook."""


@dataclass(frozen=True)
class Errand:
    """What was asked; it does not change."""

    id: str
    client: str
    fields: dict[str, Any]
    """Those of POST /generate, as JSON has them, with the model and the seed settled."""
    n: int
    """Images."""
    priority: Priority
    as_json: bool
    """Whether the images go into a JSON document."""
    seconds: float
    """From its creation to its deadline."""
    webhook: str | None = None
    """The URL that is told of its end."""
    secret: str | None = None
    """What that message is signed with, if it is not the server's own."""

    def write(self) -> str:
        """As JSON, for `read`."""
        needs = max((LATER.get(name, 1) for name in self.fields), default=1)
        return json.dumps({**asdict(self), **({"v": needs} if needs > 1 else {})})


def read(text: str | bytes) -> Errand:
    """The errand that `write` wrote. ValueError if it needs a later version, or makes no sense."""
    told = json.loads(text)
    try:
        if (needs := told.get("v", 1)) > VERSION:
            raise ValueError(f"it is written in version {needs!r}, and this server reads up to {VERSION}")
        return Errand(**_known(Errand, told))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not an errand: {error}") from None


@dataclass(frozen=True)
class End:
    """How an errand ended."""

    state: State
    problem: dict[str, Any] | None = None
    """Of one that failed: the problem document."""
    result: dict[str, Any] | None = None
    """Of one that is done: what was used, and what its result is; not the result itself."""

    def write(self) -> str:
        """As JSON, for `read_end`."""
        return json.dumps(asdict(self))


def read_end(text: str | bytes) -> End:
    """The end that `write` wrote. ValueError if it makes no sense to this version."""
    told = json.loads(text)
    try:
        return End(**_known(End, told))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not an end: {error}") from None


@dataclass(frozen=True)
class Record:
    """An errand as it stands."""

    errand: Errand
    state: State
    created: float
    """Seconds since 1970, by the store's clock, as all times of a record."""
    attempts: int
    """How often somebody began it."""
    ahead: int = 0
    """Of one that is queued: how many will be begun before it."""
    ended: float | None = None
    end: End | None = None
    told: Told | None = None
    """Of one with a webhook that is over."""

    def document(self) -> dict[str, Any]:
        """What a client sees of it."""
        errand, end = self.errand, self.end
        document: dict[str, Any] = {
            "id": errand.id,
            "state": self.state,
            "created": _time(self.created),
            "deadline": _time(self.created + errand.seconds),
            "priority": errand.priority,
            "request": errand.fields,
            "progress": {"images": errand.n, "done": errand.n if self.state == "done" else 0, "ahead": self.ahead},
            "attempts": self.attempts,
        }
        if self.ended is not None:
            document["ended"] = _time(self.ended)
        if end is not None and end.result is not None:
            document["result"] = {"url": f"/jobs/{errand.id}/result", **end.result}
        if end is not None and end.problem is not None:
            document["problem"] = end.problem
        if errand.webhook is not None:
            document["webhook"] = {"url": errand.webhook, "state": self.told or "waiting"}
        return document


def _known(kind: type[Errand | End], told: dict[str, Any]) -> dict[str, Any]:
    """What a kind has of what was told."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in told.items() if name in names}


def _time(seconds: float) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
