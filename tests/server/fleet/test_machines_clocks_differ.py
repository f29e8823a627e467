"""Deadlines mean the same on machines whose clocks do not: Redis' time is everybody's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from server.fleet.clock import SAMPLES, FleetClock
from server.fleet.codec import envelope, job_fields, read_job

from ..conftest import ROOT
from .alone import job


def learn(clock: FleetClock, offset: float, now: float, way: float = 0.001, back: float = 0.001) -> None:
    """A round trip to a Redis whose time is `offset` ahead of the process's own."""
    told = now + way + offset
    clock.learn(int(told), round(1e6 * (told % 1.0)), now, now + way + back)


def test_deadline_is_the_same_moment_for_api_and_worker() -> None:
    """Two machines: one was started an hour ago, the other in 1970, as far as their clocks know."""
    api, worker = FleetClock(), FleetClock()
    learn(api, offset=1.8e9, now=3600.0)
    learn(worker, offset=1.8e9 + 3600.0 - 5.0, now=5.0)  # the same moment
    asked = job(1, arrival=3600.0, due=3600.25, deadline=3601.0)
    text = [part if isinstance(part, bytes) else str(part).encode() for part in job_fields(asked, "api", 0, api)]
    came = read_job(envelope(text), 9, worker)
    assert came.arrival == pytest.approx(5.0, abs=1e-3)
    assert came.due == pytest.approx(5.25, abs=1e-3)
    assert came.deadline == pytest.approx(6.0, abs=1e-3)


def test_slow_round_trips_do_not_move_the_clock() -> None:
    rng = random.Random(3)
    clock = FleetClock()
    for second in range(40):
        slow = rng.random() < 0.3
        learn(clock, 1000.0, float(second), way=0.2 if slow else 0.001)
    assert clock.shared(50.0) == pytest.approx(1050.0, abs=0.01)


def test_another_redis_has_its_time_believed_at_once() -> None:
    """Fail-over to a machine whose clock is 30 s off: every agent and API process moves with it."""
    clock = FleetClock()
    for second in range(SAMPLES):
        learn(clock, 1000.0, float(second))
    learn(clock, 1030.0, 20.0)
    assert clock.shared(20.0) == pytest.approx(1050.0, abs=0.01)


def test_no_wall_clock_is_read_anywhere_in_the_room() -> None:
    for path in (ROOT / "server" / "fleet").rglob("*.py"):
        text = Path(path).read_text(encoding="utf-8")
        assert "time.time()" not in text, path
        assert "datetime" not in text, path
