"""What an agent holds that gives no sign of life is run by another; what it says later changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from server.fleet.codec import answer_fields, result_told
from server.fleet.keys import GROUP
from server.fleet.scripts import script
from server.jobs import Result, Stages

from .alone import job, over_redis, take_as
from .redis_server import RedisServer
from .roads import KNEE, PlayedLine, RedisRoad, until

ROOM = 3 * KNEE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


def test_work_of_a_dead_agent_is_run_by_another(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        answers = [await road.submit(job(seed)) for seed in range(4)]
        await until(lambda: len(road.worker.jobs) == 4)
        await road.agents[0].close()  # as a kill -9: it says nothing any more
        other = PlayedLine()
        await road.join(other, "agent-2")
        await until(lambda: len(other.worker.jobs) == 4, "the other agent has them")
        for seed in range(4):
            other.worker.answer(seed)
        results = await asyncio.wait_for(asyncio.gather(*answers), 30)
        assert [result.blobs for result in results] == [[b"picture %d" % seed] for seed in range(4)]

    over_redis(server, test, fleet="dead")


@pytest.mark.alone
def test_agent_that_works_for_long_keeps_its_work(server: RedisServer) -> None:
    """Control: the lease is renewed for as long as the agent lives, however long the work takes."""

    async def test(road: RedisRoad) -> None:
        other = PlayedLine()
        answer = await road.submit(job(1))
        await until(lambda: 1 in road.worker.jobs)
        await road.join(other, "agent-2")
        await asyncio.sleep(2.5)
        assert other.worker.seen == []
        road.worker.answer(1)
        await asyncio.wait_for(answer, 30)

    over_redis(server, test, fleet="long", lease=0.8)


def test_agent_without_workers_leaves_its_work_to_others(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.fleet.agent.REPLACE_SECONDS", 0.2)

    async def test(road: RedisRoad) -> None:
        answer = await road.submit(job(1))
        await until(lambda: 1 in road.worker.jobs)
        road.worker.die()
        other = PlayedLine()
        await road.join(other, "agent-2")
        await until(lambda: 1 in other.worker.jobs, "the other agent has it")
        other.worker.answer(1)
        await asyncio.wait_for(answer, 30)

    over_redis(server, test, fleet="workerless")


def test_agent_that_wakes_up_answers_nobody_a_second_time(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        line = road.line
        work = road.keys.work(line.model.fingerprint, "interactive")
        first = await road.submit(job(0, n=ROOM))  # the agent has no room
        await until(lambda: 0 in road.worker.jobs)
        answer = await road.submit(job(1))
        with server.client() as client:
            (entry,) = take_as(client, work, "sleeper")
            road.worker.answer(0)
            await first
            await until(lambda: 1 in road.worker.jobs, "it was taken from the sleeper")
            road.worker.answer(1, labels=[7])
            result = await asyncio.wait_for(answer, 30)
            # The sleeper wakes up and is done with it too.
            keys = (*road.keys.queue(line.model.fingerprint, "interactive"), road.keys.reply("api"), road.keys.dead)
            told = answer_fields("1", "done", result_told(Result([8], Stages(0, 0, 0, 0), [b"late"])), [b"late"])
            fields = ("interactive", entry, 1, 0, 1000, len(told) // 2, 1000, *told)
            assert client.execute_command(*script("finish", keys, *fields)) == 0
            assert client.execute_command(*script("keep", [work], "sleeper", 0, entry)) == [entry]
        assert result.labels == [7]

    over_redis(server, test, fleet="sleeper")


def test_first_answer_wins_and_the_other_agent_stops(server: RedisServer) -> None:
    """The one that was taken for dead may be the first to be done: the other's work is dropped."""

    async def test(road: RedisRoad) -> None:
        line = road.line
        work = road.keys.work(line.model.fingerprint, "interactive")
        first = await road.submit(job(0, n=ROOM))
        await until(lambda: 0 in road.worker.jobs)
        answer = await road.submit(job(1))
        with server.client() as client:
            (entry,) = take_as(client, work, "sleeper")
            road.worker.answer(0)
            await first
            await until(lambda: 1 in road.worker.jobs)
            keys = (*road.keys.queue(line.model.fingerprint, "interactive"), road.keys.reply("api"), road.keys.dead)
            told = answer_fields("1", "failed", {"reason": "the sleeper says so"})
            fields = ("interactive", entry, 1, 0, 1000, len(told) // 2, 1000, *told)
            assert client.execute_command(*script("finish", keys, *fields)) == 1
        await asyncio.wait({answer}, timeout=30)
        assert str(answer.exception()) == "the sleeper says so"
        await until(lambda: road.worker.cancelled == [1], "the other one hears that it is over")

    over_redis(server, test, fleet="first")


def test_leaving_agent_hands_back_what_it_cannot_finish(server: RedisServer) -> None:
    """At once, without a lease going by, and as if it had not been tried."""

    async def test(road: RedisRoad) -> None:
        answers = [await road.submit(job(seed)) for seed in range(3)]
        await until(lambda: len(road.worker.jobs) == 3)
        other = PlayedLine()
        await road.join(other, "agent-2")
        assert await road.agents[0].drain(0.1) == 3
        await until(lambda: len(other.worker.jobs) == 3)
        with server.client() as client:
            work = road.keys.work(road.line.model.fingerprint, "interactive")
            pending = client.xpending_range(work, GROUP, "-", "+", 10)
            assert {one["times_delivered"] for one in pending} == {1}
        for seed in range(3):
            other.worker.answer(seed)
        await asyncio.wait_for(asyncio.gather(*answers), 30)

    over_redis(server, test, fleet="leaving", lease=5.0)


def test_agent_takes_no_more_than_it_has_room_for(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        answers = [await road.submit(job(seed)) for seed in range(20)]
        await asyncio.sleep(0.3)
        assert len(road.worker.seen) == ROOM
        other = PlayedLine()
        await road.join(other, "agent-2")
        await until(lambda: len(other.worker.seen) == ROOM)
        while not all(answer.done() for answer in answers):
            for worker in (road.worker, other.worker):
                for seed in list(worker.jobs):
                    worker.answer(seed)
            await asyncio.sleep(0.002)
        assert sorted(road.worker.seen + other.worker.seen) == list(range(20))

    over_redis(server, test, fleet="room")
