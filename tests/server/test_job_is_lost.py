"""POST /jobs: whoever asks later gets what became of it, nobody else does, and what ends is kept within its bounds."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.errands.errand import End, Errand
from server.errands.store import OVERHEAD, Bounds, Full, OwnStore
from server.http.auth import line_of, make_key
from server.http.once import Reply

from .conftest import Server, Start, eventually


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


def over(server: Server, answer: httpx.Response, **options: Any) -> dict[str, Any]:
    """The document of a job that was taken in, once it is over."""
    assert answer.status_code == 202, answer.text
    place = answer.headers["location"]
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(server.client.get(place, **options).json())
        return "ended" in found

    eventually(ended, "the job is over")
    return found


def test_result_is_what_generate_gives(server: Server) -> None:
    fields = {"seed": 7, "steps": 4, "label": "dog"}
    taken = server.client.post("/jobs", json=fields)
    assert taken.json()["state"] in ("queued", "running", "done")
    assert taken.json()["priority"] == "batch"
    job = over(server, taken)
    assert job["state"] == "done"
    assert job["progress"] == {"images": 1, "done": 1, "ahead": 0}
    made = server.client.get(job["result"]["url"])
    expected = server.client.post("/generate", json=fields)
    assert made.status_code == 200
    assert made.content == expected.content
    for name in ("content-type", "longjump-seed", "longjump-label", "longjump-steps", "longjump-fingerprint"):
        assert made.headers[name] == expected.headers[name]
    assert job["result"]["bytes"] == len(made.content)


def test_seed_is_drawn_when_the_job_is_taken_in(server: Server) -> None:
    job = over(server, server.client.post("/jobs"))
    seed = job["request"]["seed"]
    made = server.client.get(job["result"]["url"])
    assert made.headers["longjump-seed"] == str(seed)
    assert made.content == server.client.get(f"/generate?seed={seed}").content


def test_many_images_as_json(server: Server) -> None:
    fields = {"seed": 7, "n": 3}
    job = over(server, server.client.post("/jobs", json=fields, headers={"accept": "application/json"}))
    made = server.client.get(job["result"]["url"]).json()
    assert made == server.client.post("/generate", json=fields, headers={"accept": "application/json"}).json()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"steps": 3}, "steps"),
        ({"stream": "first"}, "stream"),
        ({"on_disconnect": "cancel"}, "on_disconnect"),
        ({"webhook": "https://example.com/"}, "webhook"),
        ({"webhook_secret": "secret"}, "webhook_secret"),
        ({"webhook": 7}, "webhook"),
    ],
)
def test_what_is_wrong_is_said_at_once(server: Server, fields: dict[str, Any], named: str) -> None:
    refused = server.client.post("/jobs", json=fields)
    assert refused.status_code == 422
    assert named in [error["field"] for error in refused.json()["errors"]]


@pytest.mark.parametrize("path", ["/jobs/0", "/jobs/" + 32 * "0", "/jobs/" + 32 * "0" + "/result"])
def test_unknown_job_is_not_found(server: Server, path: str) -> None:
    refused = server.client.get(path)
    assert refused.status_code == 404
    if path != "/jobs/0":
        assert "end with this server's process" in refused.json()["detail"]


def test_events_tell_until_the_end(start: Start, images: Path) -> None:
    held = start(images, held=True)
    place = held.client.post("/jobs", json={"seed": 1}).headers["location"]
    waiting = held.client.get(place + "/result")
    assert waiting.status_code == 409
    states = []
    with held.client.stream("GET", place + "/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        for line in response.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: "))["state"])
                if states[-1] == "running":
                    held.open_gate()
    assert states[-2:] == ["running", "done"]


def test_cancelled_job_frees_its_rows_and_has_no_result(start: Start, images: Path) -> None:
    held = start(images, held=True)
    place = held.client.post("/jobs", json={"seed": 1}).headers["location"]
    eventually(lambda: held.accepted() == 1, "it runs")
    ended = held.client.delete(place)
    assert ended.status_code == 200
    assert ended.json()["state"] == "cancelled"
    held.open_gate()
    eventually(lambda: held.accepted() == 0, "its work is dropped")
    assert held.client.get(place).json()["state"] == "cancelled"
    assert held.client.get(place + "/result").status_code == 410
    assert held.client.delete(place).status_code == 204
    assert held.client.get(place).status_code == 404


def test_full_queue_does_not_fail_a_job(start: Start, images: Path) -> None:
    held = start(images, "--max-waiting", "2", held=True)
    places = [held.client.post("/jobs", json={"seed": seed}).headers["location"] for seed in range(6)]
    eventually(lambda: held.accepted() == 2, "the queue is full")
    held.open_gate()
    for place in places:
        eventually(lambda place=place: held.client.get(place).json()["state"] == "done", "it is done")  # type: ignore[misc]


def test_job_past_its_deadline_fails_with_the_reason(start: Start, images: Path) -> None:
    held = start(images, held=True)
    held.send("/generate?deadline_ms=60000")
    eventually(lambda: held.accepted() == 1, "the worker is busy")
    job = over(held, held.client.post("/jobs", json={"deadline_ms": 300}))
    assert (job["state"], job["problem"]["status"]) == ("failed", 504)
    assert held.client.get(f"/jobs/{job['id']}/result").status_code == 504


def test_jobs_are_bounded_and_a_stopping_server_finishes_them(start: Start, images: Path) -> None:
    held = start(images, "--max-jobs", "4", held=True)
    for seed in range(2):
        assert held.client.post("/jobs", json={"seed": seed}).status_code == 202
    refused = held.client.post("/jobs", json={"seed": 2})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    held.process.send_signal(signal.SIGTERM)
    eventually(lambda: "draining" in "".join(held.said), "it drains")
    held.open_gate()
    assert held.process.wait(60) == 0
    assert "jobs were not finished" not in "".join(held.said)


def test_lost_jobs_are_told(start: Start, images: Path) -> None:
    held = start(images, "--drain-seconds", "1", held=True)
    for seed in range(2):
        assert held.client.post("/jobs", json={"seed": seed}).status_code == 202
    eventually(lambda: held.accepted() == 2, "they run")
    held.process.send_signal(signal.SIGTERM)
    assert held.process.wait(60) == 1
    assert "2 jobs were not finished, and end with this process" in "".join(held.said)


def test_job_is_its_makers_alone(start: Start, images: Path, tmp_path: Path) -> None:
    made = [make_key(name) for name in ("ann", "bob")]
    (tmp_path / "keys").write_text("".join(line_of(one) + "\n" for _, one in made))
    server = start(images, "--api-keys", str(tmp_path / "keys"))
    ann, bob = ({"authorization": f"Bearer {text}"} for text, _ in made)
    job = over(server, server.client.post("/jobs", headers=ann), headers=ann)
    for path in ("", "/result", "/events"):
        assert server.client.get(f"/jobs/{job['id']}{path}", headers=bob).status_code == 404
    assert server.client.delete(f"/jobs/{job['id']}", headers=bob).status_code == 404
    assert server.client.get(job["result"]["url"]).status_code == 401
    assert server.client.get(job["result"]["url"], headers=ann).status_code == 200


def test_key_sent_again_is_the_same_job(server: Server) -> None:
    headers = {"idempotency-key": "one-job"}
    first, again = (server.client.post("/jobs", headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def errand(number: int, client: str = "ann") -> Errand:
    return Errand(f"{number}", client, {}, 1, "batch", False, 60.0)


def test_memory_is_bounded_and_results_expire() -> None:
    async def use() -> None:
        clock = Clock()
        store = OwnStore(Bounds(open=3, ttl=100.0, result_bytes=10 * (OVERHEAD + 1000)), clock)
        for number in range(40):
            await store.add(errand(number))
            (taken,) = await store.take(5)
            assert taken.errand.id == f"{number}"
            assert await store.end(f"{number}", End("done"), Reply(200, (), b"x" * 1000))
            assert not await store.end(f"{number}", End("failed"))
            assert store.bytes <= store.bounds.result_bytes
        assert await store.get("9") is None  # 30 are kept
        assert await store.get("10") is not None
        assert await store.result("29") is None  # of 10 the result too
        assert await store.result("30") is not None
        for number in range(40, 43):
            await store.add(errand(number, f"client {number}"))
            with pytest.raises(Full, match="of yours" if number < 42 else "the most that are taken in"):
                await store.add(errand(number, f"client {number}"))
        record = await store.get("42")
        assert record is not None
        assert record.ahead == 2
        clock.now = 100.0
        assert await store.get("39") is None
        assert store.bytes == 0
        assert len(await store.take(5)) == 3

    asyncio.run(use())
