"""An entry that no agent ends is buried with its reason, and whoever asked is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from server.fleet.keys import GROUP
from server.jobs import JobFailed

from .alone import job, over_redis, take_as
from .redis_server import RedisServer
from .roads import KNEE, RedisRoad, until

ROOM = 3 * KNEE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.mark.parametrize(("died", "buried"), [(1, False), (2, False), (3, True)])
def test_job_whose_agents_die_is_tried_three_times(server: RedisServer, died: int, buried: bool) -> None:
    async def test(road: RedisRoad) -> None:
        work = road.keys.work(road.line.model.fingerprint, "interactive")
        first = await road.submit(job(0, n=ROOM))
        await until(lambda: 0 in road.worker.jobs)
        answer = await road.submit(job(1))
        with server.client() as client:
            (entry,) = take_as(client, work, "dead-1")
            for number in range(1, died):
                client.xclaim(work, GROUP, f"dead-{number + 1}", 0, [entry])
            road.worker.answer(0)
            await first
            if not buried:
                await until(lambda: 1 in road.worker.jobs)
                road.worker.answer(1)
                await asyncio.wait_for(answer, 30)
                assert client.xlen(road.keys.dead) == 0
                return
            await asyncio.wait({answer}, timeout=30)
            error = answer.exception()
            assert isinstance(error, JobFailed)
            assert str(error) == "the workers that had this request died 3 times"
            ((_, letter),) = client.xrange(road.keys.dead)
            assert letter[b"reason"] == str(error).encode()
            assert json.loads(letter[b"job"])["seed"] == 1
            assert client.pttl(road.keys.dead) > 0

    over_redis(server, test, fleet=f"died-{died}")


def test_job_in_its_last_try_has_no_company(server: RedisServer) -> None:
    """Else the innocent that are with the killer three times would be taken for killers."""

    async def test(road: RedisRoad) -> None:
        work = road.keys.work(road.line.model.fingerprint, "interactive")
        first = await road.submit(job(0, n=ROOM))
        await until(lambda: 0 in road.worker.jobs)
        answers = [await road.submit(job(seed)) for seed in (1, 2)]
        with server.client() as client:
            entries = take_as(client, work, "dead-1")
            client.xclaim(work, GROUP, "dead-2", 0, entries)
        road.worker.answer(0)
        await first
        for _ in range(2):
            await until(lambda: road.worker.jobs)
            await asyncio.sleep(0.4)
            (alone,) = road.worker.jobs
            road.worker.answer(alone)
        await asyncio.wait_for(asyncio.gather(*answers), 30)

    over_redis(server, test, fleet="alone")


def test_job_of_a_later_version_is_refused_with_words(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was sent when no worker was there that cannot read it."""

    async def test(road: RedisRoad) -> None:
        first = await road.submit(job(0, n=ROOM))  # the agent has no room
        await until(lambda: 0 in road.worker.jobs)
        with monkeypatch.context() as later:
            later.setattr("server.fleet.codec.needs", lambda job: 2)
            answer = await road.submit(job(1))
        road.worker.answer(0)
        await first
        await asyncio.wait({answer}, timeout=30)
        error = answer.exception()
        assert isinstance(error, JobFailed)
        assert str(error).endswith("written in version 2, and this worker reads up to version 1; upgrade the workers")
        with server.client() as client:
            assert client.xlen(road.keys.dead) == 1

    over_redis(server, test, fleet="version")


@pytest.mark.parametrize(
    "fields",
    [{"nonsense": "1"}, {"v": 1, "api": "x", "number": 1, "deadline": 9e9, "row_steps": 1, "size": 0, "job": "{"}],
)
def test_entry_that_makes_no_sense_stops_nobody(server: RedisServer, fields: dict[str, str]) -> None:
    async def test(road: RedisRoad) -> None:
        work = road.keys.work(road.line.model.fingerprint, "interactive")
        with server.client() as client:
            client.xadd(work, fields)
            answer = await road.submit(job(1))
            await until(lambda: 1 in road.worker.jobs)
            road.worker.answer(1)
            await asyncio.wait_for(answer, 30)
            await until(lambda: client.xlen(work) == 0)
            assert client.xlen(road.keys.dead) == 1

    over_redis(server, test, fleet=f"nonsense-{len(fields)}")
