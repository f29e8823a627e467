"""What a fleet has in Redis ends with it: every key expires, whoever is killed, but for the memory's own name."""

from __future__ import annotations

import asyncio

import pytest

from .alone import job, over_redis
from .redis_server import RedisServer
from .roads import KNEE, RedisRoad, until

ROOM = 3 * KNEE


def forever(server: RedisServer) -> set[bytes]:
    """Keys that never expire."""
    with server.client() as client:
        return {key for key in client.keys("*") if client.pttl(key) == -1}


def test_every_key_of_a_busy_fleet_expires(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        answers = [await road.submit(job(0, n=ROOM))]
        await until(lambda: 0 in road.worker.jobs)
        answers += [await road.submit(job(seed, priority="batch", steps=4, every_step=True)) for seed in (1, 2)]
        for one in (job(3), job(4, n=ROOM)):
            answers.append(await road.submit(one))
            road.cancel(one)
        await asyncio.sleep(1.5)  # an announcement later
        assert forever(server) == {b"{longjump:default}:epoch"}
        for seed in (0, 1, 2):
            await until(lambda seed=seed: seed in road.worker.jobs)
            if seed:
                road.worker.answer(seed, "part", step=1)
            road.worker.answer(seed)
        await asyncio.wait(answers, timeout=30)
        assert forever(server) == {b"{longjump:default}:epoch"}

    over_redis(server, test)


def test_streams_of_an_agent_that_dies_at_once_expire(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it says for the second time that it is there, which is when it renews what is its own."""
    monkeypatch.setattr("server.fleet.agent.ANNOUNCE_SECONDS", 3600.0)

    async def test(road: RedisRoad) -> None:
        with server.client() as client:
            streams = road.keys.queue(road.line.model.fingerprint, "interactive")[:2]
            await until(lambda: client.exists(*streams) == 2)
        await until(lambda: forever(server) == {b"{longjump:default}:epoch"}, "the streams expire")

    over_redis(server, test)


def test_keys_outlive_the_work_that_is_in_them(server: RedisServer) -> None:
    """A stream that expired would take its entries with it."""

    async def test(road: RedisRoad) -> None:
        await road.agents[0].close()
        now = asyncio.get_running_loop().time()
        answer = await road.submit(job(1, deadline=now + 3600.0))
        with server.client() as client:
            for key in road.keys.queue(road.line.model.fingerprint, "interactive")[::2]:
                assert client.pttl(key) > 3600_000
        road.cancel(job(1))
        await asyncio.wait({answer}, timeout=30)

    over_redis(server, test)


def test_leaving_processes_take_their_names_with_them(server: RedisServer) -> None:
    async def test(road: RedisRoad) -> None:
        answer = await road.submit(job(1))
        await until(lambda: 1 in road.worker.jobs)
        road.worker.answer(1)
        await asyncio.wait_for(answer, 30)

    over_redis(server, test)
    with server.client(decode_responses=True) as client:
        for key in client.keys("*"):
            assert "agent-1" not in key, key
            assert "reply" not in key, key
            if ":work:" in key:
                assert client.xinfo_consumers(key, "workers") == []
        assert client.hgetall("{longjump:default}:agents") == {}


def test_names_of_killed_agents_are_swept_out(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.fleet.agent.SWEEP_SECONDS", 0.1)
    monkeypatch.setattr("server.fleet.agent.FORGET_SECONDS", 0.5)

    async def test(road: RedisRoad) -> None:
        work = road.keys.work(road.line.model.fingerprint, "interactive")
        with server.client() as client:
            client.xgroup_createconsumer(work, "workers", "killed")

            def names() -> set[bytes]:
                return {one["name"] for one in client.xinfo_consumers(work, "workers")}

            assert b"killed" in names()
            await until(lambda: b"killed" not in names())

    over_redis(server, test)
