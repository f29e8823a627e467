"""Old and new versions of a bundle side by side: who asks for one gets it, who does not gets the one that is free."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest

from export.runtime.grids import flow_grid
from export.wrap import wrap

from ..conftest import eventually, jump_graph
from .alone import job, over_redis
from .conftest import Fleet
from .redis_server import RedisServer
from .roads import PlayedLine, RedisRoad, until


@pytest.fixture
def newer(images: Path, tmp_path: Path) -> Path:
    """Another bundle of the same name."""
    graph = jump_graph(tmp_path / "jump.onnx", (3, 8, 8))
    grids = {"1": flow_grid(1), "2": flow_grid(2)}
    wrap(graph, tmp_path / "tiny", z_shape=(3, 8, 8), labels=["cat", "dog", "owl"], span="any", grids=grids)
    return tmp_path / "tiny"


def test_rolling_upgrade_goes_unnoticed(fleet: Fleet, images: Path, newer: Path) -> None:
    old = fleet.worker(images)
    api = fleet.api()
    (before,) = api.client.get("/v1/models").json()["data"]
    new = fleet.worker(newer)
    eventually(lambda: len(api.client.get("/v1/models").json()["data"]) == 2, "both are known")
    listed = {one["id"]: one["digest"] for one in api.client.get("/v1/models").json()["data"]}
    assert "tiny" in listed
    assert all(name == "tiny" or name.startswith("tiny@") for name in listed)
    assert len(set(listed.values())) == 2
    for digest in listed.values():
        digits = digest.removeprefix("sha256:")
        for name in (f"tiny@{digits[:12]}", f"tiny@{digits}"):
            answer = api.client.post(f"/generate?seed=1&model={name}")
            assert answer.status_code == 200
            assert answer.headers["longjump-fingerprint"] == "fake" + digits[-12:]
            assert api.client.get(f"/v1/models/{name}").json()["digest"] == digest
    unknown = api.client.post("/generate?seed=1&model=tiny@000000000000")
    assert unknown.status_code == 422
    assert set(unknown.json()["errors"][0]["allowed"]) > {"tiny"}
    old.process.terminate()
    assert old.process.wait(60) == 0
    for seed in range(5):
        answer = api.client.post(f"/generate?seed={seed}&model=tiny")
        assert answer.headers["longjump-fingerprint"] != before["fingerprint"]
    gone = api.client.post(f"/generate?seed=99&model=tiny@{before['digest'][7:19]}")
    assert gone.status_code == 503
    assert "no worker serves tiny now" in gone.json()["detail"]
    assert new.process.poll() is None


def test_name_goes_to_the_version_whose_work_begins_first(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)

    async def test(road: RedisRoad) -> None:
        other = PlayedLine(fingerprint="other", digest="sha256:" + "ab" * 32)
        await road.join(other, "agent-2")
        await until(lambda: len(road.lines.models) == 2 and all(line.up for line in road.lines.lines))
        first = road.lines.lines[0]
        answers = [await first.dispatch.submit(job(seed)) for seed in range(3)]
        assert road.lines.lines[0] is not first
        assert road.lines.models[0] is road.lines.lines[0].model
        await until(lambda: len(road.worker.jobs) + len(other.worker.jobs) == 3)
        for worker in (road.worker, other.worker):
            for seed in list(worker.jobs):
                worker.answer(seed)
        await asyncio.wait_for(asyncio.gather(*answers), 30)

    try:
        over_redis(server, test)
    finally:
        server.kill()


def test_two_bundles_are_told_apart(fleet: Fleet, images: Path, points: Path) -> None:
    fleet.worker(images, points)
    api = fleet.api()
    eventually(lambda: len(api.client.get("/v1/models").json()["data"]) == 2, "both are known")
    plane = api.client.post("/generate?seed=1&model=plane&format=npy&n=2")
    assert np.load(io.BytesIO(plane.content)).shape == (2, 2)
    assert api.client.post("/generate?seed=1&model=tiny").headers["content-type"] == "image/png"
    capacity = {one["model"] for one in api.client.get("/v1/capacity").json()["models"]}
    assert capacity == {"plane", "tiny"}
