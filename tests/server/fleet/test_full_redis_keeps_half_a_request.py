"""A Redis whose memory is full refuses new work with words and keeps nothing of it; what it has is finished."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.jobs import Stopped, Vary

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import KNEE, WIDE, RedisRoad, until

ROOM = 3 * KNEE


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path, "--maxmemory-policy", "noeviction")
    yield made
    made.kill()


def test_full_redis_refuses_new_work_and_finishes_what_it_has(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        first = await road.submit(job(0, n=ROOM))
        await until(lambda: 0 in road.worker.jobs)
        waiting = await road.submit(job(1, n=ROOM))
        before = await road.load()
        with server.client() as client:
            keys = set(client.keys("*"))
            client.config_set("maxmemory", "1mb")
            for seed in (2, 3):
                with pytest.raises(Stopped, match="its memory is full"):
                    await road.submit(job(seed, vary=Vary(0.5, bytes(3072))))
            assert await road.load() == before
            assert set(client.keys("*")) == keys
            road.worker.answer(0)
            await asyncio.wait_for(first, 30)
            await until(lambda: 1 in road.worker.jobs)
            road.worker.answer(1)
            await asyncio.wait_for(waiting, 30)
            # Agents go on to be known: longer than an announcement holds.
            seen = time.monotonic()
            await until(lambda: road.line.seen > seen + 4.5)
            assert road.lines.up
            client.config_set("maxmemory", "0")
        again = await road.submit(job(4))
        await until(lambda: 4 in road.worker.jobs)
        road.worker.answer(4)
        await asyncio.wait_for(again, 30)

    over_redis(server, test, bounds=WIDE)


def test_agent_that_starts_at_a_full_redis_is_known(server: RedisServer) -> None:
    """Its announcement goes through; the engine's manifest is there since before."""

    async def test(road: RedisRoad) -> None:
        with server.client() as client:
            client.config_set("maxmemory", "1mb")
            await road.agents[0].drain(0.0)
            await until(lambda: not road.line.up)
            await road.join(road.local, "agent-2")
            await until(lambda: road.line.up)
            client.config_set("maxmemory", "0")

    over_redis(server, test)
