"""Runs a test's coroutine over a Redis road, with what most of these tests want beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis
import uvloop

from server.fleet.keys import GROUP
from server.jobs import Job

from ..conftest import make_job
from .redis_server import RedisServer
from .roads import RedisRoad


def over_redis(server: RedisServer, test: Callable[[RedisRoad], Awaitable[None]], **options: Any) -> None:
    """Run `test` with a road in a fleet of its own; in the end nothing may be left or stay counted."""

    async def whole() -> None:
        async with RedisRoad(server.url, **options) as road:
            await test(road)
            deadline = time.monotonic() + 10
            while (load := await road.load()) != (0, 0, 0):
                assert time.monotonic() < deadline, f"left: {load}"
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def job(seed: int, **fields: Any) -> Job:
    """A job that is told by its seed."""
    return make_job(seed, **{"seed": seed, **fields})


def take_as(client: redis.Redis, work: str, name: str) -> list[bytes]:
    """Take all that waits in a stream as an agent called `name`; the ids."""
    found = client.xreadgroup(GROUP, name, {work: ">"}, count=100)
    return [entry for _, entries in found for entry, _ in entries]


def folder_of(path: Path) -> Path:
    """A folder for a Redis."""
    path.mkdir(exist_ok=True)
    return path
