"""A request that is not understood whole is refused: no header and no body is passed over in silence."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from .conftest import Server, Start

FIRST = b"GET /generate?seed=1 HTTP/1.1\r\n"
POST = b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
BODY = b'content-length: 10\r\n\r\n{"seed":1}'


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


def ask(server: Server, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the reply to some bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
        link.sendall(data)
        received = b""
        while b"\r\n\r\n" not in received:
            received += link.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        while len(body) < int(headers.get("content-length", 0)):
            body += link.recv(65536)
        return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (FIRST + b"\r\n", 400, "one Host header, and this one has 0"),
        (FIRST + b"host: a\r\nhost: b\r\n\r\n", 400, "one Host header, and this one has 2"),
        (
            POST + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            501,
            "Transfer-Encoding 'gzip, chunked'",
        ),
        (POST + b"upgrade: h2c\r\nconnection: upgrade\r\n" + BODY, 501, "goes without it"),
        (POST + b"content-encoding: gzip\r\n" + BODY, 415, "Content-Encoding 'gzip'"),
        (FIRST + b"host: x\r\n" + BODY, 400, "takes its fields from the query"),
        (
            b"GET /generate?seed=" + b"1" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
            431,
            "over the limit of 65536 bytes",
        ),
    ],
    ids=["no-host", "two-hosts", "transfer-coding", "upgrade-with-body", "compressed", "get-with-body", "long-url"],
)
def test_refused(server: Server, data: bytes, status: int, said: str) -> None:
    got, headers, body = ask(server, data)
    assert got == status
    assert headers["content-type"] == "application/problem+json"
    assert said in json.loads(body)["detail"]


def test_the_same_without_what_is_wrong_is_served(server: Server) -> None:
    for data in (
        FIRST + b"host: x\r\n\r\n",
        FIRST + b"host: x\r\ncontent-length: 0\r\n\r\n",
        b"GET /generate?seed=1 HTTP/1.0\r\n\r\n",
        FIRST + b"host: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        POST + BODY,
        POST + b"content-encoding: identity\r\n" + BODY,
        POST + b'transfer-encoding: chunked\r\n\r\na\r\n{"seed":1}\r\n0\r\n\r\n',
    ):
        got, headers, _ = ask(server, data)
        assert (got, headers["longjump-seed"]) == (200, "1")


def test_two_headers_of_one_name_are_one_list(server: Server) -> None:
    """The second does not hide the first: no-store holds."""
    ask(server, FIRST + b"host: x\r\n\r\n")
    _, headers, _ = ask(server, FIRST + b"host: x\r\n\r\n")
    assert headers["longjump-cache"] == "hit", "the control"
    _, headers, _ = ask(server, FIRST + b"host: x\r\ncache-control: no-store\r\ncache-control: max-age=0\r\n\r\n")
    assert (headers["longjump-cache"], headers["cache-control"]) == ("miss", "no-store")


def test_entity_tags_are_read_as_tags(server: Server) -> None:
    tag = ask(server, FIRST + b"host: x\r\n\r\n")[1]["etag"].removeprefix("W/")
    for given, status in (
        (tag, 304),
        (f"W/{tag}", 304),
        (f'"other", W/"more" , {tag}', 304),
        ("*", 304),
        ('"a,*,b"', 200),
        (tag.strip('"'), 200),
        ('"other"', 200),
    ):
        assert ask(server, FIRST + f"host: x\r\nif-none-match: {given}\r\n\r\n".encode())[0] == status, given


@pytest.mark.parametrize("written", ["1_0", "1.0", "%2B1", "%201", "0x1", "1e0"])
def test_whole_numbers_are_written_as_such(server: Server, written: str) -> None:
    """Python would read some of them: 1_0 as ten."""
    reply = server.client.get(f"/generate?seed={written}")
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == "seed"
