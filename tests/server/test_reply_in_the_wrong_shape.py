"""One image or many, as an image, an array or JSON: what comes back is what was asked for."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.runtime.images import MEDIA_TYPES as RUNTIME_MEDIA_TYPES
from server.http.reply import MEDIA_TYPES, wants_json

from .conftest import Server, Start


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images, fake=False)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "npy"])
@pytest.mark.parametrize("n", [1, 5])
def test_image_has_its_format_and_size(server: Server, format: str, n: int) -> None:
    answer = server.client.post(f"/generate?seed=3&format={format}&n={n}")
    assert answer.headers["content-type"] == MEDIA_TYPES[format]  # type: ignore[index]
    if format == "npy":
        array = np.load(io.BytesIO(answer.content), allow_pickle=False)
        assert array.shape == ((8, 8, 3) if n == 1 else (5, 8, 8, 3))
        assert array.dtype == np.uint8
    else:
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.format == format.upper()
        assert picture.size == ((8, 8) if n == 1 else (24, 16))
    assert answer.headers["longjump-seed"] == "3"
    assert len(answer.headers["longjump-label"].split(",")) == n


def test_grid_json_and_array_show_the_same_images(server: Server) -> None:
    json = server.client.post("/generate?seed=9&n=2", headers={"accept": "application/json"})
    assert json.headers["content-type"] == "application/json"
    reply = json.json()
    assert [image["seed"] for image in reply["images"]] == [9, 10]
    assert (reply["steps"], reply["guidance"], reply["media_type"]) == (1, 1.0, "image/png")
    assert reply["fingerprint"] == json.headers["longjump-fingerprint"]
    each = [pixels(base64.b64decode(image["base64"])) for image in reply["images"]]
    grid = pixels(server.client.post("/generate?seed=9&n=2").content)
    np.testing.assert_array_equal(grid, np.concatenate(each, axis=1))
    array = np.load(io.BytesIO(server.client.post("/generate?seed=9&n=2&format=npy").content))
    np.testing.assert_array_equal(array, np.stack(each))


@pytest.mark.parametrize(
    ("accept", "one", "many"),
    [
        ("", False, False),
        ("*/*", False, False),
        ("image/avif,image/webp,*/*;q=0.8", False, False),
        ("application/json", True, True),
        ("application/json, text/plain, */*", False, True),
        ("application/json;q=0.5, image/png", False, False),
        ("application/json, image/*;q=0.5", True, True),
        ("application/json;q=0", False, False),
        ("application/json;q=nonsense", False, False),
        ("APPLICATION/JSON ; q=1.0", True, True),
        ("application/problem+json", False, False),
    ],
)
def test_accept_chooses_json(accept: str, one: bool, many: bool) -> None:
    assert wants_json(accept, 1, "png") is one
    assert wants_json(accept, 2, "png") is many


def test_label_by_index_name_and_none(server: Server) -> None:
    by_name, by_index, none = (
        server.client.post(f"/generate?seed=1&format=npy&label={label}") for label in ("owl", "2", "none")
    )
    assert by_name.content == by_index.content != none.content
    assert (by_index.headers["longjump-label"], by_index.headers["longjump-label-name"]) == ("2", "owl")
    assert (none.headers["longjump-label"], none.headers["longjump-label-name"]) == ("none", "none")


def test_fields_in_query_and_body_are_the_same(server: Server) -> None:
    query = server.client.post("/generate?seed=5&steps=2&label=cat&n=2&format=webp")
    body = server.client.post("/generate", json={"seed": 5, "steps": 2, "label": "cat", "n": 2, "format": "webp"})
    split = server.client.post("/generate?seed=5&steps=2", json={"label": 0, "n": 2, "format": "webp", "model": None})
    assert query.content == body.content == split.content


def test_stages_are_told(server: Server) -> None:
    timing = server.client.post("/generate").headers["server-timing"]
    stages = dict(part.split(";dur=") for part in timing.split(", "))
    assert list(stages) == ["queue", "network", "decode", "encode", "total"]
    assert all(float(value) >= 0 for value in stages.values())


def test_points_come_as_json_or_array(start: Start, points: Path) -> None:
    server = start(points, fake=False)
    json = server.client.post("/generate?seed=1&n=3")
    assert json.headers["content-type"] == "application/json"
    assert json.headers["longjump-steps"] == "2", "the fewest steps there are"
    reply = json.json()
    assert [sample["label"] for sample in reply["samples"]] == ["none"] * 3
    array = np.load(io.BytesIO(server.client.post("/generate?seed=1&n=3&format=npy").content))
    assert array.shape == (3, 2)
    np.testing.assert_array_equal(np.asarray(reply["points"], dtype=np.float32), array)
    refused = server.client.post("/generate?format=png&label=cat").json()
    assert "format=png is not one of json, npy" in refused["detail"]
    assert "plane has no labels" in refused["detail"]


def test_media_types_are_those_of_the_runtime() -> None:
    assert MEDIA_TYPES == {**RUNTIME_MEDIA_TYPES, "json": "application/json"}
