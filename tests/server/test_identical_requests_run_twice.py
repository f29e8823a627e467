"""Identical requests in flight share one job; it is dropped when the last of them has left, and not before."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.jobs import Expired, JobFailed
from server.schedule.admission import Refused

from .fake_line import House, settle


def test_identical_requests_share_a_job(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        clients = [await house.ask("/generate?seed=1") for _ in range(3)]
        (job,) = house.jobs()
        house.dispatch.finish(job)
        replies = [await client.reply() for client in clients]
        assert [reply.headers["longjump-cache"] for reply in replies] == ["miss", "joined", "joined"]
        assert {reply.body for reply in replies} == {b"seed 1 steps 1"}
        assert house.metric('longjump_cache_requests_total{outcome="joined"}') == 2

    asyncio.run(scenario())


def test_what_may_not_be_shared_is_not(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        await house.ask("/generate?seed=1")
        await house.ask("/generate?seed=2")
        await house.ask("/generate?seed=1", cache_control="no-store")
        await house.ask("/generate")
        await house.ask("/generate")
        assert len(house.jobs()) == 5

    asyncio.run(scenario())


def test_leaving_drops_work_only_with_the_last(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        first, second = await house.ask("/generate?seed=1"), await house.ask("/generate?seed=1")
        first.leave()
        await settle()
        assert first.task.done()
        assert len(house.jobs()) == 1, "one still waits"
        second.leave()
        await settle()
        assert not house.jobs()
        assert len(house.dispatch.cancelled) == 1
        assert first.account.status == second.account.status == 499
        third = await house.ask("/generate?seed=1")
        (job,) = house.jobs()
        house.dispatch.finish(job)
        assert (await third.reply()).headers["longjump-cache"] == "miss", "nobody joins what was dropped"

    asyncio.run(scenario())


def test_finish_works_for_the_cache(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=1&on_disconnect=finish")
        client.leave()
        await client.reply()
        (job,) = house.jobs()
        joined = await house.ask("/generate?seed=1")
        joined.leave()
        await joined.reply()
        assert house.jobs() == [job], "it is still to be finished"
        house.dispatch.finish(job)
        await settle()
        reply = await (await house.ask("/generate?seed=1")).reply()
        assert reply.headers["longjump-cache"] == "hit"

    asyncio.run(scenario())


def test_finish_of_what_nobody_can_ask_for_is_dropped(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        for headers in ({}, {"cache_control": "no-store"}):
            client = await house.ask(f"/generate?on_disconnect=finish{'&seed=1' if headers else ''}", **headers)
            client.leave()
            await client.reply()
            assert not house.jobs()

    asyncio.run(scenario())


def test_finish_that_fails_is_quiet(images: Path) -> None:
    problems: list[object] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        house = House(images)
        client = await house.ask("/generate?seed=1&on_disconnect=finish")
        client.leave()
        await client.reply()
        house.dispatch.fail(house.jobs()[0], JobFailed("poison"))
        await settle()

    asyncio.run(scenario())
    assert problems == []


def test_failure_reaches_all_who_share_it(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        clients = [await house.ask("/generate?seed=1") for _ in range(2)]
        house.dispatch.fail(house.jobs()[0], JobFailed("label 1 is poison"))
        for client in clients:
            reply = await client.reply()
            assert reply.status == 500
            assert "poison" in reply.json()["detail"]

    asyncio.run(scenario())


def test_hurry_of_one_does_not_expire_the_other(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        hasty = await house.ask("/generate?seed=1&deadline_ms=50")
        patient = await house.ask("/generate?seed=1&deadline_ms=60000")
        (job,) = house.jobs()
        house.dispatch.fail(job, Expired("too late"))
        await settle()
        assert (await hasty.reply()).status == 504
        (again,) = house.jobs()
        house.dispatch.finish(again)
        assert (await patient.reply()).status == 200

    asyncio.run(scenario())


def test_hasty_do_not_wait_for_the_patient(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        await house.ask("/generate?seed=1&priority=batch")
        await house.ask("/generate?seed=1")
        assert [job.priority for job in house.jobs()] == ["batch", "interactive"]
        await house.ask("/generate?seed=1&deadline_ms=10")
        assert len(house.jobs()) == 3, "a deadline before that of the work in flight"
        await house.ask("/generate?seed=1&priority=batch")
        assert len(house.jobs()) == 3, "control: batch is served well by interactive work"

    asyncio.run(scenario())


def test_work_in_flight_is_joined_where_new_work_is_refused(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        first = await house.ask("/generate?seed=1")
        house.line.decision = lambda wanted: Refused("deadline", 2.0, 1.5)
        second = await house.ask("/generate?seed=1")
        third = await house.ask("/generate?seed=2")
        assert (await third.reply()).status == 429
        house.dispatch.finish(house.jobs()[0])
        assert [(await client.reply()).status for client in (first, second)] == [200, 200]

    asyncio.run(scenario())
