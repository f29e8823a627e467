"""Replies of the wrong kind, size or bytes must not pass as good, and odd but right HTTP must not fail."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from loadtest.measure import measure
from loadtest.result import Run
from loadtest.settings import Settings
from loadtest.verify import Expected, Wrong, decode, digest, glance

from .fake_server import fake_server

IDLE = 3
"""Requests that are asked before the load: one case of two, and the first again."""


FRAMINGS = ("", "sends a head first", "sends chunks", "gives no length", "says too much")
CLOSING = ("closes each", "closes silently")
FAULTS = {
    "gives the wrong size": ("wrong", "8x8, not 4x4"),
    "gives another kind": ("wrong", "text/html"),
    "breaks pictures": ("wrong", "cannot be decoded"),
    "refuses": ("429", ""),
    "is no HTTP": ("malformed", ""),
    "hangs up": ("closed", ""),
    "hangs": ("timeout", ""),
}
OTHER = "gives other pictures"


def run(fault: str, after: int = IDLE + 1) -> Run:
    with fake_server(fault=fault, fault_after=after, delay=0.005) as url:
        return measure(Settings(url, rate=60, seconds=1, warmup=0, verify=0.3, timeout=1, max_lateness=10))


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """By fault, a few at a time: they sleep most of the time."""
    names = [*FRAMINGS, *CLOSING, *FAULTS, OTHER]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(run, names)))


def statuses(run: Run) -> set[str]:
    return {group.status for group in run.groups}


@pytest.mark.parametrize("fault", FRAMINGS)
def test_right_replies_are_good_however_they_are_framed(runs: dict[str, Run], fault: str) -> None:
    found = runs[fault]
    assert statuses(found) == {"200"}
    assert found.trustworthy
    assert found.checks.decoded == found.checks.checked == found.window.sent
    assert found.checks.same_bytes == "yes"


@pytest.mark.parametrize("fault", CLOSING)
def test_connection_that_the_server_closes_loses_no_request(runs: dict[str, Run], fault: str) -> None:
    assert statuses(runs[fault]) == {"200"}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_good_is_named(runs: dict[str, Run], fault: str) -> None:
    found, (status, said) = runs[fault], FAULTS[fault]
    assert statuses(found) == {status}
    assert found.ok == 0
    assert not found.trustworthy
    assert said in " ".join(found.checks.examples)


def test_other_bytes_under_load_are_seen(runs: dict[str, Run]) -> None:
    found = runs[OTHER]
    assert found.checks.same_bytes == "no"
    assert found.checks.different == found.checks.compared > 0
    assert not found.trustworthy
    assert "other bytes" in found.checks.examples[0]


def test_what_the_idle_server_cannot_promise_is_no_fault() -> None:
    """The second of two equal idle requests gives another picture already."""
    found = run(OTHER, after=2)
    assert found.checks.same_bytes == "not promised"
    assert found.trustworthy
    assert any("not reproducible" in text for text in found.warnings)


def look(expected: Expected, kind: str, body: bytes) -> None:
    """As a reply is looked at during a run and after it."""
    glance(expected, kind, body)
    decode(expected, body)


def encoded(format: str, size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    if format == "npy":
        np.save(file, np.zeros((size[1], size[0], 3), np.uint8))
    else:
        Image.new("RGB", size).save(file, format.upper())
    return file.getvalue()


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "npy"])
def test_each_format_is_decoded(format: str) -> None:
    array = format == "npy"
    expected = Expected(format=format, size=None if array else (4, 3), shape=(3, 4, 3) if array else None)
    kind = "application/x-npy" if array else f"image/{format}"
    body = encoded(format)
    glance(expected, kind, body)
    assert decode(expected, body) == expected
    with pytest.raises(Wrong, match="not"):
        decode(expected, encoded(format, (5, 3)))
    with pytest.raises(Wrong, match="content type"):
        glance(expected, "text/plain", body)
    for broken in (b"", body[:-3], b"x" + body):
        with pytest.raises(Wrong):
            look(expected, kind, broken)


def test_points_are_decoded() -> None:
    expected = Expected(format="json", shape=(1, 2))
    body = b'{"seed": 7, "points": [[0.5, -1]]}'
    glance(expected, "application/json; charset=utf-8", body)
    assert decode(expected, body) == expected
    # What a reply says about itself is not compared.
    assert digest(expected, body) == digest(expected, b'{"points": [[0.5, -1]]}')
    assert digest(expected, body) != digest(expected, b'{"points": [[0.5, 1]]}')
    for broken in (b'{"points": [[1, 2], [3, 4]]}', b'{"points": [[1, "a"]]}', b'{"detail": "no"}', b'{"points": '):
        with pytest.raises(Wrong):
            decode(expected, broken)


def test_pictures_of_the_openai_route_are_decoded() -> None:
    expected = Expected("openai", "png", (4, 3))
    one = base64.b64encode(encoded("png")).decode()
    body = json.dumps({"created": 1, "data": [{"b64_json": one}]}).encode()
    glance(expected, "application/json", body)
    assert decode(expected, body) == expected
    assert digest(expected, body) == digest(expected, body.replace(b'"created": 1', b'"created": 2'))
    wrong = base64.b64encode(encoded("png", (5, 3))).decode()
    for broken in ({"data": []}, {"data": [{"b64_json": wrong}]}, {"data": [{"url": "x"}]}, []):
        with pytest.raises(Wrong):
            decode(expected, json.dumps(broken).encode())
