"""A Redis that lost its memory is given again what somebody waits for; one that kept it is not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from server.jobs import Stopped

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import KNEE, RedisRoad, until

ROOM = 3 * KNEE


async def answer_all(road: RedisRoad, answers: list[asyncio.Future]) -> list[bytes]:
    deadline = time.monotonic() + 30
    while not all(answer.done() for answer in answers):
        assert time.monotonic() < deadline
        for seed in list(road.worker.jobs):
            road.worker.answer(seed)
        await asyncio.sleep(0.005)
    return [answer.result().blobs[0] for answer in answers]


def test_flushed_redis_is_given_the_jobs_again(server: RedisServer) -> None:
    """Nobody's connection breaks: only what the memory calls itself tells."""

    async def test(road: RedisRoad) -> None:
        answers = [await road.submit(job(seed, n=3)) for seed in range(6)]
        await until(lambda: len(road.worker.jobs) == 2)
        with server.client() as client:
            client.flushall()
        assert await answer_all(road, answers) == [b"picture %d" % seed for seed in range(6)]

    over_redis(server, test)


def test_restarted_redis_without_memory_is_given_the_jobs_again(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        answers = [await road.submit(job(seed, n=3)) for seed in range(6)]
        await until(lambda: len(road.worker.jobs) == 2)
        server.kill()
        await asyncio.sleep(0.3)
        server.start()
        assert await answer_all(road, answers) == [b"picture %d" % seed for seed in range(6)]
        assert sum("cannot be reached" in line for line in road.said) <= 2, road.said  # once for each side
        assert any("is there again" in line for line in road.said)

    over_redis(server, test)


def test_restarted_redis_with_an_older_memory_is_given_what_came_since(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        with server.client() as client:
            client.save()
        answers = [await road.submit(job(seed, n=3)) for seed in range(6)]
        await until(lambda: len(road.worker.jobs) == 2)
        server.kill()
        server.start()
        with server.client() as client:
            assert client.get(road.keys.epoch) == road.lines._epoch  # it calls itself what it was called
        assert await answer_all(road, answers) == [b"picture %d" % seed for seed in range(6)]

    over_redis(server, test)


def test_restarted_redis_with_its_memory_runs_each_job_once(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    try:

        async def test(road: RedisRoad) -> None:
            answers = [await road.submit(job(seed, n=3)) for seed in range(6)]
            await until(lambda: len(road.worker.jobs) == 2)
            server.kill()
            for seed in list(road.worker.jobs):
                road.worker.answer(seed)  # it is told when Redis is back
            server.start()
            assert await answer_all(road, answers) == [b"picture %d" % seed for seed in range(6)]
            assert sorted(road.worker.seen) == list(range(6))

        over_redis(server, test, lease=3.0)
    finally:
        server.kill()


def test_job_that_nobody_can_find_ends_with_an_error(server: RedisServer) -> None:
    """An entry that somebody deleted by hand: its client is not left waiting."""

    async def test(road: RedisRoad) -> None:
        first = await road.submit(job(0, n=ROOM))
        await until(lambda: 0 in road.worker.jobs)
        answer = await road.submit(job(1, deadline=time.monotonic() + 1.0))
        with server.client() as client:
            client.xtrim(road.keys.work(road.line.model.fingerprint, "interactive"), maxlen=0, approximate=False)
        await asyncio.wait({answer}, timeout=30)
        error = answer.exception()
        assert isinstance(error, Stopped)
        assert "was lost" in str(error)
        road.cancel(job(0))
        assert first.cancelled()

    over_redis(server, test)


def test_request_that_is_given_up_while_it_is_asked_is_taken_back(server: RedisServer) -> None:
    """Its client left, or the server stops, before Redis has said that it has it."""

    async def test(road: RedisRoad) -> None:
        first = await road.submit(job(0, n=ROOM))
        await until(lambda: 0 in road.worker.jobs)
        for give_up in (lambda: road.cancel(job(1)), lambda: road.close("the server stops")):
            submitting = asyncio.ensure_future(road.submit(job(1)))
            await asyncio.sleep(0)
            give_up()
            answer = await submitting
            await asyncio.wait({answer}, timeout=30)
        await asyncio.wait({first}, timeout=30)
        await until(lambda: road.worker.cancelled == [0])
        assert road.worker.seen == [0]

    over_redis(server, test)


def test_request_that_is_given_up_as_redis_takes_it_is_taken_back(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(road: RedisRoad) -> None:
        call_made = road.lines.pipe.call_made

        def call(make: Any) -> asyncio.Future[Any]:
            future: asyncio.Future[Any] = call_made(make)
            future.add_done_callback(give_up)
            return future

        def give_up(done: asyncio.Future[Any]) -> None:
            asked.cancel()

        monkeypatch.setattr(road.lines.pipe, "call_made", call)
        asked: asyncio.Task[Any] = asyncio.create_task(road.submit(job(1)))
        with pytest.raises(asyncio.CancelledError):
            await asked
        monkeypatch.undo()
        answer = await road.submit(job(2))
        await until(lambda: 2 in road.worker.jobs and 1 not in road.worker.jobs)
        road.worker.answer(2)
        await asyncio.wait_for(answer, 30)

    over_redis(server, test)


def test_redis_that_forgot_the_scripts_is_told_them_again(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        for seed in range(3):
            with server.client() as client:
                client.script_flush()
            answer = await road.submit(job(seed))
            await until(lambda seed=seed: seed in road.worker.jobs)
            with server.client() as client:
                client.script_flush()
            road.worker.answer(seed)
            assert (await asyncio.wait_for(answer, 30)).blobs == [b"picture %d" % seed]
        assert road.said == []

    over_redis(server, test)
