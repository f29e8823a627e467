"""What agents say of themselves, and what API processes make of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from export.runtime.manifest import Manifest
from server.backend.model import Model
from server.schedule.costs import Costs

ANNOUNCE_SECONDS = 1.0
"""How often an agent says that it is there, and an API process looks who is."""

TTL_SECONDS = 4.0
"""How long an announcement holds."""

LIFE_SECONDS = 600.0
"""How long what belongs to an engine stays in Redis after the last agent, or the last deadline, has gone."""


@dataclass(frozen=True)
class Announcement:
    """One agent serves one engine."""

    agent: str
    fingerprint: str
    name: str
    """Of the bundle."""
    workers: int
    """Worker processes that are warm."""
    costs: dict[str, Any]
    """Costs.to_dict()."""
    lease: float
    """Seconds without a sign of life after which others take what it holds."""
    version: str
    """Of longjump; for people."""
    reads: int = 1
    """The newest version of jobs that it reads (`server.fleet.codec`)."""

    @property
    def member(self) -> str:
        """Its name among the announcements."""
        return f"{self.agent}/{self.fingerprint}"

    def write(self) -> str:
        """As JSON, for `read`."""
        return json.dumps(asdict(self))


def read(pairs: Sequence[bytes]) -> list[Announcement]:
    """The announcements in a hash's fields and values; those that make no sense to this version are left out.

    What a later version adds is passed over, and what this one adds must have a default: an older one does not say it.
    """
    known = {field.name for field in fields(Announcement)}
    found = []
    for text in pairs[1::2]:
        try:
            told = json.loads(text)
            found.append(Announcement(**{name: value for name, value in told.items() if name in known}))
        except (ValueError, TypeError, AttributeError):
            continue
    return sorted(found, key=lambda one: one.member)


def write_model(model: Model) -> str:
    """A model as JSON, for `read_model`.

    What the manifest has by default is left out, for an older version refuses a manifest that says what it does not
    know. So a default never changes; what does is the format, which is always said.
    """
    manifest = {**model.manifest.model_dump(mode="json", exclude_defaults=True), "format": model.manifest.format}
    return json.dumps({**asdict(model), "manifest": manifest})


def read_model(text: bytes) -> Model:
    """The model that `write_model` wrote. ValueError if it makes no sense to this version."""
    try:
        told = json.loads(text)
        return Model(
            Manifest.model_validate(told["manifest"]),
            told["fingerprint"],
            told["threads"],
            dict(told["startup"]),
            dict(told["engine"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a model: {type(error).__name__}: {error}") from None


def pool(announced: Sequence[Announcement]) -> tuple[Costs, float]:
    """What several agents of one engine are together: the costs of the middle one, and how many workers like its own.

    Machines of one kind of engine differ in speed; a worker twice as fast counts as two.
    """
    measured = []
    for one in announced:
        try:
            measured.append((Costs.from_dict(one.costs), one.workers))
        except ValueError:
            continue
    if not measured:
        return Costs(1), 0.0
    measured.sort(key=lambda pair: pair[0].row_seconds)
    middle = measured[len(measured) // 2][0]
    return middle, sum(workers * middle.row_seconds / costs.row_seconds for costs, workers in measured)
