"""The Python client asks again where that helps, passes the server's words on where it does not, and leaks nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import longjump_client
from longjump_client import Busy, Client, ServerError

ROOT = Path(__file__).resolve().parents[2]

HEADERS = (
    "content-type: image/png\r\nlongjump-model: tiny\r\nlongjump-seed: 7\r\nlongjump-label: 0\r\n"
    "longjump-label-name: cat%2C%20small\r\nlongjump-steps: 2\r\nlongjump-guidance: 1\r\n"
    "longjump-fingerprint: f00\r\nserver-timing: queue;dur=1.500, network;dur=20.000\r\n"
)
PICTURE = f"HTTP/1.1 200 OK\r\n{HEADERS}content-length: 7\r\n\r\npicture".encode()


def reply(status: str, document: object, *headers: str) -> bytes:
    body = json.dumps(document)
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


def event(name: str, **data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def stream(*events: str, whole: bool = True) -> bytes:
    chunks = "".join(f"{len(text):x}\r\n{text}\r\n" for text in events)
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return f"{head}{chunks}{'0' if whole else ''}\r\n\r\n".encode()


def shown(steps: int, last: bool) -> str:
    about = {"media_type": "image/png", "model": "tiny", "seed": 7, "label": 0, "label_name": "cat"}
    return event("image", base64="cGljdHVyZQ==", steps=steps, guidance=1.0, fingerprint="f00", last=last, **about)


class Script:
    """A server that gives the replies it was told to, in order. None: it closes the connection without one."""

    def __init__(self) -> None:
        self.replies: list[bytes | None] = []
        self.requests: list[str] = []
        self.connections = 0
        self.ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                head = [line, *iter(reader.readline, b"\r\n")]
                length = next((int(one[15:]) for one in head if one.lower().startswith(b"content-length:")), 0)
                self.requests.append((b"".join(head) + b"\r\n" + reader.read(length)).decode("latin-1"))
                answer = self.replies.pop(0)
                if answer is None:
                    return
                connection.sendall(answer)
            self.ended.set()

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def script() -> Iterator[Script]:
    server = Script()
    yield server
    server.end()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client wanted to wait; it does not."""
    waits: list[float] = []
    monkeypatch.setattr(longjump_client, "time", SimpleNamespace(sleep=waits.append))
    return waits


def test_picture_says_what_made_it(script: Script) -> None:
    script.replies = [PICTURE]
    with Client(script.url, api_key="secret") as client:
        image = client.generate(label="cat", steps=2)
    assert (image.data, image.media_type, image.label_name) == (b"picture", "image/png", "cat, small")
    assert image.recipe() == {"model": "tiny", "seed": 7, "label": 0, "steps": 2, "guidance": 1.0}
    assert image.seconds == {"queue": 0.0015, "network": 0.02}
    (request,) = script.requests
    assert request.startswith("POST /generate HTTP/1.1\r\n")
    assert "authorization: Bearer secret" in request
    assert json.loads(request.rpartition("\r\n")[2]) == {"n": 1, "label": "cat", "steps": 2}


def test_busy_server_is_asked_again_when_it_said(script: Script, slept: list[float]) -> None:
    document = {"status": 429, "detail": "too much to do", "retry_after_seconds": 0.25}
    script.replies = [
        reply("429 Too Many Requests", document, "retry-after: 1"),
        reply("503 Service Unavailable", {"detail": "starting"}, "retry-after: 3"),
        PICTURE,
    ]
    with Client(script.url) as client:
        assert client.generate().data == b"picture"
    assert slept == [0.25, 3.0]


def test_server_that_stays_busy_is_an_error(script: Script, slept: list[float]) -> None:
    busy = reply("429 Too Many Requests", {"detail": "too much to do"}, "retry-after: 900")
    script.replies = [busy, busy]
    with Client(script.url, retries=1) as client, pytest.raises(Busy, match="too much to do") as raised:
        client.generate()
    assert raised.value.retry_after == 900
    assert slept == [longjump_client.MAX_WAIT]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (reply("422 Unprocessable Entity", {"detail": "steps=3 is not", "errors": [{"field": "steps"}]}), "steps=3"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 12\r\n\r\n<h1>Oops\xff</h", "Oops"),
        (reply("500 Internal Server Error", ["no", "object"]), "no"),
    ],
)
def test_refusal_is_not_asked_again(script: Script, slept: list[float], answer: bytes, says: str) -> None:
    script.replies = [answer]
    with Client(script.url) as client, pytest.raises(ServerError, match=says) as raised:
        client.generate(steps=3)
    assert not isinstance(raised.value, Busy)
    assert not slept
    assert len(script.requests) == 1


def test_connection_is_kept_and_a_stale_one_replaced(script: Script) -> None:
    script.replies = [PICTURE, PICTURE, None, PICTURE]
    with Client(script.url) as client:
        client.generate()
        client.generate()
        assert script.connections == 1
        assert client.generate().data == b"picture"
    assert (script.connections, len(script.requests)) == (2, 4)


def test_new_connection_that_breaks_is_an_error(script: Script) -> None:
    """Only an idle connection may have been closed in the meantime; a server that hangs up at once is broken."""
    script.replies = [None]
    with Client(script.url) as client, pytest.raises(ConnectionError):
        client.generate()
    assert len(script.requests) == 1


def test_stream_shows_each_picture_and_keeps_the_connection(script: Script) -> None:
    script.replies = [stream(": alive\n\n", shown(1, False), ": alive\n\n", shown(8, True)), PICTURE]
    with Client(script.url) as client:
        images = list(client.stream(steps=8, seed=7))
        client.generate()
    assert [(image.steps, image.last, image.data) for image in images] == [
        (1, False, b"picture"),
        (8, True, b"picture"),
    ]
    assert "accept: text/event-stream" in script.requests[0]
    assert '"stream": "first"' in script.requests[0]
    assert script.connections == 1


def test_stream_that_fails_midway_is_an_error(script: Script) -> None:
    script.replies = [stream(shown(1, False), event("error", status=504, detail="too late"))]
    with Client(script.url) as client:
        images = client.stream(steps=8)
        assert next(images).steps == 1
        with pytest.raises(ServerError, match="too late"):
            next(images)


def test_leaving_a_stream_closes_its_connection(script: Script) -> None:
    script.replies = [stream(shown(1, False), whole=False)]
    with Client(script.url) as client:
        for _ in client.stream(every_step=True):
            break
        assert script.ended.wait(60)


def test_uploads_say_what_they_are(script: Script) -> None:
    script.replies = [PICTURE, PICTURE]
    with Client(script.url) as client:
        first = client.variations(b"\xff\xd8\xff jpeg", 0.5, seed=3, label="open peeps")
        client.variations(b"RIFF....WEBP", 0.25, n=4)
        with pytest.raises(ValueError, match="PNG, JPEG or WebP"):
            client.variations(b"GIF89a", 0.5)
    assert first.data == b"picture"
    assert script.requests[0].startswith("POST /variations?strength=0.5&n=1&seed=3&label=open%20peeps HTTP/1.1")
    assert ["image/jpeg" in script.requests[0], "image/webp" in script.requests[1]] == [True, True]


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "http://", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        Client(address)


def test_threads_do_not_share_a_connection(script: Script) -> None:
    script.replies = [PICTURE] * 40
    results: list[bytes] = []

    def ask(client: Client) -> None:
        results.extend(client.generate().data for _ in range(5))

    with Client(script.url) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert results == [b"picture"] * 40


def test_client_needs_only_the_standard_library() -> None:
    code = "import sys; before = set(sys.modules); import longjump_client; print(*(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    foreign = {name.partition(".")[0] for name in ran.stdout.split()} - sys.stdlib_module_names
    assert foreign == {"longjump_client"}
