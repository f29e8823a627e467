"""One line for each request, which says what became of it, and which nothing that a client sends can break or fake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from server.jobs import Stages
from server.observe.account import Account, Caller
from server.observe.logs import as_text, request_line

from .conftest import Server, Start, eventually

FORGED = '/x\n{"level": "error"} status=200 \x1b[31m" client=admin'


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images, "--log-requests", "--log-format", "json")


def logged(server: Server, request_id: str) -> dict[str, object]:
    """The line of a request."""

    def find() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in "".join(server.said).splitlines()]
        return [line for line in lines if line.get("request_id") == request_id]

    eventually(find, f"{request_id} is logged")
    (line,) = find()
    return line


def test_line_says_what_became_of_a_request(server: Server) -> None:
    reply = server.client.get("/generate?seed=1&steps=2", headers={"x-request-id": "a/1.b-2"})
    assert reply.headers["x-request-id"] == "a/1.b-2"
    line = logged(server, "a/1.b-2")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    times = {name: line.pop(name) for name in tuple(line) if name.endswith("ms")}
    assert set(times) == {"ms", "queue_ms", "network_ms", "decode_ms", "encode_ms"}
    assert line == {
        "level": "info",
        "message": "request",
        "request_id": "a/1.b-2",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/generate",
        "status": 200,
        "model": "tiny",
        "steps": 2,
        "source": "run",
    }


def test_cached_and_refused_say_so(server: Server) -> None:
    server.client.get("/generate?seed=1&steps=1")
    server.client.get("/generate?seed=1&steps=1", headers={"x-request-id": "again"})
    line = logged(server, "again")
    assert line["source"] == "cache"
    assert "network_ms" not in line
    refused = server.client.get("/generate?seed=1&steps=3")
    line = logged(server, refused.headers["x-request-id"])
    assert (line["status"], line["refused"]) == (422, "invalid-request")


@pytest.mark.parametrize("insane", ["", "two words", 'quote"', "x" * 129, "é"])
def test_insane_ids_are_replaced(server: Server, insane: str) -> None:
    reply = server.client.get("/livez", headers=[(b"x-request-id", insane.encode())])
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", reply.headers["x-request-id"])


def test_a_path_is_data(server: Server) -> None:
    reply = server.client.get("/x%0a%22%7b%7d%1b?seed=1")
    assert logged(server, reply.headers["x-request-id"])["path"] == '/x\n"{}\x1b'
    assert all(json.loads(line) for line in "".join(server.said).splitlines())


def test_clients_mistake_is_one_line_of_no_warning(server: Server) -> None:
    reply = server.client.post(
        "/variations", content=b"--a\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert reply.status_code == 400
    logged(server, reply.headers["x-request-id"])
    lines = [json.loads(line) for line in "".join(server.said).splitlines()]
    assert not [line for line in lines if "boundary" in line["message"]]


def test_text_has_one_line_and_no_forged_field() -> None:
    stages = Stages(0.001, 0.002, 0.0001, 0.0002)
    account = Account("generate", 200, None, "tiny", 4, "run", stages, first_image=0.0015)
    text = as_text(request_line("GET", FORGED, Caller("alice", "id-1"), account, 0.0, 0.004))
    assert text == (
        "time=1970-01-01T00:00:00.000Z request_id=id-1 client=alice method=GET "
        'path="/x\\n{\\"level\\": \\"error\\"} status=200 \\u001b[31m\\" client=admin" status=200 ms=4.0 model=tiny '
        "steps=4 source=run first_image_ms=1.5 queue_ms=1.0 network_ms=2.0 decode_ms=0.1 encode_ms=0.2"
    )
