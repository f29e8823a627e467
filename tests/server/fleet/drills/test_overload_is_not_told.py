"""Whoever cannot be served is told at once, and whoever was let in is served."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ...conftest import images  # noqa: F401
from ..conftest import Fleet
from ..conftest import fleet as own  # noqa: F401
from .clients import Clients
from .conftest import Standing, Tell


def test_redis_has_no_memory_left(fleet: Standing, tell: Tell) -> None:
    sent = fleet.hold(16)
    with fleet.redis.client() as client:
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")
        refused = fleet.send(16).heard()
        fleet.open_gates()
        heard = sent.heard()
        client.config_set("maxmemory", 0)
    tell("Redis has no memory left", heard + refused + fleet.send(8).heard())
    assert [one.fate for one in heard] == ["answered"] * 16
    assert [one.fate for one in refused] == ["refused"] * 16
    assert all("its memory is full" in one.words for one in refused)


def test_ten_times_what_the_fleet_can_do(own: Fleet, images: Path, tell: Tell) -> None:  # noqa: F811
    """Two workers do 8 row-steps a second, so 40 until the deadline: 16 requests of 2.5 steps on average."""
    few = ("--max-rows", "2")
    workers = [own.worker(images, options=few, ready=False, TEST_TICK_SECONDS="0.5") for _ in range(2)]
    api = own.api()
    for worker in workers:
        worker.wait_until_ready()
    with contextlib.closing(Clients(images)) as clients:
        counts = tell("ten times too much", clients.send([api.client.base_url], 160, deadline=5.0).heard())
    assert counts.answered > 0
    assert counts.refused > 0
