"""An answer that could not pass through Redis is refused before anything is done for it, not when all of it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.fleet.codec import MAX_REPLY

from ..fake_line import House
from .conftest import Fleet

IMAGE = 8 * 8 * 3


@pytest.mark.parametrize(
    ("query", "accept", "each"),
    [
        ("format=npy", "*/*", IMAGE),
        ("format=png", "*/*", IMAGE),
        ("format=png", "application/json", IMAGE * 4 / 3),
        ("format=npy", "application/json", IMAGE * 4 / 3),
    ],
)
def test_bound_is_that_of_the_raw_pixels(images: Path, query: str, accept: str, each: float) -> None:
    async def test() -> None:
        house = House(images)
        house.line.max_reply = int(each * 6)
        fits = await house.ask(f"/generate?n=6&seed=1&{query}", accept=accept)
        assert len(house.jobs()) == 1
        refused = await (await house.ask(f"/generate?n=7&seed=1&{query}", accept=accept)).reply()
        assert len(house.jobs()) == 1
        assert refused.status == 422
        (fault,) = refused.json()["errors"]
        assert (fault["field"], fault["value"], fault["allowed"]) == ("n", 7, {"max": 6})
        assert f"the answer may have {int(each * 7)} bytes, and {int(each * 6)} is the most" in fault["detail"]
        fits.leave()
        await fits.reply()

    asyncio.run(test())


def test_one_image_is_too_large_by_its_format(images: Path) -> None:
    async def test() -> None:
        house = House(images)
        house.line.max_reply = IMAGE - 1
        refused = await (await house.ask("/generate?seed=1&format=png")).reply()
        assert refused.status == 422
        (fault,) = refused.json()["errors"]
        assert (fault["field"], fault["value"]) == ("format", "png")
        assert fault["detail"].endswith("ask for one that compresses")

    asyncio.run(test())


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_control_what_compresses_is_not_guessed(images: Path, format: str) -> None:
    async def test() -> None:
        house = House(images)
        house.line.max_reply = 1
        client = await house.ask(f"/generate?n=7&seed=1&format={format}")
        assert len(house.jobs()) == 1
        client.leave()
        await client.reply()

    asyncio.run(test())


def test_fleet_has_the_bound_of_redis(fleet: Fleet, images: Path) -> None:
    fleet.worker(images)
    api = fleet.api("--max-images", "1000000")
    n = MAX_REPLY // IMAGE + 1
    answer = api.client.post(f"/generate?n={n}&seed=1&format=npy")
    assert answer.status_code == 422
    assert f"{MAX_REPLY} is the most that may pass here; ask for fewer at once" in answer.json()["detail"]
    assert fleet.held() == (0, {})
    assert api.client.post("/generate?n=2&seed=1&format=npy").status_code == 200
