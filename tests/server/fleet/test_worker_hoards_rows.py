"""A worker takes as many rows as it has room for, however many each request has: what is beyond waits for others."""

from __future__ import annotations

import asyncio

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import KNEE, RedisRoad, until

ROOM = 3 * KNEE


def test_requests_of_many_images_are_counted_by_them(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        answers = [await road.submit(job(0, n=ROOM))]
        await until(lambda: 0 in road.worker.jobs)
        answers += [await road.submit(job(seed, n=KNEE)) for seed in range(1, 10)]
        road.worker.answer(0)
        most = 0
        for seed in range(1, 10):
            await until(lambda seed=seed: seed in road.worker.jobs)
            await asyncio.sleep(0.05)  # so that what is read too much comes too
            most = max(most, sum(entry.rows for entry in road.agents[0].holds[0].entries.values()))
            road.worker.answer(seed)
        await asyncio.wait_for(asyncio.gather(*answers), 30)
        assert most == ROOM

    over_redis(server, test, lease=60.0)
