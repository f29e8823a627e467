"""/docs opens without the internet, its examples work, and /metrics has the names that dashboards use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from export.runtime.bundle import open_bundle
from export.runtime.manifest import Guidance
from server.backend.model import Model
from server.http.ask import Ask
from server.http.operations import Served, fields_of

from .conftest import Server, Start
from .fake_line import ENGINE


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/openapi.json").json()
    return found


MAKERS = ("/generate", "/variations", "/interpolate", "/v1/images/generations")
"""Paths that make pictures."""


def test_openapi_examples_work(server: Server, document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    shown = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in content.get("examples", {}).values():
                answer = server.client.request(method, path, json=example["value"])
                assert answer.status_code == (202 if path == "/jobs" else 200), (path, answer.text)
                media = answer.headers["content-type"].partition(";")[0]
                assert media in operation["responses"][str(answer.status_code)]["content"]
                shown += path == "/generate"
    assert shown >= 5


def test_every_route_is_documented(server: Server, document: dict[str, Any]) -> None:
    assert set(MAKERS) <= set(document["paths"])
    assert {"/v1/models", "/v1/capacity", "/livez", "/readyz", "/metrics", "/v2"} <= set(document["paths"])
    for path, item in document["paths"].items():
        if path not in MAKERS and "{" not in path and "get" in item:
            answer = server.client.get(path)
            assert answer.status_code == 200, path
            assert "200" in item["get"]["responses"]
        allowed = server.client.request("TRACE", path.replace("{name}", "tiny"))
        assert allowed.status_code == 405, path
        told = set(allowed.headers["allow"].split(", ")) - {"HEAD"}
        assert told == {method.upper() for method in item}, path


def test_limits_are_those_that_hold(server: Server, document: dict[str, Any]) -> None:
    """What the document allows is served, and what it leaves out is not."""
    operation = document["paths"]["/generate"]
    properties = operation["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    parameters = {one["name"]: one["schema"] for one in operation["get"]["parameters"]}
    assert set(properties) == set(parameters) == set(Ask.model_fields)
    assert [one["name"] for one in operation["get"]["parameters"] if one.get("required")] == ["seed"]
    assert {"400", "413", "415", "422", "429", "500", "503", "504"} <= set(operation["post"]["responses"])
    for schemas in (properties, parameters):
        steps, auto = schemas["steps"]["anyOf"]
        good = {
            "steps": [*steps["enum"], auto["const"]],
            "format": schemas["format"]["enum"],
            "n": [schemas["n"]["minimum"], schemas["n"]["maximum"]],
            "seed": [schemas["seed"]["minimum"]],
            "model": schemas["model"]["enum"],
            "priority": schemas["priority"]["enum"],
            "stream": schemas["stream"]["enum"],
            "on_disconnect": schemas["on_disconnect"]["enum"],
            "deadline_ms": [schemas["deadline_ms"]["maximum"]],
        }
        bad = {
            "steps": [3, "best"],
            "format": ["gif", "json"],
            "n": [0, schemas["n"]["maximum"] + 1],
            "seed": [-1, schemas["seed"]["exclusiveMaximum"]],
            "deadline_ms": [schemas["deadline_ms"]["exclusiveMinimum"], schemas["deadline_ms"]["maximum"] + 1],
        }
        for values, status in ((good, 200), (bad, 422)):
            for name, several in values.items():
                for value in several:
                    assert server.client.post("/generate", json={name: value}).status_code == status, (name, value)


def test_scale_that_is_refused_is_allowed(images: Path, guided: Path) -> None:
    """1 is outside the range of a model from 2 to 3, and all that one without the input takes."""
    asks = [open_bundle(guided).manifest.model_copy(update={"guidance": Guidance(min=2, max=3, default=2.5)})]
    asks.append(open_bundle(images).manifest)
    led, plain = (Model(one, "print", threads=1, startup={}, engine=ENGINE) for one in asks)

    def allowed(*models: Model) -> tuple[float | None, float | None]:
        schema = fields_of(Ask, Served(models, max_images=4))["guidance"]
        return schema.get("minimum"), schema.get("maximum")

    assert allowed(led) == (2, 3)
    assert allowed(led, plain) == allowed(plain, led) == (1, 3)
    assert allowed(plain) == (None, None)


def test_docs_open_without_the_internet(server: Server) -> None:
    page = server.client.get("/docs")
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
        "longjump_first_image_seconds": "histogram",
        "longjump_stage_seconds": "histogram",
        "longjump_tick_rows": "histogram",
        "longjump_tick_seconds": "histogram",
        "longjump_tick_padding_rows_total": "counter",
        "longjump_row_steps_total": "counter",
        "longjump_rejected_total": "counter",
        "longjump_cancelled_total": "counter",
        "longjump_deadline_missed_total": "counter",
        "longjump_steps_reduced_total": "counter",
        "longjump_cache_requests_total": "counter",
        "longjump_cache_hit_bytes_total": "counter",
        "longjump_cache_bytes": "gauge",
        "longjump_cache_limit_bytes": "gauge",
        "longjump_cache_entries": "gauge",
        "longjump_waiting": "gauge",
        "longjump_running": "gauge",
        "longjump_backlog_row_steps": "gauge",
        "longjump_backlog_bytes": "gauge",
        "longjump_predicted_wait_seconds": "gauge",
        "longjump_workers": "gauge",
        "longjump_workers_up": "gauge",
        "longjump_worker_up": "gauge",
        "longjump_worker_restarts_total": "counter",
        "longjump_engine_info": "gauge",
        "longjump_tick_cost_seconds": "gauge",
        "longjump_tick_limit_rows": "gauge",
        "longjump_build_info": "gauge",
        "longjump_jobs_running": "gauge",
        "longjump_jobs_ended_total": "counter",
        "longjump_webhooks_total": "counter",
        "longjump_cache_evictions_total": "counter",
        "longjump_cache_evicted_bytes_total": "counter",
        "longjump_queue_limit_requests": "gauge",
        "longjump_queue_limit_row_steps": "gauge",
        "longjump_queue_limit_bytes": "gauge",
        "longjump_default_deadline_seconds": "gauge",
    }
    assert re.search(
        r'^longjump_requests_total\{code="200",endpoint="generate",priority="interactive",steps="2"\} [1-9]', text, re.M
    )
    assert re.search(
        r'^longjump_requests_total\{code="422",endpoint="generate",priority="none",steps="none"\} [1-9]', text, re.M
    )
    stages = set(re.findall(r'longjump_stage_seconds.*stage="(\w+)"', text))
    assert stages == {"queue", "network", "decode", "encode"}
    assert 'longjump_stage_seconds_bucket{le="0.001",stage="network",steps="2"}' in text
    assert re.search(r"^longjump_worker_up 1\.0$", text, re.MULTILINE)


def test_models_say_what_is_served(server: Server) -> None:
    listed = server.client.get("/v1/models").json()
    (model,) = listed["data"]
    assert (listed["object"], model["object"], model["id"]) == ("list", "model", "tiny")
    assert model["labels"] == ["cat", "dog", "owl"]
    assert (model["steps"], model["default_steps"], model["image_shape"]) == ([1, 2, 4], 1, [8, 8, 3])
    assert model["fingerprint"] == server.client.post("/generate").headers["longjump-fingerprint"]
