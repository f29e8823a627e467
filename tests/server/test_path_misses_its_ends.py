"""/interpolate: a way that begins and ends where /generate says, as a grid, an animation, an array or JSON."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from .conftest import Server, Start


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images, fake=False)


def get(server: Server, query: str, **headers: str) -> httpx.Response:
    answer = server.client.get(f"/interpolate?{query}", headers=headers)
    assert answer.status_code in (200, 304), answer.text
    return answer


def array(answer: httpx.Response) -> NDArray[np.uint8]:
    loaded: NDArray[np.uint8] = np.load(io.BytesIO(answer.content), allow_pickle=False)
    return loaded


def generated(server: Server, query: str) -> NDArray[np.uint8]:
    return array(server.client.get(f"/generate?format=npy&{query}"))


def frames(content: bytes) -> NDArray[np.uint8]:
    animation = Image.open(io.BytesIO(content))
    found = []
    for number in range(animation.n_frames):  # type: ignore[attr-defined]
        animation.seek(number)
        found.append(np.asarray(animation.convert("RGB")))
    return np.stack(found)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize(
    ("labels", "first", "last"),
    [
        ("", "", ""),
        ("&label=dog", "&label=dog", "&label=dog"),
        ("&label=cat&label_to=owl", "&label=cat", "&label=owl"),
        ("&label_to=none", "", "&label=none"),
    ],
)
def test_ends_are_what_generate_gives(server: Server, steps: int, labels: str, first: str, last: str) -> None:
    """Two steps re-noise: also the noise that comes in between leads from end to end."""
    way = array(get(server, f"seed=3&seed_to=900&n=5&format=npy&steps={steps}{labels}"))
    np.testing.assert_array_equal(way[0], generated(server, f"seed=3&steps={steps}{first}"))
    np.testing.assert_array_equal(way[-1], generated(server, f"seed=900&steps={steps}{last}"))
    moves = np.abs(np.diff(way.astype(int), axis=0)).mean(axis=(1, 2, 3))
    whole = np.abs(way[-1].astype(int) - way[0]).mean()
    assert (moves > 0).all()
    assert moves.max() < whole, "no step goes all the way"


def test_way_between_two_classes_of_one_seed(server: Server) -> None:
    way = array(get(server, "seed=3&seed_to=3&label=cat&label_to=owl&n=3&format=npy")).astype(int)
    seen = ((way > 0) & (way < 255)).all(axis=0)  # the others are cut off somewhere
    assert seen.any()
    assert np.abs(way[1] - (way[0] + way[2]) / 2)[seen].max() <= 1.5, "one step halfway is halfway"
    assert np.abs(way[2] - way[0]).max() > 3, "control: the classes differ"


def test_seeds_do_not_count_up(server: Server) -> None:
    top = 2**63 - 1
    assert len(array(get(server, f"seed={top}&seed_to={top}&n=3&format=npy"))) == 3


def test_grid_json_array_and_animations_show_the_same(server: Server) -> None:
    query = "seed=1&seed_to=2&label=cat&label_to=dog&n=4"
    way = array(get(server, query + "&format=npy"))
    grid = np.asarray(Image.open(io.BytesIO(get(server, query).content)))
    np.testing.assert_array_equal(grid, np.vstack([np.hstack(way[:2]), np.hstack(way[2:])]))
    png = get(server, query + "&animate=true&frame_ms=250", accept="application/json, image/png")
    assert png.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(frames(png.content), way)
    opened = Image.open(io.BytesIO(png.content))
    assert (opened.info["duration"], opened.info["loop"]) == (250, 0)
    webp = get(server, query + "&animate=true&format=webp&quality=100")
    assert webp.headers["content-type"] == "image/webp"
    # In grey: webp blurs colours.
    moving, still = (pictures.astype(int).mean(axis=3) for pictures in (frames(webp.content), way))
    assert len(moving) == 4
    for first, last in ((0, -1), (-1, 0)):
        assert np.abs(moving[first] - still[first]).mean() < np.abs(moving[first] - still[last]).mean()
    reply = get(server, query, accept="application/json").json()
    assert reply["from"] == {"seed": 1, "label": 0, "label_name": "cat"}
    assert reply["to"] == {"seed": 2, "label": 1, "label_name": "dog"}
    np.testing.assert_allclose([image["at"] for image in reply["images"]], [0, 1 / 3, 2 / 3, 1])
    each = [np.asarray(Image.open(io.BytesIO(base64.b64decode(image["base64"])))) for image in reply["images"]]
    np.testing.assert_array_equal(np.stack(each), way)


def test_all_that_was_drawn_is_told_and_gives_the_same_again(server: Server) -> None:
    drawn = server.client.post("/interpolate", json={"n": 3})
    assert drawn.headers["cache-control"] == "no-store"
    first, last = drawn.headers["longjump-label"].split(",")
    told = {"seed": drawn.headers["longjump-seed"], "seed_to": drawn.headers["longjump-seed-to"]}
    assert told["seed"] != told["seed_to"]
    again = server.client.get("/interpolate", params={**told, "label": first, "label_to": last, "n": "3"})
    assert again.content == drawn.content
    half = server.client.post("/interpolate", json={"seed": 1, "n": 3})
    assert half.headers["longjump-cache"] == "miss"
    assert half.content != server.client.post("/interpolate", json={"seed": 1, "n": 3}).content, "seed_to is drawn"


def test_get_is_cached_by_all_that_it_depends_on(server: Server) -> None:
    query = "seed=1&seed_to=2&n=3&animate=true"
    tag = get(server, query).headers["etag"]
    assert get(server, query, **{"if-none-match": tag}).status_code == 304
    for other in ("&frame_ms=50", "&format=webp", "&label=cat", "&label_to=cat", "&steps=2"):
        assert get(server, query + other, **{"if-none-match": tag}).status_code == 200, other
    for changed in ("seed=1&seed_to=3&n=3&animate=true", "seed=1&seed_to=2&n=4&animate=true", "seed=1&seed_to=2&n=3"):
        assert get(server, changed, **{"if-none-match": tag}).status_code == 200, changed


def test_points_go_from_end_to_end(start: Start, points: Path) -> None:
    server = start(points, fake=False)
    reply = get(server, "seed=1&seed_to=2&n=3").json()
    ends = [server.client.get(f"/generate?seed={seed}").json()["points"][0] for seed in (1, 2)]
    assert [reply["points"][0], reply["points"][-1]] == ends
    assert [sample["at"] for sample in reply["samples"]] == [0, 0.5, 1]
    refused = server.client.get("/interpolate?seed=1&seed_to=2&animate=true")
    assert refused.status_code == 422


BAD = {
    "no end": ("GET", "seed=1", "seed_to", "GET /interpolate needs seed_to"),
    "no beginning": ("GET", "seed_to=1", "seed", "GET /interpolate needs seed,"),
    "one image": ("POST", "n=1", "n", "n=1 is not a whole number from 2 to 64"),
    "too many images": ("POST", "n=65", "n", "n=65 is not a whole number from 2 to 64"),
    "no such class": ("POST", "label_to=lynx", "label_to", "label_to=lynx is unknown"),
    "seed_to out of range": ("POST", f"seed_to={2**63}", "seed_to", "is not a whole number from 0 to"),
    "format without animations": ("POST", "animate=true&format=jpeg", "format", "format=jpeg holds no animation"),
    "arrays do not move": ("POST", "animate=true&format=npy", "format", "format=npy holds no animation"),
    "frame_ms of a grid": ("POST", "frame_ms=100", "frame_ms", "goes with animate=true"),
    "frame_ms out of range": ("POST", "animate=true&frame_ms=5", "frame_ms", "from 10 to 10000"),
    "animate what": ("POST", "animate=maybe", "animate", "animate=maybe is not true or false"),
    "a stream": ("POST", "stream=first", "stream", "unknown field stream"),
}


@pytest.mark.parametrize(("method", "query", "field", "words"), BAD.values(), ids=BAD.keys())
def test_bad_way_is_a_problem_document(server: Server, method: str, query: str, field: str, words: str) -> None:
    answer = server.client.request(method, f"/interpolate?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert words in error["detail"]


def test_documented_examples_work(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    path = document["paths"]["/interpolate"]
    for example in path["post"]["requestBody"]["content"]["application/json"]["examples"].values():
        answer = server.client.post("/interpolate", json=example["value"])
        assert answer.status_code == 200, answer.text
    needed = {one["name"]: one["example"] for one in path["get"]["parameters"] if one.get("required")}
    assert set(needed) == {"seed", "seed_to"}
    assert server.client.get("/interpolate", params=needed).status_code == 200
    content = document["paths"]["/variations"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "image/png", "image/jpeg", "image/webp"}
    assert content["multipart/form-data"]["schema"]["required"] == ["image"]
