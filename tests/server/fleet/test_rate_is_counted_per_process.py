"""`--rate` of a fleet: one count for all API processes, within its bounds, and a limit also while Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from server.fleet.connection import Redis
from server.fleet.keys import Keys
from server.fleet.pipe import Pipe
from server.fleet.rates import SharedLimits
from server.fleet.where import Where
from server.http.limits import Limits

from ..test_rate_limit_lets_too_many import crowded
from .conftest import Fleet
from .redis_server import RedisServer

KEYS = Keys("test")
Use = Callable[[list[SharedLimits]], Awaitable[None]]


def with_limits(server: RedisServer, rates: str, use: Use, processes: int = 3, most_clients: int = 1000) -> None:
    async def run() -> None:
        redis = Redis(Where(server.url), "test", lambda text: None)
        pipes = [Pipe(redis) for _ in range(processes)]
        running = [asyncio.create_task(pipe.run()) for pipe in pipes]
        await use([SharedLimits(Limits(rates), pipe, KEYS, most_clients) for pipe in pipes])
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(run())


def test_no_window_has_more_over_all_processes(server: RedisServer) -> None:
    passed: list[float] = []

    def redis_time() -> float:
        with server.client() as client:
            seconds, micros = client.time()
            return float(seconds + micros / 1e6)

    async def use(processes: list[SharedLimits]) -> None:
        for turn in range(150):
            before = redis_time()
            if not await processes[turn % 3].ask("a"):
                passed.append(before)
            await asyncio.sleep(0.01)

    with_limits(server, "8/second;12/minute", use)
    assert len(passed) == 12
    # What passed was counted after its time was taken: a window may look so much shorter.
    assert not crowded(passed, 8, 0.98)


def test_who_comes_back_when_told_is_let_in(server: RedisServer) -> None:
    async def use(processes: list[SharedLimits]) -> None:
        assert [await one.ask("a") for one in processes[:2]] == [0.0, 0.0]
        wait = await processes[2].ask("a")
        assert 0.5 < wait <= 1.0
        assert await processes[2].ask("b") == 0.0
        await asyncio.sleep(wait)
        assert await processes[2].ask("a") == 0.0

    with_limits(server, "2/second", use)


def test_clients_are_bounded_and_forgotten(server: RedisServer) -> None:
    async def use(processes: list[SharedLimits]) -> None:
        for number in range(40):
            assert await processes[0].ask(f"client {number}") == 0.0
        with server.client() as client:
            assert client.hlen(KEYS.windows[0]) == client.zcard(KEYS.windows[1]) == 10
            assert all(0 < client.pttl(key) <= 60_000 for key in client.keys("*"))

    with_limits(server, "1/minute", use, most_clients=10)


def test_many_requests_take_little_memory(server: RedisServer) -> None:
    async def use(processes: list[SharedLimits]) -> None:
        for _ in range(30):
            await asyncio.gather(*(one.ask("a") for one in processes for _ in range(10)))
        with server.client() as client:
            assert client.hstrlen(KEYS.windows[0], "a") < 2500

    with_limits(server, "100000/hour", use)


def test_each_process_limits_while_redis_is_away(server: RedisServer) -> None:
    async def use(processes: list[SharedLimits]) -> None:
        assert await processes[0].ask("a") == 0.0
        server.kill()
        assert await processes[0].ask("a") == 0.0
        assert await processes[0].ask("a") > 0.0
        assert [await processes[1].ask("a") == 0.0 for _ in range(3)] == [True, True, False]

    with_limits(server, "2/hour", use)


def test_fleet_has_one_rate(fleet: Fleet, images: Path) -> None:
    fleet.worker(images)
    apis = [fleet.api("--rate", "4/hour") for _ in range(2)]
    statuses = [apis[turn % 2].client.get("/v1/models").status_code for turn in range(8)]
    assert statuses == [200] * 4 + [429] * 4
