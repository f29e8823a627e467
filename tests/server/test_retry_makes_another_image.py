"""Idempotency-Key: a request that is sent again gets the answer that was given, and no other request does."""

from __future__ import annotations

import asyncio
import io
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from server.http.auth import line_of, make_key
from server.http.once import KEPT_BYTES, LIFE_SECONDS, OwnAnswers, Reply, _read_key
from server.http.problem import Problem

from .conftest import Server, Start, eventually


def key() -> dict[str, str]:
    return {"idempotency-key": str(uuid.uuid4())}


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/generate", {"json": {}}),
    ("/generate?steps=2", {}),
    ("/interpolate", {"json": {"n": 2}}),
    ("/v1/images/generations", {"json": {"prompt": "cat"}}),
]
"""Each draws a seed."""


@pytest.mark.parametrize(("target", "options"), REQUESTS)
def test_same_key_gives_the_same_image(server: Server, target: str, options: dict[str, Any]) -> None:
    headers = key()
    first = server.client.post(target, headers=headers, **options)
    again = server.client.post(target, headers=headers, **options)
    assert (first.status_code, again.status_code) == (200, 200)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content
    own = ("server-timing", "x-request-id", "date", "idempotent-replayed")
    same = [{name: value for name, value in one.headers.items() if name not in own} for one in (first, again)]
    assert same[0] == same[1]
    # Control: it is the key that does it.
    assert server.client.post(target, headers=key(), **options).content != first.content


def test_form_is_the_same_whatever_its_boundary(server: Server) -> None:
    picture = io.BytesIO()
    Pillow.new("RGB", (8, 8), (200, 30, 30)).save(picture, "png")
    headers = key()
    files = {"image": ("a.png", picture.getvalue(), "image/png")}
    first, again = (
        server.client.post("/variations", files=files, data={"strength": "0.5"}, headers=headers) for _ in range(2)
    )
    assert first.status_code == 200, first.text
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    other = server.client.post("/variations", files=files, data={"strength": "0.75"}, headers=headers)
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("target", "more"),
    [("/generate?steps=2", {}), ("/interpolate", {}), ("/generate", {"accept": "application/json"})],
)
def test_another_request_with_the_key_is_refused(server: Server, target: str, more: dict[str, str]) -> None:
    headers = key()
    assert server.client.post("/generate", headers=headers).status_code == 200
    refused = server.client.post(target, headers={**headers, **more})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["title"] == "Idempotency-Key is already used"


def test_refused_request_may_be_mended_and_tried_again(server: Server) -> None:
    headers = key()
    assert server.client.post("/generate?steps=3", headers=headers).status_code == 422
    assert server.client.post("/generate?steps=2", headers=headers).status_code == 200


@pytest.mark.parametrize("bad", ["", '"', "a b", '"a', "ä", "x" * 256])
def test_key_that_is_none(bad: str) -> None:
    with pytest.raises(Problem) as refused:
        _read_key(bad.encode())
    assert refused.value.status == 400


def test_stream_takes_no_key(server: Server) -> None:
    refused = server.client.post("/generate?stream=first", headers=key())
    assert refused.status_code == 400
    assert "stream" in refused.json()["detail"]
    assert server.client.post("/generate?stream=first").status_code == 200


def test_quoted_and_bare_keys_are_one() -> None:
    assert _read_key(b'"8e03978e"') == _read_key(b"8e03978e") == b"8e03978e"
    assert _read_key(rb'"a \"b\" \\"') == rb'a "b" \\'.replace(rb"\\", b"\\")


def test_request_joins_what_runs_and_outlives_the_first_client(start: Start, images: Path) -> None:
    held = start(images, held=True)
    headers = key()
    # The first client leaves before it is answered.
    with pytest.raises(Exception, match="timed out"):
        held.client.post("/generate", headers=headers, timeout=0.5)
    eventually(lambda: held.accepted() == 1, "the first one's work goes on")
    joined = [held.send("/generate", headers=headers) for _ in range(3)]
    time.sleep(0.2)
    assert held.accepted() == 1
    held.open_gate()
    answers = [one.result() for one in joined]
    assert [one.status_code for one in answers] == [200] * 3
    assert len({one.content for one in answers}) == 1
    assert all("idempotent-replayed" in one.headers for one in answers)


def test_failed_request_is_tried_again(start: Start, images: Path) -> None:
    held = start(images, held=True)
    headers = key()
    target = "/generate?deadline_ms=600000&label=cat"
    first = held.send(target, headers=headers)
    eventually(lambda: held.accepted() == 1, "it runs")
    blocked = held.client.post("/generate?deadline_ms=200", headers=(other := key()))
    assert blocked.status_code in (429, 504)
    held.open_gate()
    assert first.result().status_code == 200
    assert held.client.post("/generate?deadline_ms=200", headers=other).status_code in (200, 422)


def test_keys_belong_to_clients(start: Start, images: Path, tmp_path: Path) -> None:
    made = [make_key(name) for name in ("ann", "bob")]
    file = tmp_path / "keys"
    file.write_text("".join(line_of(one) + "\n" for _, one in made))
    server = start(images, "--api-keys", str(file))
    headers = key()
    ann, bob = (
        server.client.post("/generate", headers={**headers, "authorization": f"Bearer {text}"}) for text, _ in made
    )
    assert (ann.status_code, bob.status_code) == (200, 200)
    assert ann.content != bob.content
    assert "idempotent-replayed" not in bob.headers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_answers_end_and_are_bounded() -> None:
    async def use() -> None:
        clock = Clock()
        answers = OwnAnswers(clock)
        size = KEPT_BYTES // 8
        for number in range(20):
            assert await answers.claim(f"name {number}", "request", "token") == "mine"
            await answers.end(f"name {number}", "request", "token", Reply(200, (), b"x" * size))
            assert answers.bytes <= KEPT_BYTES
        assert await answers.claim("name 0", "request", "token") == "mine"
        assert isinstance(await answers.claim("name 19", "request", "token"), Reply)
        assert await answers.claim("name 19", "another", "token") == "other"
        clock.now = LIFE_SECONDS
        assert await answers.claim("name 19", "another", "token") == "mine"
        await answers.end("name 19", "another", "token", None)
        await answers.end("name 0", "request", "token", None)
        assert answers.bytes == 0

    asyncio.run(use())
