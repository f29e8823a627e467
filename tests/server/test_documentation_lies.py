"""/docs opens without the internet, its examples work, and /metrics has the names that dashboards use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Server, Start


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


def test_openapi_examples_work(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {"/generate", "/v1/models", "/livez", "/readyz", "/metrics"}
    post = document["paths"]["/generate"]["post"]
    examples = post["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) >= 3
    for example in examples.values():
        answer = server.client.post("/generate", json=example["value"])
        assert answer.status_code == 200, answer.text
    get = document["paths"]["/generate"]["get"]
    assert [one["name"] for one in get["parameters"] if one.get("required")] == ["seed"]
    fields = {one["name"]: one["schema"] for one in get["parameters"]}
    assert set(fields) == {"steps", "seed", "label", "guidance", "n", "format", "model"}
    assert fields["steps"]["enum"] == [1, 2, 4]
    assert {"200", "400", "413", "415", "422", "429", "500", "503"} <= set(post["responses"])
    for path in document["paths"]:
        if path != "/generate":
            assert server.client.get(path).status_code == 200


def test_docs_open_without_the_internet(server: Server) -> None:
    page = server.client.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page.text)
    files = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(files) == 3
    for file in files:
        assert server.client.get("/" + file).status_code == 200


def test_metrics_have_their_names(server: Server) -> None:
    server.client.post("/generate?steps=2&seed=1")
    server.client.post("/generate?steps=3&seed=1")
    text = server.client.get("/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE))
    assert kinds == {
        "longjump_requests_total": "counter",
        "longjump_request_seconds": "histogram",
        "longjump_stage_seconds": "histogram",
        "longjump_tick_rows": "histogram",
        "longjump_tick_seconds": "histogram",
        "longjump_waiting": "gauge",
        "longjump_running": "gauge",
        "longjump_row_steps": "gauge",
        "longjump_worker_up": "gauge",
        "longjump_worker_restarts_total": "counter",
    }
    assert re.search(r'^longjump_requests_total\{code="200",steps="2"\} [1-9]', text, re.MULTILINE)
    assert re.search(r'^longjump_requests_total\{code="422",steps="none"\} [1-9]', text, re.MULTILINE)
    assert set(re.findall(r'stage="(\w+)"', text)) == {"queue", "network", "decode", "encode"}
    assert 'longjump_stage_seconds_bucket{le="0.001",stage="network"}' in text
    assert re.search(r"^longjump_worker_up 1\.0$", text, re.MULTILINE)


def test_models_say_what_is_served(server: Server) -> None:
    listed = server.client.get("/v1/models").json()
    (model,) = listed["data"]
    assert (listed["object"], model["object"], model["id"]) == ("list", "model", "tiny")
    assert model["labels"] == ["cat", "dog", "owl"]
    assert (model["steps"], model["default_steps"], model["image_shape"]) == ([1, 2, 4], 1, [8, 8, 3])
    assert model["fingerprint"] == server.client.post("/generate").headers["longjump-fingerprint"]
