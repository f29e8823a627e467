"""What cannot be served is refused at once, with what would help: when to come back, which deadline, fewer steps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.backend.queue import QueueFull
from server.jobs import Expired, Job, Result, Stopped
from server.schedule.admission import Admitted, Refused, Wanted

from .fake_line import House


@pytest.mark.parametrize(
    ("refused", "kind", "header"),
    [
        (Refused("deadline", 2.0, 1.234), "too-late", "2"),
        (Refused("deadline", 2.0, 0.001), "too-late", "1"),
        (Refused("requests", 2.0, 0.5), "queue-full", "1"),
        (Refused("row_steps", 2.0, 7.0), "queue-full", "7"),
    ],
)
def test_refused_at_once_with_when_to_come_back(images: Path, refused: Refused, kind: str, header: str) -> None:
    async def scenario() -> None:
        house = House(images)
        house.line.decision = lambda wanted: refused
        client = await house.ask("/generate?steps=2")
        assert client.task.done(), "nothing was waited for"
        reply = await client.reply()
        assert (reply.status, reply.headers["retry-after"]) == (429, header)
        assert reply.headers["content-type"] == "application/problem+json"
        document = reply.json()
        assert document["type"] == f"urn:longjump:problem:{kind}"
        assert refused.retry_after is not None
        told = max(refused.retry_after, 0.1)  # not sooner: a client that tries again every millisecond harms itself too
        assert (document["retry_after_seconds"], document["predicted_wait_seconds"]) == (told, 2.0)
        assert document["detail"].endswith(f"try again in {told:.3g} s")
        assert client.account.steps == 2
        assert house.metric(f'longjump_rejected_total{{reason="{kind}"}}') == 1
        assert not house.jobs()

    asyncio.run(scenario())


def test_deadline_that_nothing_meets_is_a_wrong_field(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        house.line.decision = lambda wanted: Refused("impossible", 0.0, None)
        reply = await (await house.ask("/generate?steps=4&deadline_ms=0.5")).reply()
        assert reply.status == 422
        assert "retry-after" not in reply.headers
        (error,) = reply.json()["errors"]
        assert error["field"] == "deadline_ms"
        assert "deadline_ms=0.5" in error["detail"]

    asyncio.run(scenario())


def test_queue_that_is_full_after_all(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)

        async def full(job: Job, on_part: object) -> asyncio.Future[Result]:
            raise QueueFull("the queue would hold 5 requests; its bound is 4")

        house.dispatch.submit = full  # type: ignore[method-assign,assignment]
        reply = await (await house.ask("/generate?seed=1")).reply()
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")

        async def stopped(job: Job, on_part: object) -> asyncio.Future[Result]:
            raise Stopped("the server ends")

        house.dispatch.submit = stopped  # type: ignore[method-assign,assignment]
        assert (await (await house.ask("/generate?seed=1")).reply()).status == 503

    asyncio.run(scenario())


def test_expired_is_a_timeout(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?deadline_ms=5")
        house.dispatch.fail(house.jobs()[0], Expired("its deadline passed before it was begun"))
        reply = await client.reply()
        assert reply.status == 504
        assert reply.json()["type"] == "urn:longjump:problem:deadline-passed"
        assert house.metric('longjump_deadline_missed_total{outcome="expired"}') == 1

    asyncio.run(scenario())


def test_wishes_reach_the_line(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        await house.ask("/generate?n=3&steps=4&deadline_ms=250&priority=batch")
        (wanted,), (job,) = house.line.wanted, house.jobs()
        assert (wanted.deadline, wanted.priority, wanted.rows, wanted.steps) == (0.25, "batch", 3, (4,))
        assert (job.client, job.priority, job.row_steps) == ("10.0.0.1", "batch", 12)
        assert job.arrival == wanted.arrival
        assert job.deadline == wanted.arrival + 0.25

    asyncio.run(scenario())


def test_auto_takes_the_best_that_fits(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)

        def only(steps: int) -> None:
            def decision(wanted: Wanted) -> Admitted | Refused:
                if steps not in wanted.steps:
                    return Refused("deadline", 2.0, 1.5)
                return Admitted(steps, 0.0, wanted.arrival + 1, 0.0)

            house.line.decision = decision

        for steps, given in ((4, ""), (2, ""), (1, ""), (2, "&max_steps=3"), (4, "&min_steps=4")):
            only(steps)
            client = await house.ask(f"/generate?seed=1&steps=auto{given}", cache_control="no-store")
            (job,) = house.jobs()
            assert job.steps == steps
            house.dispatch.finish(job)
            reply = await client.reply()
            assert reply.headers["longjump-steps"] == str(steps)
            assert client.account.steps == steps
        assert house.metric('longjump_steps_reduced_total{steps="2"}') == 1
        assert house.metric('longjump_steps_reduced_total{steps="1"}') == 1
        assert house.line.wanted[0].steps == [4, 2, 1]
        assert house.line.wanted[-1].steps == [4]
        only(1)
        refused = await (await house.ask("/generate?seed=1&steps=auto&min_steps=2")).reply()
        assert refused.status == 429

    asyncio.run(scenario())


def test_auto_prefers_what_is_kept(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=1&steps=2")
        house.dispatch.finish(*house.jobs())
        await client.reply()
        house.line.decision = lambda wanted: Refused("deadline", 2.0, 1.5)
        kept = await (await house.ask("/generate?seed=1&steps=auto")).reply()
        assert (kept.status, kept.headers["longjump-steps"], kept.headers["longjump-cache"]) == (200, "2", "hit")
        for steps in (1, 2):
            house.line.decision = lambda wanted, steps=steps: Admitted(steps, 0.0, wanted.arrival + 1, 0.0)  # type: ignore[misc]
            kept = await (await house.ask("/generate?seed=1&steps=auto")).reply()
            assert kept.headers["longjump-steps"] == "2", "no worse than what there is time for"
        house.line.decision = lambda wanted: Admitted(4, 0.0, wanted.arrival + 1, 0.0)
        await house.ask("/generate?seed=1&steps=auto")
        assert [job.steps for job in house.jobs()] == [4], "worse than what there is time for"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("steps=auto&min_steps=5", "min_steps"),
        ("steps=auto&max_steps=0", "max_steps"),
        ("steps=2&min_steps=1", "min_steps"),
        ("max_steps=2", "max_steps"),
        ("steps=auto&min_steps=3&max_steps=2", "min_steps"),
        ("deadline_ms=0", "deadline_ms"),
        ("deadline_ms=inf", "deadline_ms"),
        ("priority=urgent", "priority"),
        ("on_disconnect=never", "on_disconnect"),
        ("stream=last", "stream"),
        ("quality=80", "quality"),
        ("quality=0&format=jpeg", "quality"),
    ],
)
def test_wrong_wish_is_named(images: Path, target: str, field: str) -> None:
    async def scenario() -> None:
        house = House(images)
        reply = await (await house.ask(f"/generate?{target}")).reply()
        assert reply.status == 422
        (error,) = reply.json()["errors"]
        assert error["field"] == field
        assert "allowed" in error
        assert "value" in error

    asyncio.run(scenario())


def test_auto_has_no_tag(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=1&steps=auto", "GET")
        house.dispatch.finish(*house.jobs())
        reply = await client.reply()
        assert "etag" not in reply.headers
        assert reply.headers["cache-control"] == "no-store"

    asyncio.run(scenario())
