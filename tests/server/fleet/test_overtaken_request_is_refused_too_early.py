"""What an API process lets in by what it knew, and Redis does not: with `steps=auto` fewer steps may still fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.fleet.lines import FleetLines
from server.http.cache import ResponseCache
from server.http.departure import Departures
from server.http.desk import Answer, Desk
from server.http.plan import Auto, Plan, Visit
from server.http.problem import Problem
from server.observe.metrics import Metrics
from server.schedule.costs import Costs

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import KNEE, WIDE, Nobody, RedisRoad, until

TICK = 0.1
"""Seconds of a tick of any size."""

DEADLINE = 1.25
"""Seconds within which 8 steps may wait for 6 row-steps, and 4 steps for 10."""

BEFORE = 8
"""Row-steps that come in between."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path)
    yield made
    made.kill()


class Race:
    """A desk that is asked when another API process has just filled the queue, which its own has not looked at."""

    def __init__(self, road: RedisRoad, other: FleetLines) -> None:
        self.road = road
        self.other = other
        self.metrics = Metrics()
        lines: Any = road.lines
        self.desk = Desk(lines, ResponseCache(0), self.metrics)

    async def ask(self, steps: int | Auto) -> Answer:
        """The answer to a request with so many steps."""
        model = self.road.line.model
        self.road.line.survey(0, 0, 0, 0)  # as it last heard
        plan = Plan(model, 5, 1, 0, steps, None, "png")
        return await self.desk.answer(plan, Visit(deadline=DEADLINE), Departures())


def race(server: RedisServer, test: Any) -> None:
    """Run `test` with a Race."""

    async def whole(road: RedisRoad) -> None:
        other = FleetLines(road.redis("api-2"), road.keys, "api-2", WIDE, 3600.0, Nobody())
        other.start()
        await other.ready()
        costs = Costs(KNEE)
        for rows in range(1, KNEE + 1):
            costs.observe(rows, TICK)
        road.line.costs = costs
        first = await other.lines[0].dispatch.submit(job(1, n=BEFORE))
        await until(lambda: 1 in road.worker.jobs)
        try:
            await test(Race(road, other))
        finally:
            if 1 in road.worker.jobs:
                road.worker.answer(1)
            await first
            other.close("the test is over")
            await other.stop()

    over_redis(server, whole)


def test_fewer_steps_are_tried(server: RedisServer) -> None:
    async def test(race: Race) -> None:
        answer = asyncio.create_task(race.ask(Auto(1, 8)))
        await until(lambda: race.road.line.held.requests == 2)
        race.road.worker.answer(1)
        await until(lambda: 5 in race.road.worker.jobs)
        assert race.road.worker.jobs[5].steps == 4
        race.road.worker.answer(5)
        assert (await answer).steps == 4
        told = race.metrics.text().decode()
        assert [line for line in told.splitlines() if line.startswith("longjump_steps_reduced_total{")] == [
            'longjump_steps_reduced_total{steps="4"} 1.0'
        ]

    race(server, test)


@pytest.mark.parametrize("steps", [8, Auto(8, 8)])
def test_control_without_fewer_steps_it_is_refused(server: RedisServer, steps: int | Auto) -> None:
    async def test(race: Race) -> None:
        with pytest.raises(Problem) as refused:
            await race.ask(steps)
        assert refused.value.status == 429
        assert race.road.worker.seen == [1]

    race(server, test)
