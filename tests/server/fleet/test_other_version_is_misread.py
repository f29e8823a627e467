"""Old and new processes in one fleet: each reads what the other writes, or says that it cannot.

What version 1 wrote stands here byte by byte, and is not changed any more. A later version is played by one that knows
a field of jobs more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from server.errands.errand import End, Errand, read_end
from server.errands.errand import read as read_errand
from server.fleet import codec, parcel, roster
from server.fleet.answers import read_reply
from server.fleet.clock import FleetClock
from server.fleet.codec import Unreadable, answer_fields, envelope, job_fields, read_answer, read_job, result_told
from server.fleet.scripts import Argument
from server.http.once import Reply
from server.jobs import Job, Leap, Path, Result, Stages, Stopped, Vary

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import PlayedLine, RedisRoad, until

PLAIN: dict[str, Any] = {
    "client": "10.0.0.7",
    "priority": "interactive",
    "arrival": 100.0,
    "due": 100.25,
    "deadline": 160.0,
    "seed": 7,
    "n": 1,
    "label": 3,
    "steps": 2,
    "guidance": 1.5,
    "format": "png",
    "layout": "whole",
}
JOBS = {
    "plain": Job(41, **PLAIN),
    "path": Job(
        42,
        **PLAIN
        | {"n": 3, "format": "webp", "layout": "animation", "quality": 80, "frame_ms": 40}
        | {"guidance": None, "label": None, "path": Path(9, None)},
    ),
    "vary": Job(43, **PLAIN, every_step=True, bitwise=True, vary=Vary(0.5, b"\x00\xff\n")),
    "leap": Job(44, **PLAIN | {"format": "json", "priority": "batch"}, leap=Leap(1.0, 0.25, b"\x00\x00\x80?")),
}
WRITTEN = {
    name: line.split(b"|")
    for name, line in {
        "plain": (
            b'v|1|api|api-1|number|41|deadline|160.0|row_steps|2|size|0|job|{"client": "10.0.0.7", "priority": '
            b'"interactive", "seed": 7, "n": 1, "label": 3, "steps": 2, "guidance": 1.5, "format": "png", '
            b'"layout": "whole", "quality": null, "every_step": false, "frame_ms": 100, "bitwise": false, '
            b'"arrival": 100.0, "due": 100.25}'
        ),
        "path": (
            b'v|1|api|api-1|number|42|deadline|160.0|row_steps|12|size|0|job|{"client": "10.0.0.7", "priority": '
            b'"interactive", "seed": 7, "n": 3, "label": null, "steps": 2, "guidance": null, "format": "webp", '
            b'"layout": "animation", "quality": 80, "every_step": false, "frame_ms": 40, "bitwise": false, '
            b'"arrival": 100.0, "due": 100.25, "path": [9, null]}'
        ),
        "vary": (
            b'v|1|api|api-1|number|43|deadline|160.0|row_steps|32|size|3|job|{"client": "10.0.0.7", "priority": '
            b'"interactive", "seed": 7, "n": 1, "label": 3, "steps": 2, "guidance": 1.5, "format": "png", '
            b'"layout": "whole", "quality": null, "every_step": true, "frame_ms": 100, "bitwise": true, '
            b'"arrival": 100.0, "due": 100.25, "vary": 0.5}|blob|\x00\xff\n'
        ),
        "leap": (
            b'v|1|api|api-1|number|44|deadline|160.0|row_steps|2|size|4|job|{"client": "10.0.0.7", "priority": '
            b'"batch", "seed": 7, "n": 1, "label": 3, "steps": 2, "guidance": 1.5, "format": "json", "layout": '
            b'"whole", "quality": null, "every_step": false, "frame_ms": 100, "bitwise": false, "arrival": 100.0, '
            b'"due": 100.25, "leap": [1.0, 0.25]}|blob|\x00\x00\x80?'
        ),
        "done": (b'v|1|number|41|op|done|told|{"labels": [3], "stages": [0.5, 0.25, 0.0, 0.125]}|blob|\x89PNG'),
        "part": (b'v|1|number|41|op|part|told|{"step": 1}|blob|\x89P'),
        "failed": (b'v|1|number|41|op|failed|told|{"reason": "why"}'),
        "expired": (b'v|1|number|41|op|expired|told|{"reason": "late"}'),
    }.items()
}
"""Fields and values, with a bar between them."""
RESULT = Result([3], Stages(0.5, 0.25, 0.0, 0.125), [b"\x89PNG"])
ANSWERS: dict[str, tuple[codec.Op, dict[str, Any], list[bytes]]] = {
    "done": ("done", result_told(RESULT), RESULT.blobs),
    "part": ("part", {"step": 1}, [b"\x89P"]),
    "failed": ("failed", {"reason": "why"}, []),
    "expired": ("expired", {"reason": "late"}, []),
}
PARCEL = b'{"v": 1, "sizes": [4], "told": {"status": 200, "headers": [["content-type", "image/png"]]}}\n\x89PNG'
ANNOUNCED = (
    b'{"agent": "m:1:ab", "fingerprint": "f00d", "name": "demo", "workers": 2, "costs": {"max_rows": 2}, "lease": 3.0, '
    b'"version": "0.1.0"}'
)
ERRAND = (
    '{"id": "00000000000000000000000000000000", "client": "ann", "fields": {"seed": 7, "model": "demo"}, "n": 1, '
    '"priority": "batch", "as_json": false, "seconds": 600.0, "webhook": null, "secret": null}'
)
END = '{"state": "failed", "problem": {"status": 500}, "result": null}'


def raw(fields: list[Argument]) -> list[bytes]:
    """Fields as Redis gives them back."""
    return [part if isinstance(part, bytes) else str(part).encode() for part in fields]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A version 2, in which `frame_ms` is new."""
    with monkeypatch.context() as patch:
        patch.setattr(codec, "VERSION", 2)
        patch.setattr(codec, "LATER", {"frame_ms": 2})
        patch.setattr(codec, "_SAME", tuple(name for name in codec._SAME if name != "frame_ms"))
        yield patch


@pytest.mark.parametrize("kind", JOBS)
def test_job_of_version_1_is_written_and_read_as_it_was(kind: str) -> None:
    asked = JOBS[kind]
    assert raw(job_fields(asked, "api-1", sum(map(len, asked.blobs())), FleetClock())) == WRITTEN[kind]
    assert read_job(envelope(WRITTEN[kind]), asked.id, FleetClock()) == asked


@pytest.mark.parametrize("kind", ANSWERS)
def test_answer_of_version_1_is_written_and_read_as_it_was(kind: str) -> None:
    op, told, blobs = ANSWERS[kind]
    assert raw(answer_fields("41", op, told, blobs)) == WRITTEN[kind]
    answer = read_answer(WRITTEN[kind])
    assert (answer.number, answer.op, answer.blobs) == ("41", op, blobs)
    if kind == "done":
        assert answer.result() == RESULT
    elif kind == "part":
        assert answer.part().step == 1
    else:
        assert answer.told == told


def test_what_api_processes_share_is_written_and_read_as_it_was() -> None:
    reply = Reply(200, ((b"content-type", b"image/png"),), b"\x89PNG")
    assert parcel.pack({"status": 200, "headers": [["content-type", "image/png"]]}, [b"\x89PNG"]) == PARCEL
    assert read_reply(PARCEL) == reply
    errand = Errand("0" * 32, "ann", {"seed": 7, "model": "demo"}, 1, "batch", False, 600.0)
    end = End("failed", {"status": 500})
    assert (errand.write(), end.write()) == (ERRAND, END)
    assert (read_errand(ERRAND), read_end(END)) == (errand, end)


def test_worker_of_version_1_is_seen() -> None:
    (found,) = roster.read([b"m:1:ab/f00d", ANNOUNCED])
    assert (found.workers, found.reads) == (2, 1)
    told = json.loads(found.write())
    assert json.loads(ANNOUNCED).items() <= told.items()


def test_names_of_later_versions_are_passed_over() -> None:
    def more(text: str | bytes) -> str:
        return json.dumps({**json.loads(text), "added": 1})

    fields = list(WRITTEN["plain"])
    fields[-1] = more(fields[-1]).encode()
    assert read_job(envelope([*fields, b"added", b"1"]), 41, FleetClock()) == JOBS["plain"]
    done = list(WRITTEN["done"])
    done[7] = b'{"labels": [3], "stages": [0.5, 0.25, 0.0, 0.125, 9.0], "added": 1}'
    assert read_answer([*done, b"added", b"1"]).result() == RESULT
    head, _, body = PARCEL.partition(b"\n")
    assert read_reply(more(head).encode() + b"\n" + body) == read_reply(PARCEL)
    assert read_errand(more(ERRAND)) == read_errand(ERRAND)
    assert read_end(more(END)) == read_end(END)
    assert roster.read([b"m", more(ANNOUNCED).encode()]) == roster.read([b"m", ANNOUNCED])


def test_what_needs_a_later_version_is_refused_with_words() -> None:
    fields = [b"v", b"2", *WRITTEN["plain"][2:]]
    wrapped = envelope(fields)  # it can still be ended, counted off and told of
    assert (wrapped.api, wrapped.number, wrapped.row_steps) == ("api-1", "41", 2)
    with pytest.raises(Unreadable, match="written in version 2, and this worker reads up to version 1"):
        read_job(wrapped, 41, FleetClock())
    with pytest.raises(Unreadable, match="written in version 2; this server reads up to 1"):
        read_answer([b"v", b"2", *WRITTEN["done"][2:]])
    with pytest.raises(ValueError, match="written in version 2, and this server reads up to 1"):
        read_reply(PARCEL.replace(b'"v": 1', b'"v": 2'))
    with pytest.raises(ValueError, match="written in version 2, and this server reads up to 1"):
        read_errand(ERRAND.replace('"id"', '"v": 2, "id"'))


def test_newer_process_writes_what_an_older_one_reads(later: pytest.MonkeyPatch) -> None:
    """The field that it knows more is left out where it has its default, and read as that where it is not said."""
    plain, moving = JOBS["plain"], JOBS["path"]
    assert codec.needs(plain) == 1
    written = raw(job_fields(plain, "api-1", 0, FleetClock()))
    assert b"frame_ms" not in written[13]
    assert read_job(envelope(written), 41, FleetClock()) == plain
    needing = raw(job_fields(moving, "api-1", 0, FleetClock()))
    assert read_job(envelope(needing), 42, FleetClock()) == moving
    # Answers are of the version of their job.
    assert raw(answer_fields("1", "done", {}, version=1))[1] == b"1"
    assert raw(answer_fields("1", "done", {}, version=2))[1] == b"2"
    later.undo()
    later.setattr(codec, "_SAME", tuple(name for name in codec._SAME if name != "frame_ms"))  # version 1 of that story
    assert read_job(envelope(written), 41, FleetClock()) == plain
    with pytest.raises(Unreadable, match="version 2"):
        read_job(envelope(needing), 42, FleetClock())


def test_manifest_says_only_what_it_must() -> None:
    """An older version refuses a manifest that says what it does not know."""
    model = PlayedLine().model
    text = roster.write_model(model)
    told = json.loads(text)["manifest"]
    assert "accuracy" not in told
    assert told["format"] == model.manifest.format
    assert roster.read_model(text.encode()) == model
    in_full = json.dumps({**asdict(model), "manifest": model.manifest.model_dump(mode="json")})
    assert roster.read_model(in_full.encode()) == model


@pytest.mark.usefixtures("later")
def test_request_is_not_sent_to_workers_too_old_for_it(server: RedisServer) -> None:
    """The agent here announces version 1."""

    async def test(road: RedisRoad) -> None:
        assert road.line.reads == 1
        with pytest.raises(Stopped, match="some workers of demo are too old for this request"):
            await road.submit(job(1, frame_ms=40))
        answer = await road.submit(job(2))
        await until(lambda: 2 in road.worker.jobs)
        road.worker.answer(2)
        await asyncio.wait_for(answer, 30)
        assert road.worker.seen == [2]

    over_redis(server, test, fleet="older")


def test_request_is_sent_to_workers_that_are_new_enough(server: RedisServer, later: pytest.MonkeyPatch) -> None:
    later.setattr("server.fleet.agent.VERSION", 2)

    async def test(road: RedisRoad) -> None:
        await until(lambda: road.line.reads == 2)
        answer = await road.submit(job(1, frame_ms=40))
        await until(lambda: 1 in road.worker.jobs)
        assert road.worker.jobs[1].frame_ms == 40
        road.worker.answer(1)
        await asyncio.wait_for(answer, 30)

    over_redis(server, test, fleet="newer")
