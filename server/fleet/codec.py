"""How jobs and answers stand in a stream: a few plain fields, a JSON text with a version, and raw blobs.

    job     v, api, number, deadline, row_steps, size, job (JSON), blob ...
    answer  load, v, number, op (done, part, failed, expired), told (JSON), blob ...

Processes of an older and a newer longjump read each other (docs/fleet.md, "Upgrades"). `v` is the oldest version that
reads the entry, and not the writer's: a job is written in the oldest that can say it, an answer in that of its job at
most. Readers take every version up to their own, and pass over names that they do not know. Agents announce which
version they read (`server.fleet.roster`), so nobody is given what he cannot read.

The plain fields of a job are the same in every version: an agent that cannot read a job can still end it, count it off
and tell who asked. Times are Redis' (`server.fleet.clock`). Not marshal, as between processes of one machine: other
machines have other Pythons.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from server.fleet.clock import FleetClock
from server.fleet.scripts import Argument
from server.jobs import Job, Leap, Part, Path, Result, Stages, Vary

VERSION = 1
"""The newest version of jobs and answers that this longjump reads. A change that an older one would misread, or could
not pass over without harm, makes it another."""

MAX_REPLY = 64 * 2**20
"""Bytes of the blobs of one answer. They travel through Redis' memory."""

Op = Literal["done", "part", "failed", "expired"]

TOO_LATE = "its deadline passed before it was begun"
"""The reason of one that is expired."""

_SAME = (
    "client",
    "priority",
    "seed",
    "n",
    "label",
    "steps",
    "guidance",
    "format",
    "layout",
    "quality",
    "every_step",
    "frame_ms",
    "bitwise",
)
"""Fields of a Job that travel as they are, in every version."""

LATER: dict[str, int] = {}
"""Fields of a Job that came after version 1 -> the version that first knew each. They are left out where they have
their default, which is what a process that does not know them does."""

_DEFAULTS = {field.name: field.default for field in fields(Job)}


class Unreadable(ValueError):
    """An entry that this version cannot read; the message says why."""


@dataclass(frozen=True)
class Envelope:
    """The plain fields of a job, which every version can read."""

    version: int
    """The oldest that reads the job."""
    api: str
    """The API process that asked."""
    number: str
    """What that one calls the job."""
    deadline: float
    """Of Redis' time: after this it is not begun any more."""
    row_steps: int
    size: int
    job: bytes
    blobs: list[bytes]


def needs(job: Job) -> int:
    """The oldest version that reads a job: 1, unless it uses what came later.

    (A new value of an old field, such as a format, must be looked for here too.)
    """
    return max((version for name, version in LATER.items() if getattr(job, name) != _DEFAULTS[name]), default=1)


def job_fields(job: Job, api: str, size: int, clock: FleetClock) -> list[Argument]:
    """The fields of a job's entry."""
    later = (name for name in LATER if getattr(job, name) != _DEFAULTS[name])
    told = {name: getattr(job, name) for name in (*_SAME, *later)}
    told["arrival"], told["due"] = clock.shared(job.arrival), clock.shared(job.due)
    if job.vary is not None:
        told["vary"] = job.vary.strength
    if job.path is not None:
        told["path"] = (job.path.seed, job.path.label)
    if job.leap is not None:
        told["leap"] = (job.leap.t, job.leap.s)
    made: list[Argument] = ["v", needs(job), "api", api, "number", job.id]
    made += ["deadline", repr(clock.shared(job.deadline)), "row_steps", job.row_steps, "size", size]
    made += ["job", json.dumps(told)]
    for blob in job.blobs():
        made += ["blob", blob]
    return made


def envelope(entry: Sequence[bytes]) -> Envelope:
    """The plain fields of an entry. Unreadable if it is none of ours."""
    found, blobs = _pairs(entry)
    try:
        return Envelope(
            int(found[b"v"]),
            found[b"api"].decode(),
            found[b"number"].decode(),
            float(found[b"deadline"]),
            int(found[b"row_steps"]),
            int(found[b"size"]),
            found[b"job"],
            blobs,
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"not an entry of longjump's: {type(error).__name__}: {error}") from None


def read_job(wrapped: Envelope, number: int, clock: FleetClock) -> Job:
    """The job in an entry, called `number` here. Unreadable if it needs a later version, or makes no sense."""
    if wrapped.version > VERSION:
        raise Unreadable(
            f"the job is written in version {wrapped.version}, and this worker reads up to version {VERSION}; "
            "upgrade the workers"
        )
    try:
        told: dict[str, Any] = json.loads(wrapped.job)
        job = Job(
            id=number,
            arrival=clock.own(told["arrival"]),
            due=clock.own(told["due"]),
            deadline=clock.own(wrapped.deadline),
            **{name: told[name] for name in _SAME},
            **{name: told[name] for name in LATER if name in told},
        )
        vary, path, leap = told.get("vary"), told.get("path"), told.get("leap")
        return replace(
            job,
            vary=None if vary is None else Vary(vary, wrapped.blobs[0]),
            path=None if path is None else Path(*path),
            leap=None if leap is None else Leap(leap[0], leap[1], wrapped.blobs[0]),
        )
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Unreadable(f"the job cannot be read: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class Answer:
    """What an agent says of a job."""

    number: str
    op: Op
    told: dict[str, Any]
    blobs: list[bytes]
    load: tuple[int, ...] | None = None
    """Requests, row-steps of interactive and of batch ones, and bytes, after this one."""

    def result(self) -> Result:
        """Of `done`."""
        return result_of(self.told, self.blobs)

    def part(self) -> Part:
        """Of `part`."""
        return Part(self.told["step"], self.blobs[0])


def result_told(result: Result) -> dict[str, Any]:
    """A result without its blobs, for `result_of`."""
    stages = result.stages
    return {"labels": result.labels, "stages": (stages.queue, stages.network, stages.decode, stages.encode)}


def result_of(told: dict[str, Any], blobs: list[bytes]) -> Result:
    """The result that `result_told` told of. KeyError, TypeError if it makes no sense."""
    return Result(told["labels"], Stages(*told["stages"][:4]), blobs)


def answer_fields(
    number: str, op: Op, told: dict[str, Any], blobs: Sequence[bytes] = (), version: int = 1
) -> list[Argument]:
    """The fields of an answer's entry, to a job of a version: whoever wrote that reads this."""
    made: list[Argument] = ["v", min(version, VERSION), "number", number, "op", op, "told", json.dumps(told)]
    for blob in blobs:
        made += ["blob", blob]
    return made


def read_answer(entry: Sequence[bytes]) -> Answer:
    """The answer in an entry. Unreadable if it needs a later version, or makes no sense."""
    found, blobs = _pairs(entry)
    try:
        if int(found[b"v"]) > VERSION:
            raise Unreadable(f"an answer is written in version {int(found[b'v'])}; this server reads up to {VERSION}")
        load = tuple(map(int, found[b"load"].split())) if b"load" in found else None
        op: Any = found[b"op"].decode()
        return Answer(found[b"number"].decode(), op, json.loads(found[b"told"]), blobs, load)
    except (KeyError, ValueError) as error:
        raise Unreadable(f"an answer cannot be read: {type(error).__name__}: {error}") from None


def _pairs(entry: Sequence[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The fields by name, and the blobs in their order."""
    found: dict[bytes, bytes] = {}
    blobs = []
    for name, value in zip(entry[::2], entry[1::2]):
        if name == b"blob":
            blobs.append(value)
        else:
            found[name] = value
    return found, blobs
