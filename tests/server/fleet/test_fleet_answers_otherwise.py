"""A fleet gives the bytes that one server gives, and both sides leave in order."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import httpx

from ..conftest import Start, eventually, start  # noqa: F401
from .conftest import Fleet

REQUESTS = [
    f"/generate?seed={seed}&steps={steps}&label={label}"
    for seed, steps, label in ((1, 1, "dog"), (2, 2, "cat"), (3, 4, "none"))
]


def test_fleet_gives_the_bytes_of_one_server(fleet: Fleet, start: Start, images: Path) -> None:  # noqa: F811
    fleet.worker(images)
    api = fleet.api()
    alone = start(images)
    for target in REQUESTS:
        answer, expected = api.client.post(target), alone.client.post(target)
        assert answer.status_code == 200
        assert answer.content == expected.content
        for name in ("longjump-seed", "longjump-label", "longjump-steps", "longjump-fingerprint", "longjump-model"):
            assert answer.headers[name] == expected.headers[name]
    assert fleet.held() == (0, {})


def test_without_a_worker_nobody_is_kept_waiting(fleet: Fleet, images: Path) -> None:
    api = fleet.api(ready=False)
    api.wait_until_listening()
    ready = api.client.get("/readyz")
    assert ready.status_code == 503
    assert "no worker is in the fleet 'default'" in ready.json()["detail"]
    refused = api.client.post("/generate?seed=1")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    fleet.worker(images)
    eventually(lambda: api.client.get("/readyz").status_code == 200, "the worker is known")
    assert api.client.post("/generate?seed=1").status_code == 200


def test_both_sides_finish_what_they_took(fleet: Fleet, images: Path) -> None:
    agent = fleet.worker(images, held=True)
    api = fleet.api()
    answers = [api.send(f"/generate?seed={seed}") for seed in range(6)]
    eventually(lambda: fleet.held()[0] == 6, "all are in Redis")
    api.process.send_signal(signal.SIGTERM)
    agent.process.send_signal(signal.SIGTERM)
    eventually(lambda: agent.says("draining"), "the worker drains")
    agent.open_gate()
    assert [answer.result().status_code for answer in answers] == [200] * 6
    assert api.process.wait(60) == 0
    assert agent.process.wait(60) == 0
    assert fleet.held() == (0, {})
    left = fleet.keys()
    assert not [key for key in left if "reply" in key or "control" in key], left


def test_hurried_api_process_takes_back_what_it_asked_for(fleet: Fleet, images: Path) -> None:
    """Two signals: it answers what waits with an error, and no worker runs it for nobody."""
    agent = fleet.worker(images, held=True)
    api = fleet.api()
    answers = [api.send(f"/generate?seed={seed}&n=16") for seed in range(8)]
    eventually(lambda: fleet.held()[0] == 8, "all are in Redis")
    api.process.send_signal(signal.SIGTERM)
    eventually(lambda: "draining" in "".join(api.said), "it drains")
    api.process.send_signal(signal.SIGTERM)
    assert api.process.wait(60) == 1
    for answer in answers:
        with contextlib.suppress(httpx.TransportError):
            assert answer.result().status_code == 503
    agent.open_gate()
    eventually(lambda: fleet.held() == (0, {}), "nothing is left in Redis")
