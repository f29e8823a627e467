"""Several bundles in one server: `model` chooses, each has its own worker, and one's trouble is not the other's."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from export.runtime.bundle import open_bundle
from server.workers import check_names

from .conftest import Server, Start, eventually


@pytest.fixture(scope="module")
def both(start_shared: Start, images: Path, points: Path) -> Server:
    return start_shared(images, str(points))


def names(images: Path, points: Path) -> tuple[str, str]:
    return open_bundle(images).manifest.name, open_bundle(points).manifest.name


def test_model_chooses(both: Server, images: Path, points: Path) -> None:
    first, second = names(images, points)
    default = both.client.post("/generate?seed=3")
    assert default.headers["content-type"] == "image/png"
    assert default.headers["longjump-model"] == first
    assert both.client.post(f"/generate?seed=3&model={first}").content == default.content
    other = both.client.post("/generate", json={"seed": 3, "model": second})
    assert other.headers["content-type"] == "application/json"
    assert other.json()["model"] == second
    assert [entry["id"] for entry in both.client.get("/v1/models").json()["data"]] == [first, second]
    assert both.client.get("/readyz").json()["models"] == [first, second]


def test_fields_are_checked_against_the_model_that_is_asked(both: Server, images: Path, points: Path) -> None:
    _, second = names(images, points)
    assert both.client.post("/generate?seed=3&label=cat").status_code == 200
    refused = both.client.post(f"/generate?seed=3&label=cat&model={second}")
    assert refused.status_code == 422
    assert second in refused.text


def test_unknown_model_is_told_which_there_are(both: Server, images: Path, points: Path) -> None:
    refused = both.client.post("/generate?model=mouse")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["allowed"] == list(names(images, points))


def test_one_worker_killed_leaves_the_other(start: Start, images: Path, points: Path) -> None:
    server = start(images, str(points), "--cache-bytes", "0")
    first, second = names(images, points)
    before = {model: server.client.post(f"/generate?seed=5&model={model}").content for model in (first, second)}
    victim = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and server._parent(entry) == server.process.pid
        and str(points) in (entry / "cmdline").read_text().split("\0")
    )
    os.kill(victim, signal.SIGKILL)
    assert server.client.post(f"/generate?seed=5&model={first}").content == before[first]
    assert server.client.post(f"/generate?seed=5&model={second}").content == before[second]
    server.wait_for("longjump_worker_restarts_total", 1)
    eventually(lambda: server.client.get("/readyz").status_code == 200, "both workers are up")


def test_two_bundles_of_one_name_are_refused(images: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(images, tmp_path / "twin")
    with pytest.raises(ValueError, match=f"both called '{open_bundle(images).manifest.name}'"):
        check_names([images, twin])
    check_names([images])
    check_names([images, tmp_path / "missing"])
