"""What an API process lets in by what it knew, and Redis does not: with `steps=auto` fewer steps may still fit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.fleet.lines import FleetLines
from server.http.cache import ResponseCache
from server.http.departure import Departures
from server.http.desk import Answer, Desk, StreamMode
from server.http.plan import Auto, Plan, Visit
from server.http.problem import Problem
from server.observe.metrics import Metrics
from server.schedule.costs import Costs

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import KNEE, WIDE, Nobody, RedisRoad, until

TICK = 1.0
"""Seconds of a tick of any size."""

DEADLINE = 12.5
"""Seconds within which 8 steps may wait for 6.5 row-steps, and fewer for 10."""

BEFORE = 7
"""Row-steps that come in between."""


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
        return await self.desk.answer(self._plan(steps), Visit(deadline=DEADLINE), Departures())

    async def stream(self, steps: int | Auto, mode: StreamMode = "first") -> list[tuple[int, int, bool]]:
        """Steps of the pictures of a stream, each with those that it heads for, and whether it is the last."""
        stream = self.desk.open_stream(self._plan(steps), Visit(deadline=DEADLINE), Departures(), mode)
        return [(shown.step, shown.steps, shown.last) async for shown in stream]

    @property
    def reduced(self) -> list[str]:
        """What the metrics say of requests that were given fewer steps."""
        told = self.metrics.text().decode().splitlines()
        return [line for line in told if line.startswith("longjump_steps_reduced_total{")]

    def _plan(self, steps: int | Auto) -> Plan:
        self.road.line.survey(0, 0, 0, 0)  # as it last heard
        return Plan(self.road.line.model, 5, 1, 0, steps, None, "png")


def race(server: RedisServer, test: Any, before: int = BEFORE) -> None:
    """Run `test` with a Race."""

    async def whole(road: RedisRoad) -> None:
        other = FleetLines(road.redis("api-2"), road.keys, "api-2", WIDE, 3600.0, Nobody())
        other.start()
        await other.ready()
        costs = Costs(KNEE)
        for rows in range(1, KNEE + 1):
            costs.observe(rows, TICK)
        road.line.costs = costs
        first = await other.lines[0].dispatch.submit(job(1, n=before))
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
        assert race.reduced == ['longjump_steps_reduced_total{steps="4"} 1.0']

    race(server, test)


@pytest.mark.parametrize("mode", ["first", "every"])
def test_stream_heads_for_fewer_steps(server: RedisServer, mode: StreamMode) -> None:
    async def test(race: Race) -> None:
        worker = race.road.worker
        shown = asyncio.create_task(race.stream(Auto(1, 8), mode))
        await until(lambda: race.road.line.held.requests == (3 if mode == "first" else 2))
        worker.answer(1)
        steps = [1, 4] if mode == "first" else [4]
        await until(lambda: len(worker.came) == 1 + len(steps))
        assert [one.steps for one in worker.came[1:]] == steps
        if mode == "every":
            worker.answer(5, "part", step=2)
        for one in worker.came[1:]:  # all of one seed
            worker.jobs[5] = one
            worker.answer(5)
        assert await shown == [(1 if mode == "first" else 2, 4, False), (4, 4, True)]

    race(server, test)


def test_first_picture_of_a_stream_is_its_last_where_no_more_steps_fit(server: RedisServer) -> None:
    async def test(race: Race) -> None:
        shown = asyncio.create_task(race.stream(Auto(1, 8)))
        await until(lambda: race.road.line.held.requests == 2)
        race.road.worker.answer(1)
        await until(lambda: 5 in race.road.worker.jobs)
        assert race.road.worker.jobs[5].steps == 1
        race.road.worker.answer(5)
        assert await shown == [(1, 1, True)]
        assert race.road.worker.seen == [1, 5]
        assert race.reduced == ['longjump_steps_reduced_total{steps="1"} 1.0']

    race(server, test, BEFORE + 2)


@pytest.mark.parametrize("steps", [8, Auto(8, 8)])
def test_control_without_fewer_steps_it_is_refused(server: RedisServer, steps: int | Auto) -> None:
    async def test(race: Race) -> None:
        with pytest.raises(Problem) as refused:
            await race.ask(steps)
        assert refused.value.status == 429
        with pytest.raises(Problem) as refused:
            await race.stream(steps, "every")
        assert refused.value.status == 429
        assert race.road.worker.seen == [1]

    race(server, test)
