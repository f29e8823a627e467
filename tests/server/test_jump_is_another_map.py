"""POST /jump: the map of a model of points, asked for any points and times that its span knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.runtime.bundle import open_bundle
from export.runtime.engines import open_engine
from export.wrap import wrap

from .conftest import Server, Start, jump_graph

Z = [[0.5, -1.25], [0.1, 2.0], [0.0, 0.0]]


@pytest.fixture(scope="module")
def server(start_shared: Start, points: Path) -> Server:
    return start_shared(points, fake=False)


def asked(server: Server, status: int = 200, **fields: Any) -> dict[str, Any]:
    answer = server.client.post("/jump", json=fields)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_points_land_elsewhere(server: Server, points: Path) -> None:
    """Bit for bit what the engine gives, for times inside the path too."""
    engine = open_engine(open_bundle(points))
    for t, s in ((1.0, 0.0), (0.7, 0.2), (0.3, 0.3)):
        reply = asked(server, t=t, s=s, z=Z)
        rows = [np.full(3, value, np.float32) for value in (t, s)]
        expected = engine.jump(np.array(Z, np.float32), *rows, np.zeros(3, np.int64), None)
        np.testing.assert_array_equal(np.array(reply["z"], np.float32), expected)
        assert (reply["t"], reply["s"], reply["label"]) == (t, s, "none")


def test_jump_shares_a_tick_with_samples(server: Server) -> None:
    """Two legs are the whole, since this map's are; and a sampler's first step is this jump."""
    whole = asked(server, t=1, s=0, z=Z)["z"]
    assert whole != asked(server, t=1, s=0.5, z=Z)["z"]
    assert asked(server, t=1, s=0, z=Z[::-1])["z"] == whole[::-1]


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"s": 0, "z": Z}, "t", "t is missing"),
        ({"t": 1, "s": 0}, "z", "z is missing"),
        ({"t": 0.2, "s": 0.5, "z": Z}, "s", "not one from a time in [0, 1] to an earlier one"),
        ({"t": 1.5, "s": 0, "z": Z}, "t", "a time from 0, data, to 1, noise"),
        ({"t": 1, "s": 0, "z": [[1, 2], [3]]}, "z", "has 2 coordinates, not 1"),
        ({"t": 1, "s": 0, "z": [[1e300, 2]]}, "z", "no float32"),
        ({"t": 1, "s": 0, "z": []}, "z", "a list of points"),
        ({"t": 1, "s": 0, "z": "1,2"}, "z", "a list of points"),
        ({"t": 1, "s": 0, "z": [[0, 0]] * 65}, "z", "at most 64"),
        ({"t": 1, "s": 0, "z": Z, "steps": 2}, "steps", "unknown field"),
        ({"t": 1, "s": 0, "z": Z, "label": "cat"}, "label", "no labels"),
    ],
)
def test_senseless_jump_is_made(server: Server, fields: dict[str, Any], field: str, told: str) -> None:
    errors = asked(server, 422, **fields)["errors"]
    assert field in [error["field"] for error in errors]
    assert told in " ".join(error["detail"] for error in errors)


def test_infinity_is_the_servers_fault(server: Server) -> None:
    """A place where the map has no finite value is an answer, not a failure of the server that raises an alarm."""
    assert asked(server, t=1, s=0, z=[[3.4e38, -3.4e38], [0.5, 1.0]])["z"][0].count(None) > 0


def test_pictures_jump(start: Start, images: Path) -> None:
    reply = asked(start(images), 422, t=1, s=0, z=[[0.0]])
    assert "a model of points" in reply["detail"]


def test_query_is_forgotten(server: Server) -> None:
    answer = server.client.post("/jump?t=1", json={"s": 0, "z": Z})
    assert answer.status_code == 400
    assert "JSON body" in answer.json()["detail"]


def test_span_is_left(start: Start, tmp_path: Path) -> None:
    """A map to the end knows no jump to a time between."""

    wrap(jump_graph(tmp_path / "jump.onnx", (2,)), tmp_path / "end", z_shape=(2,), labels=[], span="endpoint")
    server = start(tmp_path / "end", fake=False)
    assert asked(server, t=0.4, s=0, z=Z)["z"]
    assert "span 'endpoint'" in asked(server, 422, t=0.4, s=0.1, z=Z)["detail"]


def test_documentation_leaves_it_out(server: Server) -> None:
    item = server.client.get("/openapi.json").json()["paths"]["/jump"]["post"]
    for example in item["requestBody"]["content"]["application/json"]["examples"].values():
        assert len(asked(server, **example["value"])["z"]) == 2
