"""POST /admin/models: a new version takes over under load without one failed, cold or mixed-up request."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.runtime.grids import flow_grid
from export.wrap import wrap
from server.http.auth import line_of, make_key

from .conftest import PATIENCE, Server, Start, eventually, jump_graph

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, images: Path, points: Path) -> Path:
    """A folder with bundles: `first` and `second` are versions of the model tiny, `broken` has a flipped byte."""
    shelf = tmp_path_factory.mktemp("shelf")
    shutil.copytree(images, shelf / "first")
    shutil.copytree(points, shelf / "points")
    graph = onnx.load(jump_graph(shelf / "jump.onnx", (3, 8, 8)))
    for tensor in graph.graph.initializer:
        if tensor.name == "small":
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(np.float32(0.06)), "small"))
    onnx.save(graph, shelf / "jump.onnx")
    wrap(
        shelf / "jump.onnx",
        shelf / "second",
        name="tiny",
        z_shape=(3, 8, 8),
        labels=["cat", "dog", "owl"],
        span="any",
        grids={"1": flow_grid(1), "2": flow_grid(2)},
    )
    shutil.copytree(shelf / "second", shelf / "broken")
    damaged = bytearray((shelf / "broken" / "jump.fp32.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (shelf / "broken" / "jump.fp32.onnx").write_bytes(damaged)
    (shelf.parent / "outside").mkdir()
    shutil.copytree(images, shelf.parent / "outside" / "tiny")
    return shelf


@pytest.fixture
def serve(start: Start, shelf: Path, tmp_path: Path) -> Serve:
    key, entry = make_key("ops", admin=True)
    (tmp_path / "keys.txt").write_text(line_of(entry) + "\n")

    def run(*options: str, **environment: str) -> Server:
        keys = ["--api-keys", str(tmp_path / "keys.txt"), "--bundles", str(shelf)]
        server = start(shelf / "first", *keys, *options, **environment)
        server.client.headers["authorization"] = f"Bearer {key}"
        return server

    return run


def load(server: Server, name: object) -> httpx.Response:
    return server.client.post("/admin/models", json={"name": name})


def fingerprint(server: Server) -> str:
    reply = server.client.post("/generate?seed=5")
    assert reply.status_code == 200
    return reply.headers["longjump-fingerprint"]


def test_under_load_nobody_notices(serve: Serve) -> None:
    server = serve()
    old = fingerprint(server)
    stop = threading.Event()
    replies: list[httpx.Response] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=server.client.base_url, headers=server.client.headers, timeout=PATIENCE) as client:
            for i in range(100_000):
                if stop.is_set():
                    return
                replies.append(client.post(f"/generate?seed={i % 7}&steps={1 + i % 2}&deadline_ms=60000"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(replies) > 20, "the old version is under load")
        loaded = load(server, "second")
        assert loaded.status_code == 200
        new = loaded.json()["fingerprint"]
        assert new != old
        count = len(replies)
        # Whoever asks after the answer gets the new version.
        assert fingerprint(server) == new
        eventually(lambda: len(replies) > count + 20, "the new version is under load")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {reply.status_code for reply in replies} == {200}
    by_request: dict[tuple[str, str], set[bytes]] = {}
    for reply in replies:
        made_by = reply.headers["longjump-fingerprint"]
        assert made_by in (old, new)
        by_request.setdefault((made_by, str(reply.url)), set()).add(reply.content)
    assert {made_by for made_by, _ in by_request} == {old, new}
    assert all(len(bodies) == 1 for bodies in by_request.values())
    assert server.metric("longjump_worker_restarts_total") == 0


def test_what_the_old_version_had_is_finished_by_it(serve: Serve) -> None:
    server = serve(held=True)
    waiting = [server.send(f"/generate?seed={seed}&deadline_ms=60000") for seed in range(3)]
    eventually(lambda: server.metric("longjump_running") + server.metric("longjump_waiting") == 3, "all are accepted")
    before = server.client.get("/v1/models").json()["data"][0]["fingerprint"]
    after = load(server, "second").json()["fingerprint"]
    server.open_gate()
    assert [future.result().status_code for future in waiting] == [200] * 3
    assert {future.result().headers["longjump-fingerprint"] for future in waiting} == {before}
    assert fingerprint(server) == after != before


def test_another_name_is_served_beside(serve: Serve) -> None:
    server = serve()
    added = load(server, "points").json()["id"]
    assert [entry["id"] for entry in server.client.get("/v1/models").json()["data"]] == ["tiny", added]
    assert server.client.post(f"/generate?seed=1&model={added}").status_code == 200


def test_refused_leaves_everything_as_it_was(serve: Serve, shelf: Path) -> None:
    server = serve()
    before = fingerprint(server)
    broken = load(server, "broken")
    assert broken.status_code == 422
    assert broken.json()["type"] == "urn:longjump:problem:bundle-refused"
    assert "nothing has changed" in broken.json()["detail"]
    for name in ("../outside/tiny", "/etc", "..", ".", "", "first/../../outside/tiny", "a\x00b", str(shelf / "first")):
        refused = load(server, name)
        assert refused.status_code == 422, name
        assert refused.json()["errors"][0]["field"] == "name"
    for odd in (None, 7, ["first"], {}):
        assert load(server, odd).status_code == 422
    missing = load(server, "third")
    assert missing.status_code == 404
    assert missing.json()["detail"].endswith("there are: broken, first, points, second")
    assert server.client.post("/admin/models", json={"name": "second", "path": "/etc"}).status_code == 422
    assert server.client.post("/admin/models", content=b"{").status_code == 400
    assert server.client.post("/admin/models", content=b"x" * 5000).status_code == 413
    assert server.client.get("/admin/models").status_code == 405
    assert fingerprint(server) == before
    assert len(server.client.get("/v1/models").json()["data"]) == 1


def test_one_load_at_a_time(serve: Serve) -> None:
    server = serve()
    both = [server.send("/admin/models", json={"name": "second"}) for _ in range(2)]
    codes = sorted(future.result().status_code for future in both)
    assert codes in ([200, 409], [200, 200])  # the second may have come when the first was done
    assert fingerprint(server) == both[0].result().json().get("fingerprint", fingerprint(server))


def test_no_admin_key_no_route(start: Start, shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(line_of(make_key("alice")[1]) + "\n")
    for options in ([], ["--api-keys", str(tmp_path / "keys.txt")]):
        server = start(shelf / "first", *options, "--bundles", str(shelf), ready=False)
        eventually(lambda server=server: server.process.poll() == 2, "the server refuses to start")
        eventually(lambda server=server: "longjump key NAME --admin" in "".join(server.said), "it says what to do")
