"""Deadlines mean the same on machines whose clocks do not: Redis' time is everybody's."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path

import pytest

from server.fleet.clock import SAMPLES, FleetClock
from server.fleet.codec import envelope, job_fields, read_job
from server.fleet.connection import Away, Redis
from server.fleet.pipe import Pipe
from server.fleet.where import Where

from ..conftest import ROOT
from .alone import job
from .redis_server import RedisServer
from .roads import until

WRONG = 30.0
"""Seconds by which a clock is wrong that the Redis of before has told."""


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


def mislead(redis: Redis) -> None:
    """What a Redis told whose clock is WRONG, and which has answered until now."""
    now = time.monotonic()
    offset = redis.clock.shared(now) - now + WRONG
    for number in range(SAMPLES):
        learn(redis.clock, offset, now + number / 1000)


def fault(redis: Redis, server: RedisServer) -> float:
    """Seconds by which a process's idea of Redis' time is wrong."""
    with server.client() as client:
        seconds, micros = client.time()
        return abs(redis.clock.shared(time.monotonic()) - seconds - micros / 1e6)


def test_new_connection_learns_the_time_of_the_redis_that_answers(server: RedisServer) -> None:
    """Else deadlines go by the clock of the one before until somebody looks, a second later."""

    async def test() -> None:
        redis = Redis(Where(server.url), "test", print)
        channel = redis.channel()
        await channel.call(("PING",))
        assert fault(redis, server) < 1
        mislead(redis)
        await channel.call(("PING",))
        assert fault(redis, server) == pytest.approx(WRONG, abs=1)  # a connection that stands tells nothing new
        server.kill()
        server.start()
        with contextlib.suppress(Away):
            await channel.call(("PING",))
        await channel.call(("PING",))
        assert fault(redis, server) < 1
        await channel.close()

    asyncio.run(test())


def test_request_that_finds_the_connection_broken_counts_by_the_new_clock(server: RedisServer) -> None:
    """It is sent again over a new connection: with the deadline in the time of the Redis that is there now."""

    async def test() -> None:
        redis = Redis(Where(server.url), "test", print)
        pipe = Pipe(redis)
        running = asyncio.create_task(pipe.run())
        await pipe.call("PING")
        mislead(redis)
        made: list[float] = []

        def tell() -> tuple[str, str]:
            made.append(redis.clock.shared(time.monotonic()))
            return "ECHO", repr(made[-1])

        server.kill()
        server.start()
        told = float(await pipe.call_made(tell))
        assert len(made) == 2
        assert made[0] - made[1] == pytest.approx(WRONG, abs=1)
        assert told == made[1]
        running.cancel()
        await until(running.done)

    asyncio.run(test())


def test_no_wall_clock_is_read_anywhere_in_the_room() -> None:
    for path in (ROOT / "server" / "fleet").rglob("*.py"):
        text = Path(path).read_text(encoding="utf-8")
        assert "time.time()" not in text, path
        assert "datetime" not in text, path
