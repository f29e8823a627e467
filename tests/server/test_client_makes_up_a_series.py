"""Whatever clients send, /metrics has no more series than the bundle and the words of the code allow."""

from __future__ import annotations

from pathlib import Path

from .conftest import Server, Start

NONSENSE = [f"nonsense-{i}" for i in range(20)]


def series(server: Server) -> set[str]:
    lines = server.client.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def ask(server: Server, word: str) -> None:
    client = server.client
    for field in ("model", "steps", "label", "format", "priority", word):
        client.post(f"/generate?{field}={word}")
    client.post(f"/generate?steps={1000 + len(word)}")
    client.get(f"/{word}")
    client.request(word.upper(), "/generate")
    client.post("/v1/images/generations", json={"prompt": word, "model": word})
    client.get("/generate?seed=1", headers={"x-request-id": word, "authorization": word})


def test_nonsense_adds_no_series(start: Start, images: Path) -> None:
    server = start(images, "--log-requests")
    for _ in range(2):  # what is good in them is made, and then in the cache
        ask(server, "first")
    before = series(server)
    assert any('code="422"' in name for name in before)
    for word in NONSENSE:
        ask(server, word)
    assert series(server) == before


def test_control_a_step_count_of_the_model_adds_its_own(start: Start, images: Path) -> None:
    server = start(images)
    ask(server, "first")
    before = series(server)
    server.client.post("/generate?steps=4&seed=1")
    added = series(server) - before
    assert 'longjump_requests_total{code="200",endpoint="generate",priority="interactive",steps="4"}' in added
