"""A client that goes away takes its rows with it, whether they wait or run."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

from server.backend.dispatch import Dispatch
from server.backend.queue import MemoryQueue
from server.http.departure import Asked, Departures, Watch
from server.jobs import CancelStage
from server.schedule.admission import Bounds
from server.schedule.costs import Costs
from server.schedule.placement import ROOM_TICKS

from .conftest import PATIENCE, Server, Start, eventually, make_job
from .test_head_has_no_end import Wire as HttpWire
from .test_head_has_no_end import connect
from .wires import Wire, dispatch, settled


def ask_and_leave(server: Server, target: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"POST {target} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
    return connection


def test_disconnect_frees_row(start: Start, images: Path) -> None:
    server = start(images, "--max-rows", "1", held=True)
    kept = server.send("/generate?seed=1&steps=4")
    server.wait_for("longjump_running", 1)
    # Some that the worker has, and some that wait in the queue.
    leaving = []
    for count, (seed, n) in enumerate(((2, 1), (3, 1), (4, 8), (5, 1)), start=2):
        leaving.append(ask_and_leave(server, f"/generate?seed={seed}&steps=4&n={n}"))
        eventually(lambda count=count: server.accepted() == count, f"{count} accepted")  # in this order
    assert server.metric("longjump_waiting") == 5 - ROOM_TICKS
    for connection in leaving:
        connection.close()
    eventually(lambda: server.accepted() == 1, "four were freed")
    server.open_gate()
    # Those in the queue are counted at once, those at the worker when it says where they were.
    eventually(lambda: server.metric('longjump_cancelled_total{stage="waiting"}') == 4, "none had had a tick")
    assert kept.result().status_code == 200
    # The first tick was under way with one row when the others left; no tick has had a row of theirs.
    assert server.metric("longjump_tick_rows_sum") == server.metric("longjump_tick_rows_count") == 4
    gone = 'longjump_requests_total{code="499",endpoint="generate",priority="interactive",steps="4"}'
    assert server.metric(gone) == 4


def test_departure_before_and_after_the_work_began_is_told_once() -> None:
    async def scenario() -> None:
        told: list[str] = []
        departures = Departures()
        departures.add(before := lambda: told.append("before"))
        departures.add(lambda: told.append("waiting"))
        departures.discard(before)
        departures.happen()
        departures.happen()
        assert told == ["waiting"]
        departures.add(lambda: told.append("late"))
        await asyncio.sleep(0)
        assert told == ["waiting", "late"], "the client had left while the request was read"

    asyncio.run(scenario())


def test_other_asgi_servers_are_asked() -> None:
    async def scenario() -> None:
        left = asyncio.Event()
        told: list[str] = []

        async def receive() -> dict[str, str]:
            await left.wait()
            return {"type": "http.disconnect"}

        watch: Watch = Asked(receive)
        watch.add(dropped := lambda: told.append("dropped"))
        watch.add(lambda: told.append("kept"))
        watch.discard(dropped)
        left.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert told == ["kept"]

    asyncio.run(scenario())


class Read(HttpWire):
    """A transport that knows whether anybody reads from it: only then is the end of the connection seen."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def test_long_upload_leaves_the_connection_read() -> None:
    async def scenario() -> None:
        read, go = asyncio.Event(), asyncio.Event()

        async def work(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["more_body"]:
                pass
            read.set()
            await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

        protocol, _ = connect()
        wire = Read()
        protocol.connection_made(wire)
        protocol.app = work
        upload = b"x" * 200_000
        post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(upload)
        protocol.data_received(post + upload[:100_000])
        assert not wire.reading, "what nobody has fetched yet is bounded"
        await settled()
        assert wire.reading
        protocol.data_received(upload[100_000:])
        await read.wait()
        assert wire.reading, "the client may leave while its work is done"
        protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert not wire.reading, "one request behind another is enough"
        go.set()
        await settled()
        assert wire.said.count(b"200 OK") == 2
        protocol.connection_lost(None)

    asyncio.run(scenario())


def test_who_waits_for_all_jobs_does_not_wait_for_one_that_was_given_up() -> None:
    async def scenario() -> None:
        jobs = dispatch()
        answer = await jobs.submit(make_job(1))
        idle = asyncio.ensure_future(jobs.idle())
        await settled()
        assert not idle.done()
        jobs.cancel(1)
        await asyncio.wait_for(idle, PATIENCE)
        assert answer.cancelled()

    asyncio.run(scenario())


def test_client_that_leaves_when_its_work_is_done_is_not_counted() -> None:
    async def scenario() -> None:
        told: list[CancelStage] = []
        jobs = Dispatch(MemoryQueue(Bounds(10, 10, 10)), Costs(1), cancelled=told.append)
        wire = Wire(jobs)
        await jobs.submit(make_job(1))
        wire.answer("done", 1)
        jobs.cancel(1)  # before the flight was told of its end
        assert told == []
        await jobs.submit(make_job(2))
        wire.die()
        jobs.cancel(2)
        assert told == ["waiting"]

    asyncio.run(scenario())
