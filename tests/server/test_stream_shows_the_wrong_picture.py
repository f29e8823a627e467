"""A stream shows the quick picture first, then the one asked for, and ends; what goes wrong is told in its place."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from server.http import stream
from server.jobs import Expired, JobFailed
from server.schedule.admission import Admitted, Refused, Wanted

from .conftest import Start
from .fake_line import Client, House, settle


def events(client: Client) -> list[tuple[str, dict[str, Any]]]:
    """The events that a client has so far."""
    found = []
    for text in b"".join(client.pieces).decode().split("\n\n"):
        if text and not text.startswith(":"):
            name, data = text.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def picture(data: dict[str, Any]) -> tuple[int, int, bool, bytes]:
    return data["steps"], data["of_steps"], data["last"], base64.b64decode(data["base64"])


def test_first_picture_comes_before_the_rest_is_done(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7&steps=4&stream=first")
        quick, refined = house.jobs()
        assert (quick.steps, refined.steps) == (1, 4), "in this order, so that the first tick has the first"
        house.dispatch.finish(quick)
        await settle()
        assert not client.task.done()
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store"
        ((name, data),) = events(client)
        assert (name, *picture(data)) == ("image", 1, 4, False, b"seed 7 steps 1")
        assert client.account.first_image is not None
        house.dispatch.finish(refined)
        await client.reply()
        name, data = events(client)[-1]
        assert (name, *picture(data)) == ("image", 4, 4, True, b"seed 7 steps 4")
        assert (data["seed"], data["label"], data["label_name"], data["fingerprint"]) == (7, 0, "cat", "print")
        assert set(data["stages"]) == {"queue", "network", "decode", "encode"}
        assert (client.account.steps, client.account.status, client.account.source) == (4, 200, "run")

    asyncio.run(scenario())


def test_late_first_picture_is_not_shown_after_the_last(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7&steps=4&stream=first")
        quick, refined = house.jobs()
        house.dispatch.finish(refined)
        await client.reply()
        assert [picture(data)[:3] for _, data in events(client)] == [(4, 4, True)]
        assert house.dispatch.cancelled == [quick]

    asyncio.run(scenario())


def test_every_step_is_shown_in_order(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7&steps=4&stream=every")
        (job,) = house.jobs()
        assert job.every_step
        for step in (1, 2, 3):
            house.dispatch.show(job, step)
            await settle()
            assert len(events(client)) == step
        house.dispatch.finish(job)
        await client.reply()
        shown = [picture(data) for _, data in events(client)]
        assert shown == [
            (1, 4, False, b"part 1"),
            (2, 4, False, b"part 2"),
            (3, 4, False, b"part 3"),
            (4, 4, True, b"seed 7 steps 4"),
        ]

    asyncio.run(scenario())


def test_one_step_is_one_picture(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7", accept="text/event-stream")
        (job,) = house.jobs()
        house.dispatch.finish(job)
        await client.reply()
        assert [picture(data)[:3] for _, data in events(client)] == [(1, 1, True)]

    asyncio.run(scenario())


def test_stream_reads_and_fills_the_cache(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7&steps=4&stream=first")
        for job in house.jobs():
            house.dispatch.finish(job)
            await settle()
        await client.reply()
        for steps in (1, 4):
            reply = await (await house.ask(f"/generate?seed=7&steps={steps}")).reply()
            assert reply.headers["longjump-cache"] == "hit"
        again = await house.ask("/generate?seed=7&steps=4&stream=first")
        await again.reply()
        assert [picture(data)[:3] for _, data in events(again)] == [(4, 4, True)]
        partly = await house.ask("/generate?seed=7&steps=2&stream=first")
        assert [picture(data)[:3] for _, data in events(partly)] == [(1, 2, False)]
        house.dispatch.finish(*house.jobs())
        await partly.reply()
        assert events(partly)[-1][1]["last"]

    asyncio.run(scenario())


def test_refusal_has_its_status(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        house.line.decision = lambda wanted: Refused("deadline", 2.0, 1.5)
        reply = await (await house.ask("/generate?seed=7&steps=4&stream=first")).reply()
        assert reply.status == 429
        assert reply.headers["content-type"] == "application/problem+json"
        assert not house.jobs(), "no quick picture of what is refused"

    asyncio.run(scenario())


def test_no_room_for_the_quick_picture_is_no_error(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        admit = house.line.decision

        def only_long(wanted: Wanted) -> Admitted | Refused:
            return admit(wanted) if wanted.steps[0] > 1 else Refused("requests", 2.0, 1.5)

        house.line.decision = only_long
        client = await house.ask("/generate?seed=7&steps=4&stream=first")
        house.dispatch.finish(*house.jobs())
        assert (await client.reply()).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize(("error", "status"), [(JobFailed("poison"), 500), (Expired("too late"), 504)])
def test_failure_in_the_middle_is_an_event(images: Path, error: JobFailed, status: int) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7&steps=4&stream=first")
        quick, refined = house.jobs()
        house.dispatch.finish(quick)
        await settle()
        house.dispatch.fail(refined, error)
        assert (await client.reply()).status == 200
        name, data = events(client)[-1]
        assert (name, data["status"]) == ("error", status)
        assert client.account.status == status

    asyncio.run(scenario())


def test_failure_of_the_quick_picture_is_not_that_of_the_other(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7&steps=4&stream=first")
        quick, refined = house.jobs()
        house.dispatch.fail(quick, Expired("too late"))
        await settle()
        house.dispatch.finish(refined)
        await client.reply()
        assert [name for name, _ in events(client)] == ["image"]

    asyncio.run(scenario())


@pytest.mark.parametrize("mode", ["first", "every"])
def test_leaving_a_stream_frees_its_work(images: Path, mode: str) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask(f"/generate?seed=7&steps=4&stream={mode}")
        before = len(house.jobs())
        client.leave()
        await client.reply()
        assert not house.jobs()
        assert len(house.dispatch.cancelled) == before
        assert client.account.status == 499

    asyncio.run(scenario())


def test_long_silence_is_broken(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.0)

    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=7&steps=4&stream=every")
        await asyncio.sleep(0.05)
        assert client.status == 200
        assert client.pieces[0].startswith(b":")
        house.dispatch.fail(house.jobs()[0], JobFailed("poison"))
        await client.reply()
        assert [name for name, _ in events(client)] == ["error"]

    asyncio.run(scenario())


def test_stream_of_many_is_refused(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        reply = await (await house.ask("/generate?n=2&stream=first")).reply()
        assert reply.status == 422
        assert reply.json()["errors"][0]["field"] == "n"

    asyncio.run(scenario())


def test_streams_of_a_real_worker(start: Start, images: Path) -> None:
    """The pictures that a worker sends are those that it makes when they are asked for alone."""
    server = start(images, fake=False)
    alone = {steps: server.client.post(f"/generate?seed=7&steps={steps}&format=npy").content for steps in (1, 4)}
    shown: dict[str, list[bytes]] = {}
    for mode in ("first", "every"):
        text = server.client.get(
            f"/generate?seed=7&steps=4&format=npy&stream={mode}", headers={"cache-control": "no-cache"}
        ).text
        data = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
        assert [(one["of_steps"], one["last"]) for one in data] == [(4, False)] * (len(data) - 1) + [(4, True)]
        shown[mode] = [base64.b64decode(one["base64"]) for one in data]
    assert shown["first"] == [alone[1], alone[4]]
    assert shown["every"][-1] == alone[4]
    assert len(set(shown["every"])) == 4
    assert all(len(one) == len(alone[4]) for one in shown["every"])
