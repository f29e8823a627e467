"""No page of another origin may ask unless `--cors` names it; then it may, with a key, and read what came back."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from server.http.auth import line_of, make_key

from .conftest import Server, Start

PAGE = "https://page.example"


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    key, entry = make_key("page")
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text(line_of(entry) + "\n")
    server = start_shared(images, "--cors", PAGE, "--api-keys", str(file))
    server.client.headers["authorization"] = f"Bearer {key}"
    return server


def preflight(server: Server, origin: str) -> httpx.Response:
    """What a browser asks before it lets a page send JSON with a key. It sends no key itself."""
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    return httpx.options(f"{server.client.base_url}/generate", headers={"origin": origin, **wanted})


def test_named_origin_may(server: Server) -> None:
    asked = preflight(server, PAGE)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == PAGE
    reply = server.client.post("/generate?seed=1", headers={"origin": PAGE})
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert reply.headers["x-request-id"]
    readable = {name.strip() for name in reply.headers["access-control-expose-headers"].split(",")}
    ours = {name for name in reply.headers if name.startswith(("longjump-", "server-timing", "x-request-id"))}
    assert ours <= readable
    # A page can also read why it was refused.
    refused = httpx.get(f"{server.client.base_url}/v1/models", headers={"origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_others_may_not(server: Server) -> None:
    asked = preflight(server, "https://other.example")
    assert asked.status_code == 400
    assert "access-control-allow-origin" not in asked.headers
    reply = server.client.post("/generate?seed=1", headers={"origin": "https://other.example"})
    assert "access-control-allow-origin" not in reply.headers


def test_without_the_flag_nobody_may(start: Start, images: Path) -> None:
    server = start(images)
    assert "access-control-allow-origin" not in preflight(server, PAGE).headers
    reply = server.client.post("/generate?seed=1", headers={"origin": PAGE})
    assert not [name for name in reply.headers if name.startswith("access-control-")]
