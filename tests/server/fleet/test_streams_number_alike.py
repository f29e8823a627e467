"""Each stream numbers its own entries: two that came in one millisecond have one number, and are two jobs."""

from __future__ import annotations

import asyncio

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import RedisRoad, until

LATER = "99999999999999-0"
"""A number of the far future: the next one of a stream that has it is the one after it, whatever the clock says."""


async def number_alike(server: RedisServer, road: RedisRoad) -> None:
    """From now on the first entries of both classes have the same numbers."""
    streams = road.keys.queue(road.line.model.fingerprint, "interactive")[:2]
    with server.client() as client:
        await until(lambda: client.exists(*streams) == 2)
        for key in streams:
            client.execute_command("XSETID", key, LATER)


def test_both_jobs_are_run(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        await number_alike(server, road)
        answers = [await road.submit(job(1)), await road.submit(job(2, priority="batch"))]
        await until(lambda: set(road.worker.jobs) == {1, 2})  # nobody's lease ends before that
        for seed in (1, 2):
            road.worker.answer(seed)
        await asyncio.wait_for(asyncio.gather(*answers), 30)

    over_redis(server, test, lease=60.0)


def test_only_the_unwanted_one_is_dropped(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        await number_alike(server, road)
        unwanted, wanted = job(1), job(2, priority="batch")
        answers = [await road.submit(wanted), await road.submit(unwanted)]
        await until(lambda: set(road.worker.jobs) == {1, 2})
        road.cancel(unwanted)
        await until(lambda: road.worker.cancelled)
        assert road.worker.cancelled == [1]
        road.worker.answer(2)
        assert (await asyncio.wait_for(answers[0], 30)).blobs == [b"picture 2"]

    over_redis(server, test, lease=60.0)
