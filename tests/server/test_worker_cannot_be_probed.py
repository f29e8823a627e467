"""The pages of a worker tell its supervisor and Prometheus the truth, and nobody can hold it up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from server.observe import page
from server.observe.metrics import Metrics


@asynccontextmanager
async def opened(why: list[str | None]) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """A page that is unready for the last of the reasons, and a client of it."""
    server = await page.open_page("127.0.0.1", 0, Metrics(), lambda: why[-1])
    port: int = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client, port


def test_ready_is_told_when_it_is_so() -> None:
    async def scene() -> None:
        why: list[str | None] = ["Redis does not answer"]
        async with opened(why) as (client, _):
            assert (await client.get("/livez")).status_code == 200
            reply = await client.get("/readyz")
            assert (reply.status_code, reply.text) == (503, "Redis does not answer\n")
            why.append(None)
            assert (await client.get("/readyz?verbose")).status_code == 200

    asyncio.run(scene())


def test_metrics_are_those_of_the_process() -> None:
    async def scene() -> None:
        async with opened([None]) as (client, _):
            reply = await client.get("/metrics")
            assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert "longjump_build_info" in reply.text
            head = await client.head("/metrics")
            assert (head.text, head.headers["content-length"]) == ("", reply.headers["content-length"])

    asyncio.run(scene())


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/generate", 404), ("POST", "/metrics", 405)])
def test_nothing_else_is_there(method: str, path: str, status: int) -> None:
    async def scene() -> None:
        async with opened([None]) as (client, _):
            assert (await client.request(method, path)).status_code == status

    asyncio.run(scene())


@pytest.mark.parametrize(
    "sent", [b"\r\n\r\n", b"no http\r\n\r\n", b"GET /livez\r\n\r\n", b"x" * 3 * page.MAX_HEAD, b""]
)
def test_nonsense_ends_no_more_than_its_connection(sent: bytes) -> None:
    async def scene() -> None:
        async with opened([None]) as (client, port):
            with socket.create_connection(("127.0.0.1", port)) as other:
                other.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(other, sent)
                other.shutdown(socket.SHUT_WR)
                assert (await client.get("/livez")).status_code == 200

    asyncio.run(scene())


def test_silence_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "HEAD_SECONDS", 0.05)

    async def scene() -> None:
        async with opened([None]) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /livez HTTP/1.1\r\n")
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()

    asyncio.run(scene())
