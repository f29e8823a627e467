"""GET /generate can be cached: an ETag that is known before the work, and no work where it is known to the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.runtime.bundle import open_bundle
from server.backend.model import Model
from server.http.ask import Ask, read, settle
from server.http.reply import etag

from .conftest import Server, Start
from .fake_line import ENGINE


@pytest.fixture
def server(start: Start, images: Path) -> Server:
    return start(images)


def ticks(server: Server) -> float:
    return server.metric("longjump_tick_rows_count")


def test_known_image_is_not_made_again(server: Server) -> None:
    first = server.client.get("/generate?seed=1&label=cat")
    tag = first.headers["etag"]
    before = ticks(server)
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = server.client.get("/generate?seed=1&label=cat", headers={"if-none-match": known})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == tag
        assert "max-age" in again.headers["cache-control"]
    assert ticks(server) == before
    other = server.client.get("/generate?seed=1&label=cat", headers={"if-none-match": '"other"'})
    assert other.status_code == 200
    assert other.content == first.content


def test_another_image_has_another_tag(server: Server) -> None:
    targets = [f"/generate?seed={seed}&steps={steps}&n={n}" for seed in (1, 2) for steps in (1, 2) for n in (1, 2)]
    tags = {server.client.get(target).headers["etag"] for target in targets}
    tags.add(server.client.get(targets[-1], headers={"accept": "application/json"}).headers["etag"])
    assert len(tags) == len(targets) + 1


def test_image_of_get_is_that_of_post(server: Server) -> None:
    get, post = server.client.get("/generate?seed=1"), server.client.post("/generate?seed=1")
    assert get.content == post.content
    assert "accept" in get.headers["vary"].lower()
    assert post.headers["cache-control"] == "no-store"
    assert "etag" not in post.headers


def test_tag_outlives_the_worker(images: Path) -> None:
    """How long the worker took to start is part of a Model, but not of its pictures."""
    manifest = open_bundle(images).manifest
    tags = set()
    for seconds in (1.0, 2.0):
        model = Model(manifest=manifest, fingerprint="print", threads=1, startup={"warm": seconds}, engine=ENGINE)
        plan = settle(read(Ask, [({"seed": "1"}, False)], [model], max_images=1))
        tags.add(etag(plan.key(1), model))
    assert len(tags) == 1


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v1/models", "/docs", "/openapi.json"])
def test_head_is_answered_where_get_is(server: Server, path: str) -> None:
    head = server.client.head(path)
    assert head.status_code == 200
    assert head.content == b""


def test_head_has_no_body(server: Server) -> None:
    head, get = server.client.head("/generate?seed=1"), server.client.get("/generate?seed=1")
    assert head.content == b""
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == str(len(get.content))
