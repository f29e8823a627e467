"""Whatever a client gets wrong is answered by a problem document that says what, and what would be right."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .conftest import Server, Start


class Bad(NamedTuple):
    """A request, the status it must get, and words that its problem must contain."""

    method: str
    target: str
    status: int
    words: tuple[str, ...]
    body: bytes | str | dict[str, Any] | None = None
    content_type: str = "application/json"


G = "/generate"
HUGE = "9" * 5000

BAD = {
    "unknown label": Bad("POST", f"{G}?label=lynx", 422, ("label=lynx is unknown", "cat, dog, owl", "0 to 2", "none")),
    "near label": Bad("POST", f"{G}?label=dgo", 422, ("did you mean dog?",)),
    "label of Arabic digits": Bad("POST", f"{G}?label=%D9%A1", 422, ("is unknown", "cat, dog, owl")),
    "label of wide digits": Bad("POST", G, 422, ("is unknown", "cat, dog, owl"), {"label": "\uff11"}),
    "blank label": Bad("POST", f"{G}?label=", 422, ("label",)),
    "label index too large": Bad("POST", f"{G}?label=3", 422, ("label=3 is unknown",)),
    "negative label": Bad("POST", G, 422, ("label=-1 is unknown",), {"label": -1}),
    "huge label": Bad("POST", f"{G}?label={HUGE}", 422, ("label=999", "...")),
    "label of a wrong type": Bad("POST", G, 422, ("label=[1] is not a label's index",), {"label": [1]}),
    "label true": Bad("POST", G, 422, ("label=true is not a label's index",), {"label": True}),
    "lone surrogate": Bad("POST", G, 422, ("is unknown",), b'{"label": "\\ud800"}'),
    "steps unsupported": Bad("POST", f"{G}?steps=3", 422, ("steps=3 is not", "tiny supports: 1, 2, 4")),
    "steps zero": Bad("POST", f"{G}?steps=0", 422, ("supports: 1, 2, 4",)),
    "steps other than auto": Bad("POST", f"{G}?steps=AUTO", 422, ("steps=AUTO is not", "1, 2, 4, or auto")),
    "steps text in JSON": Bad("POST", G, 422, ('steps="1" is not',), {"steps": "1"}),
    "seed text in JSON": Bad("POST", G, 422, ('seed="1" is not a whole number',), {"seed": "1"}),
    "flag text in JSON": Bad("POST", G, 422, ('bitwise="true" is not true or false',), {"bitwise": "true"}),
    "steps fraction": Bad("POST", G, 422, ("steps=1.5 is not",), {"steps": 1.5}),
    "deadline": Bad("POST", f"{G}?deadline_ms=-5", 422, ("deadline_ms=-5 is not a number of milliseconds above 0",)),
    "unknown field": Bad("POST", f"{G}?deadline=5", 422, ("unknown field deadline", "the fields are steps,")),
    "unknown field in JSON": Bad("POST", G, 422, ("unknown field foo",), {"foo": 1}),
    "NaN guidance": Bad("POST", f"{G}?guidance=nan", 422, ("guidance=nan is not 1",)),
    "guidance without the input": Bad("POST", f"{G}?guidance=2", 422, ("guidance=2", "no guidance input")),
    "infinite guidance": Bad("POST", f"{G}?guidance=1e999", 422, ("guidance=1e999",)),
    "NaN in JSON": Bad("POST", G, 400, ("NaN is not JSON",), b'{"guidance": NaN}'),
    "huge n": Bad("POST", f"{G}?n=100000", 422, ("n=100000 is not", "1 to 64", "most images in one request")),
    "n zero": Bad("POST", f"{G}?n=0", 422, ("n=0 is not",)),
    "n beyond any integer": Bad("POST", f"{G}?n={HUGE}", 422, ("n=999",)),
    "negative seed": Bad("POST", f"{G}?seed=-1", 422, ("seed=-1 is not", "9223372036854775807")),
    "seed of 2^63": Bad("POST", f"{G}?seed={2**63}", 422, (f"seed={2**63} is not",)),
    "seeds run over 2^63": Bad("POST", f"{G}?seed={2**63 - 1}&n=2", 422, ("would use seeds beyond",)),
    "seed null and GET": Bad("GET", G, 422, ("GET /generate needs a seed",)),
    "format unknown": Bad("POST", f"{G}?format=gif", 422, ("format=gif is not one of png, jpeg, webp, npy",)),
    "format of points": Bad("POST", f"{G}?format=json", 422, ("format=json is not one of png",)),
    "another model": Bad("POST", f"{G}?model=other", 422, ("model=other", "this server has tiny")),
    "given twice in the query": Bad("POST", f"{G}?seed=1&seed=2", 400, ("'seed' more than once",)),
    "given in both": Bad("POST", f"{G}?seed=1", 422, ("both the query and the body",), {"seed": 1}),
    "given twice in JSON": Bad("POST", G, 400, ("more than once",), b'{"seed": 1, "seed": 2}'),
    "not UTF-8 in the query": Bad("POST", f"{G}?label=%FF", 400, ("query cannot be read",)),
    "too many fields": Bad("POST", f"{G}?" + "&".join(f"a{i}=1" for i in range(100)), 400, ("query cannot be read",)),
    "bad JSON": Bad("POST", G, 400, ("not valid JSON",), b'{"seed": '),
    "not UTF-8 in the body": Bad("POST", G, 400, ("byte 11 is not UTF-8",), b'{"label": "\xff"}'),
    "UTF-16": Bad("POST", G, 400, ("byte 0 is not UTF-8",), '{"seed": 1}'.encode("utf-16")),
    "UTF-16 without a mark": Bad("POST", G, 400, ("not valid JSON",), '{"seed": 1}'.encode("utf-16-le")),
    "deep JSON": Bad("POST", G, 400, ("nested too deeply",), b"[" * 30_000),
    "integer without end": Bad("POST", G, 400, ("a number has too many digits",), f'{{"seed": {HUGE}}}'),
    "JSON of another kind": Bad("POST", G, 400, ("must be a JSON object",), b"[1]"),
    "a form": Bad("POST", G, 415, ("must be application/json",), b"seed=1", "application/x-www-form-urlencoded"),
    "no content type": Bad("POST", G, 415, ("must be application/json",), b'{"seed": 1}', ""),
    "another charset": Bad("POST", G, 415, ("content type",), b'{"seed": 1}', "application/json; charset=latin-1"),
    "body too large": Bad("POST", G, 413, ("over the limit of 65536 bytes",), b" " * 70_000),
    "method": Bad("DELETE", G, 405, ("does not take DELETE", "GET", "POST")),
    "method of another path": Bad("POST", "/livez", 405, ("does not take POST; it takes GET, HEAD",)),
    "path": Bad("GET", "/nothing", 404, ("nothing at '/nothing'", "/docs")),
    "file of the documentation": Bad("GET", "/docs/..%2Fserve.py", 404, ("nothing",)),
}


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Iterator[Server]:
    running = start_shared(images)
    yield running
    assert running.client.post("/generate?seed=1").status_code == 200, "the server survives all of it"


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_problem_document(server: Server, bad: Bad) -> None:
    content = json.dumps(bad.body).encode() if isinstance(bad.body, dict) else bad.body
    headers = {"content-type": bad.content_type} if content is not None and bad.content_type else {}
    answer = server.client.request(bad.method, bad.target, content=content, headers=headers)
    assert answer.status_code == bad.status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == bad.status
    assert problem["type"].startswith("urn:longjump:problem:")
    assert problem["title"]
    for word in bad.words:
        assert word in problem["detail"]
    assert len(answer.content) < 5000, "what a client sent is not repeated without end"


def test_every_fault_is_named(server: Server) -> None:
    problem = server.client.post("/generate?steps=3&label=lynx&n=0&foo=1").json()
    assert {error["field"] for error in problem["errors"]} == {"steps", "label", "n", "foo"}
    allowed = {error["field"]: error.get("allowed") for error in problem["errors"]}
    assert allowed["steps"] == [1, 2, 4, "auto"]
    assert allowed["n"] == {"min": 1, "max": 64}
    assert allowed["label"] == ["cat", "dog", "owl"]


def test_body_without_a_stated_length_is_bounded(server: Server) -> None:
    answer = server.client.post("/generate", content=iter([b" " * 40_000] * 3))
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:longjump:problem:body-too-large"


def test_noise_that_is_not_http_is_a_problem_document(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 what?\r\n\r\n")
        said = b""
        while data := connection.recv(65536):
            said += data
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400


def test_guidance_outside_the_range_names_it(start: Start, guided: Path) -> None:
    server = start(guided)
    for scale in ("0.5", "4.1", "inf"):
        answer = server.client.post(f"/generate?guidance={scale}")
        assert answer.status_code == 422
        assert "a number from 1 to 4, the range of guided" in answer.json()["detail"]
    default, two, three = (
        server.client.post("/generate", params={"seed": 1, "label": 0} | scale)
        for scale in ({}, {"guidance": 2}, {"guidance": 3})
    )
    assert default.headers["longjump-guidance"] == two.headers["longjump-guidance"] == "2"
    assert default.content == two.content != three.content


def test_failed_job_is_a_problem_document(start: Start, images: Path) -> None:
    server = start(images, TEST_POISON="1")
    answer = server.client.post("/generate?label=dog")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "label 1 is poison" in answer.json()["detail"]
    assert server.client.post("/generate?label=cat").status_code == 200


def test_not_ready_is_a_problem_document(start: Start, images: Path) -> None:
    server = start(images, ready=False, held=True, TEST_SLOW_START="1")
    server.wait_until_listening()
    assert server.client.get("/livez").status_code == 200
    for target in ("/readyz", "/generate?seed=1"):
        answer = server.client.get(target)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "1"
    assert server.client.get("/v1/models").json()["data"] == []
    server.open_gate()
    server.wait_until_ready()
    assert server.client.get("/readyz").json()["status"] == "ready"
