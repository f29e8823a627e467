"""What API processes keep for each other stays within its budget, leaves Redis to the work, and is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path

from server.fleet.connection import Redis
from server.fleet.keys import Keys
from server.fleet.scripts import script
from server.fleet.shared_cache import SharedCache, _name
from server.fleet.where import Where
from server.jobs import Result, Stages

from ..conftest import PATIENCE, eventually
from .conftest import Fleet
from .redis_server import RedisServer

KEYS = Keys("test")
STAGES = Stages(0.5, 0.25, 0.0, 0.125)


def result(size: int, fill: bytes = b"x") -> Result:
    return Result([1, 2], STAGES, [fill * (size // 2), fill * (size - size // 2)])


async def until(happens: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if happens():
                return
            await asyncio.sleep(0.002)


def with_cache(server: RedisServer, budget: int, use: Callable[[SharedCache], Awaitable[None]]) -> list[str]:
    """Run `use`; what was said of Redis meanwhile."""
    said: list[str] = []

    async def run() -> None:
        cache = SharedCache(Redis(Where(server.url), "test", said.append), KEYS, budget)
        running = asyncio.create_task(cache.run())
        await until(lambda: cache._allowed > 0)
        await use(cache)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    return said


async def kept(cache: SharedCache, key: Hashable, value: Result) -> bool:
    """Put it, and wait until it is there or not."""
    cache.put(key, value)
    await until(lambda: not cache._unsent)
    return await cache.find([key]) is not None


def on_the_shelf(server: RedisServer) -> int:
    """Bytes of names and values, as Redis has them."""
    with server.client() as client:
        return sum(len(value) for value in client.hgetall(KEYS.shelf("cache")[0]).values())


def test_what_is_found_is_what_was_put(server: RedisServer) -> None:
    async def use(cache: SharedCache) -> None:
        value = Result([3], STAGES, [b"\x00\n\xff", b""])
        assert await kept(cache, ("print", 7, 0.5), value)
        assert await cache.find([("print", 8, 0.5), ("print", 7, 0.5)]) == (("print", 7, 0.5), value)
        assert await cache.find([("print", 7, 0.25)]) is None

    with_cache(server, 100_000, use)


def test_budget_holds_and_the_least_recently_used_go(server: RedisServer) -> None:
    async def use(cache: SharedCache) -> None:
        for number in range(40):
            assert await kept(cache, number, result(1000))
            assert await cache.find([0]) is not None  # in use
            assert on_the_shelf(server) <= 10_000
        assert await cache.find([39]) is not None
        assert await cache.find([1]) is None
        assert not await kept(cache, "large", result(3000))

    with_cache(server, 10_000, use)


def test_a_value_put_twice_counts_once(server: RedisServer) -> None:
    async def use(cache: SharedCache) -> None:
        for size in (1000, 2000, 1000):
            assert await kept(cache, "same", result(size))
        with server.client() as client:
            told = int(client.hget(KEYS.shelf("cache")[0], ""))
        assert 1000 < told < 1000 + 500

    with_cache(server, 10_000, use)


def test_unused_answers_expire(server: RedisServer) -> None:
    async def use(cache: SharedCache) -> None:
        channel = Redis(Where(server.url), "test", print).channel()
        await channel.call(script("shelf_put", KEYS.shelf("cache"), _name("old"), b"x", 30, 10_000))
        await asyncio.sleep(0.1)
        assert await cache.find(["old"]) is None
        await channel.close()

    with_cache(server, 10_000, use)
    with server.client() as client:
        assert all(client.pttl(key) != -1 for key in client.keys("*"))


def test_full_redis_is_left_to_the_work(server: RedisServer) -> None:
    async def use(cache: SharedCache) -> None:
        for number in range(8):
            assert await kept(cache, number, result(100_000))
        with server.client() as client:
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", int(used / 0.9))
            client.config_set("maxmemory-policy", "noeviction")
            await cache._make_room()
            assert on_the_shelf(server) < 800_000
            room = client.info("memory")
            assert room["used_memory"] < 0.85 * room["maxmemory"]
            client.config_set("maxmemory", 1)
            assert not await kept(cache, "more", result(100_000))  # refused, and nobody is told
            await cache._make_room()
        assert on_the_shelf(server) == len("0")  # their count

    with_cache(server, 4_000_000, use)


def test_without_redis_answers_are_made(server: RedisServer) -> None:
    async def use(cache: SharedCache) -> None:
        server.kill()
        assert await cache.find(["any"]) is None
        cache.put("any", result(10))
        assert await cache.find(["any"]) is None

    said = with_cache(server, 100_000, use)
    assert len([line for line in said if "cannot be reached" in line]) == 1


def test_api_processes_give_each_others_answers(fleet: Fleet, images: Path) -> None:
    worker = fleet.worker(images)
    one, other = fleet.api(), fleet.api()
    target = "/generate?seed=7&steps=2&label=dog"
    made = one.client.get(target)
    assert made.headers["longjump-cache"] == "miss"
    with fleet.redis.client() as client:
        eventually(lambda: client.keys("*shelf:cache"), "the answer is shared")
    worker.end()
    again = other.client.get(target)
    assert again.headers["longjump-cache"] == "hit"
    assert (again.content, again.headers["etag"]) == (made.content, made.headers["etag"])
    assert other.client.get(target, headers={"if-none-match": made.headers["etag"]}).status_code == 304
    # Nobody is left to make it; without a deadline it would wait for a worker longer than this client does.
    made_anew = other.client.get(f"{target}&deadline_ms=2000", headers={"cache-control": "no-store"})
    assert made_anew.status_code in (429, 503, 504)
