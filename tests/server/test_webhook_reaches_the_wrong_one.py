"""Webhooks: only hosts that the command line names are told, what they are told is signed, and they are told again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.server
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.errands.webhook import Hooks, Unsent, pattern, public, secret_key, signature, target

from .conftest import Start, eventually

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()


class Receiver:
    """A client's server: remembers what it is told, and answers with `statuses`, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.told: list[tuple[float, dict[str, str], bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.told.append((time.time(), {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(500, 307)
    yield made
    made.end()


def verify(headers: dict[str, str], body: bytes, secret: str = SECRET) -> bool:
    """As a receiver does it, written from the specification."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{expected}"


def test_signature_is_that_of_the_specification() -> None:
    # The example of standardwebhooks.com's own libraries.
    key = secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_end_is_told_signed_and_again_until_it_is_heard(start: Start, images: Path, receiver: Receiver) -> None:
    server = start(images, "--webhooks", f"http://{receiver.host}", LONGJUMP_WEBHOOK_SECRET=SECRET)
    url = f"http://{receiver.host}/done?for=me"
    own = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    job = server.client.post("/jobs", json={"seed": 7, "webhook": url, "webhook_secret": own}).json()
    place = f"/jobs/{job['id']}"
    eventually(lambda: server.client.get(place).json()["webhook"]["state"] == "delivered", "it is delivered")
    assert len(receiver.told) == 3  # 500, a redirection that nobody follows, 200
    for _, headers, body in receiver.told:
        assert verify(headers, body, own)
        assert not verify(headers, body + b" ", own)
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert len({headers["webhook-id"] for _, headers, _ in receiver.told}) == 1
    document = json.loads(receiver.told[0][2])
    assert document["type"] == "job.done"
    assert document["data"]["result"]["url"] == place + "/result"
    assert own not in server.client.get(place).text

    job = server.client.post("/jobs", json={"seed": 8, "webhook": url}).json()
    eventually(lambda: len(receiver.told) == 4, "the other is told")
    assert verify(receiver.told[3][1], receiver.told[3][2])  # with the server's own
    assert json.loads(receiver.told[3][2])["data"]["id"] == job["id"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1/",
        "http://127.0.0.1/",
        "http://127.0.0.1:{port}@hooks.example.com/",
        "https://hooks.example.com.evil.net/",
        "https://evilhooks.example.com/",
        "https://hooks.example.com:8443/",
        "http://hooks.example.com/",
        "https://hooks.example.com\\@evil.net/",
        "https://hooks.example.com/\r\nx: y",
        "ftp://hooks.example.com/",
        "https:///nowhere",
        "https://hooks.example.com:0/",
        "https://hooks.example.com/" + 2048 * "a",
    ],
)
def test_other_places_are_refused(url: str, receiver: Receiver) -> None:
    hooks = Hooks([pattern("hooks.example.com"), pattern("*.hooks.example.com")], b"k" * 24)
    url = url.replace("{port}", receiver.host.partition(":")[2])
    with pytest.raises(ValueError, match=r"it must|sends no messages"):
        hooks.check(url)
    with pytest.raises(Unsent):
        asyncio.run(hooks.send(url, b"k" * 24, "id", 1, b"{}"))
    assert not receiver.told


@pytest.mark.parametrize(
    "url", ["https://HOOKS.example.com/a?b", "https://a.hooks.example.com./", "https://hooks.example.com:443"]
)
def test_named_places_are_allowed(url: str) -> None:
    hooks = Hooks([pattern("hooks.example.com"), pattern("*.hooks.example.com")])
    assert hooks.check(url).port == 443


def test_any_host_does_not_mean_ones_own(receiver: Receiver) -> None:
    port = receiver.host.partition(":")[2]

    async def send(*allowed: str) -> int:
        hooks = Hooks([pattern(text) for text in allowed])
        return await hooks.send(f"http://localhost:{port}/", b"k" * 24, "id", 1, b"{}")

    with pytest.raises(Unsent, match="no public address"):
        asyncio.run(send(f"http://*:{port}"))
    assert not receiver.told
    assert asyncio.run(send(f"http://localhost:{port}")) == 500  # who names it means it
    assert len(receiver.told) == 1


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "::",
     "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1",
     "::127.0.0.1", "::ffff:0:10.0.0.1", "fec0::1", "2002:7f00:1::", "ff02::1", "240.0.0.1"],
)  # fmt: skip
def test_private_addresses_are_seen(address: str) -> None:
    assert not public(address)


def test_control_public_addresses_are_seen() -> None:
    assert public("9.9.9.9")
    assert public("2620:fe::fe")
    assert public("::ffff:9.9.9.9")


@pytest.mark.parametrize(
    "text", ["", "http://", "a b", "*x.com", "a.*", "host:0", "host:99999", "host:x", "https://h/path"]
)
def test_flag_that_names_no_host(text: str) -> None:
    with pytest.raises(ValueError, match="names no hosts"):
        pattern(text)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_short", "whsec_" + base64.b64encode(b"k" * 23).decode(), "k" * 40]
)
def test_weak_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="random bytes") as refused:
        secret_key(text)
    assert not text.removeprefix("whsec_") or text.removeprefix("whsec_") not in str(refused.value)


def test_silent_receiver_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.errands.webhook.SEND_SECONDS", 0.2)

    async def run() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(5)

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hooks = Hooks([pattern(f"http://127.0.0.1:{port}")])
        with pytest.raises(Unsent, match="no answer in time"):
            await hooks.send(f"http://127.0.0.1:{port}/", b"k" * 24, "id", 1, b"{}")
        server.close()

    asyncio.run(run())


def test_names_that_find_no_answer_hold_up_no_other_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis' own name is looked up by the loop, in one of the few threads that it has for that."""
    look_up, answered = socket.getaddrinfo, threading.Event()

    def slow(host: str, *rest: Any, **options: Any) -> Any:
        if host.endswith(".example"):
            answered.wait(60)
            raise OSError("no such name")
        return look_up(host, *rest, **options)

    monkeypatch.setattr("socket.getaddrinfo", slow)

    async def test() -> None:
        hooks = Hooks([pattern("*")])
        sent = [
            asyncio.create_task(hooks.send(f"https://{number}.example/", b"key", "job_1", 1, b""))
            for number in range(40)
        ]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 80), 10)
        answered.set()
        for ended in await asyncio.gather(*sent, return_exceptions=True):
            assert isinstance(ended, Unsent)
            assert str(ended) == "no such name"

    asyncio.run(test())


def test_target_has_its_authority() -> None:
    assert target("https://[2620:fe::fe]:8443/a").authority == "[2620:fe::fe]:8443"
    assert target("https://a.net:443").authority == "a.net"
