"""/v2: the health and metadata that clients of the Open Inference Protocol read."""

from __future__ import annotations

from pathlib import Path

import pytest

import longjump

from .conftest import Server, Start


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images)


def test_server_says_who_it_is(server: Server) -> None:
    assert server.client.get("/v2").json() == {"name": "longjump", "version": longjump.__version__, "extensions": []}


def test_health_is_that_of_the_probes(server: Server) -> None:
    live, ready = server.client.get("/v2/health/live"), server.client.get("/v2/health/ready")
    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (200, {"live": True, "ready": True})
    one = server.client.get("/v2/models/tiny/ready")
    assert (one.status_code, one.json()) == (200, {"name": "tiny", "ready": True})


def test_server_that_starts_is_alive_and_not_ready(start: Start, images: Path) -> None:
    server = start(images, ready=False, held=True, TEST_SLOW_START="1")
    server.wait_until_listening()
    assert server.client.get("/v2/health/live").status_code == 200
    ready = server.client.get("/v2/health/ready")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert server.client.get("/v2/models/tiny").status_code == 404
    server.open_gate()
    server.wait_until_ready()
    assert server.client.get("/v2/health/ready").status_code == 200


def test_metadata_describe_the_graph(server: Server) -> None:
    model = server.client.get("/v2/models/tiny").json()
    assert (model["name"], model["platform"]) == ("tiny", "onnx_onnxv1")
    assert {one["name"]: (one["datatype"], one["shape"]) for one in model["inputs"]} == {
        "z": ("FP32", [-1, 3, 8, 8]),
        "t": ("FP32", [-1]),
        "s": ("FP32", [-1]),
        "label": ("INT64", [-1]),
    }
    assert model["outputs"] == [{"name": "z_s", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]


def test_guidance_is_an_input_where_the_graph_takes_it(start_shared: Start, guided: Path) -> None:
    model = start_shared(guided).client.get("/v2/models/guided").json()
    assert model["inputs"][-1] == {"name": "guidance", "datatype": "FP32", "shape": [-1]}


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/other/ready", "/v2/models/tiny/infer", "/v2/nothing"])
def test_errors_are_the_protocols(server: Server, path: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert isinstance(answer.json()["error"], str)
