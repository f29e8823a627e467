"""How jobs and answers stand in a stream: a few plain fields, a JSON text with a version, and raw blobs.

    job     v, api, number, deadline, row_steps, size, job (JSON), blob ...
    answer  load, v, number, op (done, part, failed, expired), told (JSON), blob ...

The plain fields of a job are the same in every version: an agent that cannot read a job can still end it, count it off
and tell who asked. Times are Redis' (`server.fleet.clock`). Not marshal, as between processes of one machine: other
machines have other Pythons.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from server.fleet.clock import FleetClock
from server.fleet.scripts import Argument
from server.jobs import Job, Leap, Part, Path, Result, Stages, Vary

VERSION = 1
"""Of the JSON in jobs and answers. A change that an older process would misread makes it another."""

Op = Literal["done", "part", "failed", "expired"]

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
"""Fields of a Job that travel as they are."""


class Unreadable(ValueError):
    """An entry that this version cannot read; the message says why."""


@dataclass(frozen=True)
class Envelope:
    """The plain fields of a job, which every version can read."""

    version: str
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


def job_fields(job: Job, api: str, size: int, clock: FleetClock) -> list[Argument]:
    """The fields of a job's entry."""
    told = {name: getattr(job, name) for name in _SAME}
    told["arrival"], told["due"] = clock.shared(job.arrival), clock.shared(job.due)
    if job.vary is not None:
        told["vary"] = job.vary.strength
    if job.path is not None:
        told["path"] = (job.path.seed, job.path.label)
    if job.leap is not None:
        told["leap"] = (job.leap.t, job.leap.s)
    fields: list[Argument] = ["v", VERSION, "api", api, "number", job.id]
    fields += ["deadline", repr(clock.shared(job.deadline)), "row_steps", job.row_steps, "size", size]
    fields += ["job", json.dumps(told)]
    for blob in job.blobs():
        fields += ["blob", blob]
    return fields


def envelope(fields: Sequence[bytes]) -> Envelope:
    """The plain fields of an entry. Unreadable if it is none of ours."""
    found, blobs = _pairs(fields)
    try:
        return Envelope(
            found[b"v"].decode(),
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
    """The job in an entry, called `number` here. Unreadable if it is of another version, or makes no sense."""
    if wrapped.version != str(VERSION):
        raise Unreadable(
            f"the job is written in version {wrapped.version[:20]!r}, and this worker reads version {VERSION}; "
            "upgrade the workers before the API processes"
        )
    try:
        told: dict[str, Any] = json.loads(wrapped.job)
        job = Job(
            id=number,
            arrival=clock.own(told["arrival"]),
            due=clock.own(told["due"]),
            deadline=clock.own(wrapped.deadline),
            **{name: told[name] for name in _SAME},
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
        return Result(self.told["labels"], Stages(*self.told["stages"]), self.blobs)

    def part(self) -> Part:
        """Of `part`."""
        return Part(self.told["step"], self.blobs[0])


def answer_fields(number: str, op: Op, told: dict[str, Any], blobs: Sequence[bytes] = ()) -> list[Argument]:
    """The fields of an answer's entry."""
    fields: list[Argument] = ["v", VERSION, "number", number, "op", op, "told", json.dumps(told)]
    for blob in blobs:
        fields += ["blob", blob]
    return fields


def done_fields(number: str, result: Result) -> list[Argument]:
    """The fields of a result's entry."""
    stages = result.stages
    told = {"labels": result.labels, "stages": (stages.queue, stages.network, stages.decode, stages.encode)}
    return answer_fields(number, "done", told, result.blobs)


def read_answer(fields: Sequence[bytes]) -> Answer:
    """The answer in an entry. Unreadable if it is of another version, or makes no sense."""
    found, blobs = _pairs(fields)
    try:
        if found[b"v"] != b"%d" % VERSION:
            raise Unreadable(f"an answer is written in version {found[b'v'][:20]!r}; this server reads {VERSION}")
        load = tuple(map(int, found[b"load"].split())) if b"load" in found else None
        op: Any = found[b"op"].decode()
        return Answer(found[b"number"].decode(), op, json.loads(found[b"told"]), blobs, load)
    except (KeyError, ValueError) as error:
        raise Unreadable(f"an answer cannot be read: {type(error).__name__}: {error}") from None


def _pairs(fields: Sequence[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The fields by name, and the blobs in their order."""
    found: dict[bytes, bytes] = {}
    blobs = []
    for name, value in zip(fields[::2], fields[1::2]):
        if name == b"blob":
            blobs.append(value)
        else:
            found[name] = value
    return found, blobs
