"""Idempotency-Key over the API processes of a fleet: whichever is asked, a key is answered once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from server.fleet.answers import SharedAnswers
from server.fleet.connection import Redis
from server.fleet.keys import Keys
from server.fleet.pipe import Pipe
from server.fleet.where import Where
from server.http.once import KEPT_BYTES, Reply

from ..conftest import eventually
from .conftest import Fleet
from .redis_server import RedisServer

REPLY = Reply(200, ((b"content-type", b"image/png"), (b"longjump-label", "é".encode("latin-1"))), b"\x89PNG\n\x00")


def test_two_processes_answer_once(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    one, other = fleet.api(), fleet.api()
    headers = {"idempotency-key": str(uuid.uuid4())}
    first = one.send("/generate", headers=headers)
    eventually(lambda: fleet.held()[0] == 1, "it is in Redis")
    joined = other.send("/generate", headers=headers)
    time.sleep(0.3)
    assert fleet.held()[0] == 1
    assert other.client.post("/generate?steps=2", headers=headers).status_code == 422
    agent.open_gate()
    made, again = first.result(), joined.result()
    assert (made.status_code, again.status_code) == (200, 200)
    assert made.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["longjump-seed"] == made.headers["longjump-seed"]


def test_process_that_dies_leaves_its_key_to_others(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    one, other = fleet.api(), fleet.api()
    headers = {"idempotency-key": str(uuid.uuid4())}
    one.send("/generate", headers=headers)
    eventually(lambda: fleet.held()[0] == 1, "it is in Redis")
    one.process.kill()
    joined = other.send("/generate", headers=headers)
    agent.open_gate()
    assert joined.result().status_code == 200
    assert other.client.post("/generate", headers=headers).content == joined.result().content


def test_names_are_taken_for_a_while_and_answers_are_bounded(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)

    async def use(one: SharedAnswers, other: SharedAnswers) -> None:
        request = "r" * 32
        mine, theirs = "m" * 32, "t" * 32
        assert await one.claim("a", request, mine) == "mine"
        assert await other.claim("a", request, theirs) == "running"
        assert await other.claim("a", "q" * 32, theirs) == "other"
        await one.end("a", request, mine, REPLY)
        assert await other.claim("a", request, theirs) == REPLY

        assert await one.claim("b", request, mine) == "mine"
        await one.end("b", request, mine, None)
        assert await other.claim("b", request, theirs) == "mine"
        await one.end("b", request, mine, REPLY)  # too late: it is another's
        assert await one.claim("b", request, mine) == "running"
        await asyncio.sleep(0.4)  # nobody renews here
        assert await one.claim("b", request, mine) == "mine"

        size = KEPT_BYTES // 8
        for number in range(12):
            await one.claim(f"large {number}", request, mine)
            await one.end(f"large {number}", request, mine, Reply(200, (), b"x" * size))
        with server.client() as client:
            assert client.info("memory")["used_memory"] < 2 * KEPT_BYTES
            assert all(client.pttl(key) > 0 for key in client.keys("*"))
        assert isinstance(await other.claim("large 11", request, theirs), Reply)
        assert await other.claim("large 0", request, theirs) == "mine"

    try:
        asyncio.run(_with_two(server, use))
    finally:
        server.kill()


async def _with_two(server: RedisServer, use: Callable[[SharedAnswers, SharedAnswers], Awaitable[None]]) -> None:
    redis = Redis(Where(server.url), "test", print)
    pipes = [Pipe(redis) for _ in range(2)]
    running = [asyncio.create_task(pipe.run()) for pipe in pipes]
    await use(*(SharedAnswers(pipe, Keys("test"), lease=0.3) for pipe in pipes))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
