"""Jobs of a fleet: any API process answers for them, one that dies leaves them to others, and they end once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.errands.errand import End, Errand
from server.errands.store import Bounds, Due, Full, Unreachable
from server.fleet.connection import Redis
from server.fleet.errands import SharedStore
from server.fleet.keys import Keys
from server.fleet.pipe import Pipe
from server.fleet.where import Where
from server.http.once import Reply

from ..conftest import Server, eventually
from ..test_job_is_lost import errand
from .conftest import Fleet
from .redis_server import RedisServer

KEYS = Keys("test")
REPLY = Reply(200, ((b"content-type", b"image/png"),), b"\x89PNG\n\x00")
BOUNDS = Bounds(open=3, ttl=0.6, result_bytes=100_000)
LEASE = 3.0
"""Seconds for which others leave a job alone: its parts are longer than a busy machine takes to ask."""
SENT = 1.5
"""Seconds after which a message counts as not sent: longer than a busy machine takes to ask."""


def take_in(api: Server, seed: int, **options: Any) -> str:
    """The place of a new job."""
    answer = api.client.post("/jobs", json={"seed": seed, "steps": 2, "label": "dog"}, **options)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


def state(api: Server, place: str) -> str:
    answer: httpx.Response = api.client.get(place)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


def test_any_process_answers_and_the_death_of_one_loses_nothing(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    one, other = fleet.api(), fleet.api()
    places = [take_in(one, seed) for seed in range(4)]
    eventually(lambda: all(state(other, place) == "running" for place in places), "all are begun")
    one.process.kill()
    agent.open_gate()
    for seed, place in enumerate(places):
        eventually(lambda place=place: state(other, place) == "done", "another one ended it")  # type: ignore[misc]
        made = other.client.get(place + "/result")
        expected = other.client.get(f"/generate?seed={seed}&steps=2&label=dog")
        assert made.content == expected.content
    assert {other.client.get(place).json()["attempts"] for place in places} <= {1, 2}


def test_stopping_process_hands_its_jobs_over(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    one = fleet.api("--drain-seconds", "1")
    places = [take_in(one, seed) for seed in range(3)]
    eventually(lambda: all(state(one, place) == "running" for place in places), "all are begun")
    one.process.send_signal(signal.SIGTERM)
    one.process.wait(60)
    assert "jobs were not finished" not in "".join(one.said)
    other = fleet.api()
    agent.open_gate()
    for place in places:
        eventually(lambda place=place: state(other, place) == "done", "another one ended it")  # type: ignore[misc]
        assert other.client.get(place).json()["attempts"] == 1  # the first was none of its fault


def test_job_is_cancelled_through_another_process(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    one, other = fleet.api(), fleet.api()
    place = take_in(one, 1)
    eventually(lambda: fleet.held()[0] == 1, "its work is in Redis")
    assert other.client.delete(place).json()["state"] == "cancelled"
    eventually(lambda: fleet.held()[0] in (0, 1) and state(one, place) == "cancelled", "it is over")
    agent.open_gate()
    eventually(lambda: fleet.held() == (0, {}), "its work is gone")
    assert state(one, place) == "cancelled"


def test_jobs_wait_for_a_worker(fleet: Fleet, images: Path) -> None:
    worker = fleet.worker(images)
    api = fleet.api()
    worker.end()
    eventually(lambda: api.client.get("/readyz").status_code == 503, "the worker is missed")
    place = take_in(api, 3)
    fleet.worker(images)
    eventually(lambda: state(api, place) == "done", "the new one did it")


def held(client: Any) -> dict[bytes, Any]:
    """All that is in Redis."""
    read = {b"hash": client.hgetall, b"zset": lambda key: client.zrange(key, 0, -1, withscores=True)}
    return {key: read[client.type(key)](key) for key in client.keys("*")}


def with_stores(folder: Path, use: Callable[[RedisServer, SharedStore, SharedStore], Awaitable[None]]) -> None:
    """Two processes' stores over one Redis."""
    server = RedisServer(folder)

    async def run() -> None:
        redis = Redis(Where(server.url), "test", print)
        pipe, large = Pipe(redis), Pipe(redis)
        running = [asyncio.create_task(one.run()) for one in (pipe, large)]
        one, other = (SharedStore(pipe, large, KEYS, name, BOUNDS, lease=LEASE) for name in ("one", "other"))
        await use(server, one, other)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    try:
        asyncio.run(run())
    finally:
        server.kill()


def test_the_first_end_counts(tmp_path: Path) -> None:
    async def use(server: RedisServer, one: SharedStore, other: SharedStore) -> None:
        await one.add(errand(1))
        (taken,) = await one.take(5)
        assert (taken.errand, taken.attempts) == (errand(1), 1)
        assert not await other.take(5)
        await asyncio.sleep(0.6 * LEASE)
        assert not await one.keep(["1"])
        await asyncio.sleep(0.6 * LEASE)
        assert not await other.take(5)  # it was kept
        await asyncio.sleep(0.6 * LEASE)
        (taken,) = await other.take(5)  # the first is frozen
        assert taken.attempts == 2
        assert list(await one.keep(["1"])) == ["1"]
        assert not await one.end("1", End("failed"))  # and wakes
        assert await other.end("1", End("done"), REPLY)
        assert not await other.end("1", End("failed"))
        record = await one.get("1")
        assert record is not None
        assert (record.state, record.attempts, record.end) == ("done", 2, End("done"))
        assert await one.result("1") == REPLY
        await other.forget("1")
        assert await one.get("1") is None
        assert await one.result("1") is None

    with_stores(tmp_path, use)


def test_oldest_goes_first_and_bounds_hold(tmp_path: Path) -> None:
    async def use(server: RedisServer, one: SharedStore, other: SharedStore) -> None:
        await one.add(errand(3))
        with pytest.raises(Full, match="of yours"):
            await one.add(errand(1))  # of three a client may have one
        for number in (1, 2):
            await asyncio.sleep(0.003)
            await one.add(errand(number, f"client {number}"))
        with pytest.raises(Full, match="the most that are taken in"):
            await other.add(errand(4, "client 4"))
        record = await other.get("2")
        assert record is not None
        assert (record.state, record.ahead) == ("queued", 2)
        assert [taken.errand.id for taken in await other.take(2)] == ["3", "1"]
        await other.leave(["1"], 60.0)
        await other.leave(["3"])
        (taken,) = await one.take(1)
        assert (taken.errand.id, taken.attempts) == ("3", 1)
        assert await one.end("3", End("cancelled"), mine=False)
        await asyncio.sleep(0.7)
        assert await one.get("3") is None  # expired
        for number in range(100, 150):
            await one.add(errand(number))
            assert await one.end(str(number), End("done"), Reply(200, (), b"x" * 20_000), mine=False)
        with server.client() as client:
            assert sum(map(len, client.hgetall(KEYS.shelf("results")[0]).values())) < 101_000
            assert client.zcard(KEYS.errands[2]) <= 30
            assert client.hlen(KEYS.errands[0]) < 40 * 7
            assert all(client.pttl(key) > 0 for key in client.keys("*"))
        assert await one.get("149") is not None
        assert await one.result("149") is not None

    with_stores(tmp_path, use)


def test_message_is_sent_by_one_and_again_if_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.fleet.errands.SEND_SECONDS", SENT)

    async def due_later(store: SharedStore) -> Due:
        for _ in range(1500):
            if found := await store.due(5):
                (one,) = found
                return one
            await asyncio.sleep(0.02)
        raise AssertionError("the message is never due again")

    async def use(server: RedisServer, one: SharedStore, other: SharedStore) -> None:
        told = Errand("1", "ann", {}, 1, "batch", False, 60.0, "https://example.com/", "whsec_x")
        await one.add(told)
        assert not await one.due(5)
        assert await one.end("1", End("cancelled"), mine=False)
        (due,) = await one.due(5)
        assert (due.record.errand, due.record.told, due.tries) == (told, "waiting", 1)
        assert not await other.due(5)
        assert (await due_later(other)).tries == 2  # the first died with it
        await other.told("1", "waiting", SENT)
        assert not await one.due(5)
        await due_later(one)
        await one.told("1", "delivered")
        await asyncio.sleep(1.2 * SENT)
        assert not await other.due(5)
        record = await one.get("1")
        assert record is None or record.told == "delivered"

    with_stores(tmp_path, use)


def test_message_of_a_later_version_holds_no_other_up(tmp_path: Path) -> None:
    async def use(server: RedisServer, one: SharedStore, other: SharedStore) -> None:
        for number in ("1", "2"):
            await one.add(Errand(number, "ann", {}, 1, "batch", False, 60.0, "https://example.com/", "whsec_x"))
            assert await one.end(number, End("cancelled"), mine=False)
        with server.client() as client:
            hashes = (key for key in client.keys("*") if client.type(key) == b"hash")
            (records,) = (key for key in hashes if client.hexists(key, "1/errand"))
            client.hset(records, "1/errand", b'{"v": 2, ' + client.hget(records, "1/errand")[1:])
        assert [due.record.errand.id for due in await one.due(5)] == ["2"]

    with_stores(tmp_path, use)


def test_full_redis_leaves_nothing_half_written(tmp_path: Path) -> None:
    async def use(server: RedisServer, one: SharedStore, other: SharedStore) -> None:
        await one.add(errand(1))
        await one.take(1)
        with server.client() as client:
            before = held(client)
            client.config_set("maxmemory", 1)
            for work in (one.add(errand(2, "bob")), one.end("1", End("done"), REPLY), one.end("1", End("failed"))):
                with pytest.raises(Unreachable, match="its memory is full"):
                    await work
            assert held(client) == before
            client.config_set("maxmemory", 0)
        assert await one.end("1", End("done"), REPLY)
        assert await other.result("1") == REPLY

    with_stores(tmp_path, use)


def test_events_end_with_a_stopping_process_and_go_on_at_another(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    one, other = fleet.api("--drain-seconds", "20"), fleet.api()
    place = take_in(one, 1)
    eventually(lambda: state(one, place) == "running", "it is begun")
    with one.client.stream("GET", place + "/events") as response:
        one.process.send_signal(signal.SIGTERM)
        told = list(response.iter_lines())
    assert ": this server stops; ask again" in told
    assert '"state": "done"' not in "".join(told)
    agent.open_gate()
    with other.client.stream("GET", place + "/events") as response:
        assert '"state": "done"' in list(response.iter_lines())[-2]


def test_job_outlives_a_restart_of_redis(tmp_path: Path, images: Path) -> None:
    fleet = Fleet(tmp_path, RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always"))
    try:
        agent = fleet.worker(images, held=True)
        api = fleet.api()
        places = [take_in(api, seed) for seed in range(3)]
        eventually(lambda: all(state(api, place) == "running" for place in places), "all are begun")
        fleet.redis.kill()
        eventually(lambda: api.client.get(places[0]).status_code == 503, "Redis is missed")
        assert api.client.post("/jobs").status_code == 503
        agent.open_gate()
        fleet.redis.start()
        for place in places:
            eventually(lambda place=place: api.client.get(place).status_code == 200, "it is found")  # type: ignore[misc]
            eventually(lambda place=place: state(api, place) == "done", "it is done")  # type: ignore[misc]
    finally:
        fleet.end()


def test_redis_that_forgot_is_said_and_new_jobs_run(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    api = fleet.api()
    place = take_in(api, 1)
    eventually(lambda: state(api, place) == "running", "it is begun")
    fleet.redis.kill()
    fleet.redis.start()
    eventually(lambda: api.client.get(place).status_code == 404, "it is lost, and that is said")
    agent.open_gate()
    eventually(lambda: api.client.get("/readyz").status_code == 200, "the fleet is together again")
    new = take_in(api, 2)
    eventually(lambda: state(api, new) == "done", "a new one is done")
    eventually(lambda: api.metric("longjump_jobs_running") == 0, "nobody works on the lost one")


def test_many_jobs_survive_the_death_of_a_process_and_of_a_worker(fleet: Fleet, images: Path) -> None:
    agents = [fleet.worker(images, held=True) for _ in range(2)]
    one, other = fleet.api(), fleet.api()
    places = [take_in((one, other)[seed % 2], seed) for seed in range(60)]
    eventually(lambda: fleet.held()[0] >= 20, "both are at work on some, the rest waits")
    one.process.kill()
    agents[0].end()
    agents[1].open_gate()
    for seed, place in enumerate(places):
        eventually(lambda place=place: state(other, place) == "done", "it is done")  # type: ignore[misc]
        if seed % 10 == 0:
            made = other.client.get(place + "/result")
            assert made.content == other.client.get(f"/generate?seed={seed}&steps=2&label=dog").content
    assert other.metric('longjump_jobs_ended_total{outcome="done"}') == 60
    eventually(lambda: fleet.held() == (0, {}), "nothing is left in the queue")


def test_jobs_of_a_model_that_nobody_serves_hold_up_no_others(fleet: Fleet, images: Path, points: Path) -> None:
    fleet.worker(images)
    gone = fleet.worker(points)
    api = fleet.api()
    eventually(lambda: len(api.client.get("/v1/models").json()["data"]) == 2, "both are known")
    gone.process.terminate()
    assert gone.process.wait(60) == 0
    missed = "/generate?model=plane&deadline_ms=1000"
    eventually(lambda: api.client.post(missed).status_code == 503, "one is missed")
    waiting = [str(api.client.post("/jobs?model=plane").headers["location"]) for _ in range(40)]
    place = str(api.client.post("/jobs?model=tiny").headers["location"])
    eventually(lambda: state(api, place) == "done", "the other model's is done")
    assert {state(api, one) for one in waiting} <= {"queued", "running"}
    fleet.worker(points)
    eventually(lambda: state(api, waiting[0]) == "done", "it is served again")
