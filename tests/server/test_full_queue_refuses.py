"""At the queue's bound a request is refused at once, and what was accepted is still answered."""

from __future__ import annotations

from pathlib import Path

from .conftest import Start, eventually


def test_full_queue_refuses(start: Start, images: Path) -> None:
    server = start(images, "--max-rows", "1", "--max-waiting", "3", held=True)
    accepted = []
    for count in range(1, 4):
        accepted.append(server.send(f"/generate?seed={count}"))
        eventually(lambda n=count: server.accepted() == n, f"{count} accepted")
    refused = server.client.post("/generate?seed=99")  # held at the gate: if this waited, it would never return
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["content-type"] == "application/problem+json"
    server.open_gate()
    assert {answer.result().status_code for answer in accepted} == {200}
    assert server.client.post("/generate?seed=99").status_code == 200
    refused = 'longjump_requests_total{code="429",endpoint="generate",priority="interactive",steps="1"}'
    assert server.metric(refused) == 1
