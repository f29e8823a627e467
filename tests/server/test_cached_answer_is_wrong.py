"""The response cache gives exactly what was made, only to who may have it, and stays within its bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.http.cache import OVERHEAD, ResponseCache
from server.jobs import Result

from .fake_line import STAGES, House, settle


async def made(house: House, target: str, method: str = "POST", **headers: str) -> bytes:
    """The body of an answer that is worked for."""
    client = await house.ask(target, method, **headers)
    (job,) = house.jobs()
    house.dispatch.finish(job)
    reply = await client.reply()
    assert (reply.status, reply.headers["longjump-cache"]) == (200, "miss")
    return reply.body


def test_second_is_from_the_cache(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        body = await made(house, "/generate?seed=1&steps=2")
        for method in ("GET", "POST"):
            reply = await (await house.ask("/generate?seed=1&steps=2", method)).reply()
            assert (reply.body, reply.headers["longjump-cache"]) == (body, "hit")
            assert reply.headers["server-timing"].startswith("cache;desc=hit, total;dur=")
            assert (reply.headers["longjump-seed"], reply.headers["longjump-label"]) == ("1", "0")
        assert not house.jobs()
        assert house.metric('longjump_cache_requests_total{outcome="hit"}') == 2
        assert house.metric('longjump_cache_requests_total{outcome="miss"}') == 1

    asyncio.run(scenario())


OTHERS = [
    "seed=2",
    "seed=1&steps=2",
    "seed=1&n=2",
    "seed=1&format=webp",
    "seed=1&format=jpeg&quality=80",
    "seed=1&label=0",
]


@pytest.mark.parametrize("other", OTHERS)
def test_another_request_is_another_entry(images: Path, other: str) -> None:
    async def scenario() -> None:
        house = House(images)
        await made(house, "/generate?seed=1")
        await made(house, f"/generate?{other}")

    asyncio.run(scenario())


def test_base64_is_another_entry_than_the_image(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        await made(house, "/generate?seed=1")
        client = await house.ask("/generate?seed=1", accept="application/json")
        (job,) = house.jobs()
        assert job.layout == "each"
        client.leave()
        await client.reply()

    asyncio.run(scenario())


def test_drawn_seed_is_not_kept(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        await made(house, "/generate")
        assert len(house.cache) == 0
        assert house.metric('longjump_cache_requests_total{outcome="bypass"}') == 1

    asyncio.run(scenario())


def test_no_store_neither_reads_nor_writes(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        for _ in range(2):
            await made(house, "/generate?seed=1", cache_control="max-age=0, No-Store")
        assert len(house.cache) == 0
        await made(house, "/generate?seed=1")
        await made(house, "/generate?seed=1", cache_control="no-store")
        client = await house.ask("/generate?seed=1", "GET", cache_control="no-store")
        house.dispatch.finish(*house.jobs())
        reply = await client.reply()
        assert reply.headers["cache-control"] == "no-store"
        assert "etag" not in reply.headers

    asyncio.run(scenario())


def test_no_cache_makes_it_again_and_keeps_that(images: Path) -> None:
    async def scenario() -> None:
        house = House(images)
        await made(house, "/generate?seed=1")
        await made(house, "/generate?seed=1", cache_control="no-cache")
        reply = await (await house.ask("/generate?seed=1")).reply()
        assert reply.headers["longjump-cache"] == "hit"

    asyncio.run(scenario())


def test_failed_work_is_not_kept(images: Path) -> None:
    from server.jobs import JobFailed

    async def scenario() -> None:
        house = House(images)
        client = await house.ask("/generate?seed=1")
        house.dispatch.fail(house.jobs()[0], JobFailed("poison"))
        assert (await client.reply()).status == 500
        await made(house, "/generate?seed=1")

    asyncio.run(scenario())


def test_cache_stays_within_its_bytes() -> None:
    cache = ResponseCache(10 * (OVERHEAD + 1000))
    for key in range(100):
        cache.put(key, Result([0], STAGES, [bytes(1000)]))
        assert cache.bytes <= cache.max_bytes
        cache.get(0)  # in use, so it stays
    assert len(cache) == 10
    assert cache.get(0) is not None
    assert [key for key in range(100) if cache.get(key) is not None] == [0, *range(91, 100)]
    cache.put(0, Result([0], STAGES, [bytes(2000)]))
    assert cache.bytes == sum(OVERHEAD + len(cache.get(key).blobs[0]) for key in range(100) if cache.get(key))  # type: ignore[union-attr]


def test_cache_of_no_bytes_keeps_nothing(images: Path) -> None:
    async def scenario() -> None:
        house = House(images, cache_bytes=0)
        await made(house, "/generate?seed=1")
        await made(house, "/generate?seed=1")
        await settle()

    asyncio.run(scenario())
