"""POST /variations: from an uploaded picture, as near to it as the strength says, and the same bytes again."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.runtime.bundle import open_bundle
from server.backend.model import Model
from server.http.endpoint import Exchange
from server.http.plan import Plan, Visit
from server.http.uploads import Uploads
from server.http.variations import Variations

from .conftest import Server, Start
from .fake_line import ENGINE

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def server(start_shared: Start, images: Path) -> Server:
    return start_shared(images, "--max-upload", "4096", fake=False)


def picture(height: int = 8, width: int = 8) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([60 + 20 * x, 200 - 20 * y, 90 + 5 * (x + y)], axis=-1).astype(np.uint8))


def file(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def vary(server: Server, content: bytes, media_type: str = "image/png", **fields: object) -> httpx.Response:
    params = {name: str(value) for name, value in fields.items()}
    answer = server.client.post("/variations", params=params, content=content, headers={"content-type": media_type})
    assert answer.status_code == 200, answer.text
    return answer


def array(answer: httpx.Response) -> NDArray[np.int64]:
    return np.load(io.BytesIO(answer.content), allow_pickle=False).astype(int)


def distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float(np.abs(one - other).mean())


def test_strength_leads_from_the_picture_to_what_is_generated(server: Server) -> None:
    source = np.asarray(picture()).astype(int)
    fresh = array(server.client.post("/generate?seed=5&label=none&format=npy"))
    varied = [
        array(vary(server, file(picture()), seed=5, strength=strength, format="npy"))
        for strength in (1e-6, 0.2, 0.5, 0.8, 1)
    ]
    np.testing.assert_array_equal(varied[0], source)
    np.testing.assert_array_equal(varied[-1], fresh)
    away = [distance(one, source) for one in varied]
    assert away == sorted(set(away)), "each is farther from the picture"
    towards = [distance(one, fresh) for one in varied]
    assert towards == sorted(set(towards), reverse=True), "and nearer to what the seed alone gives"


def test_same_picture_gives_the_same_bytes_and_another_does_not(server: Server) -> None:
    first = vary(server, file(picture()), seed=31)
    again = vary(server, file(picture(), "WEBP", lossless=True), "image/webp", seed=31)
    assert first.content == again.content
    assert (first.headers["longjump-cache"], again.headers["longjump-cache"]) == ("miss", "hit")
    brighter = Image.fromarray(np.asarray(picture()) + np.uint8(9))
    for other in (
        vary(server, file(brighter), seed=31),
        vary(server, file(picture()), seed=32),
        vary(server, file(picture()), seed=31, strength=0.6),
        vary(server, file(picture()), seed=31, steps=4),
        vary(server, file(picture()), seed=31, label="owl"),
    ):
        assert other.headers["longjump-cache"] == "miss"
        assert other.content != first.content
    told = first.headers
    assert (told["longjump-seed"], told["longjump-strength"], told["longjump-label"]) == ("31", "0.7", "none")
    assert told["cache-control"] == "no-store"


def test_without_a_seed_each_is_another(server: Server) -> None:
    one, other = (vary(server, file(picture())) for _ in range(2))
    assert one.content != other.content
    replayed = vary(server, file(picture()), seed=one.headers["longjump-seed"])
    assert replayed.content == one.content


def test_many_variations_are_those_of_the_seeds(server: Server) -> None:
    content = file(picture())
    each = [array(vary(server, content, seed=7 + i, format="npy")) for i in range(3)]
    stacked = array(vary(server, content, seed=7, n=3, format="npy"))
    np.testing.assert_array_equal(stacked, np.stack(each))
    answer = server.client.post(
        "/variations?seed=7&n=3", content=content, headers={"content-type": "image/png", "accept": "application/json"}
    ).json()
    assert (answer["strength"], [image["seed"] for image in answer["images"]]) == (0.7, [7, 8, 9])
    decoded = [np.asarray(Image.open(io.BytesIO(base64.b64decode(image["base64"])))) for image in answer["images"]]
    np.testing.assert_array_equal(np.stack(decoded), stacked)


def test_form_is_the_same_as_a_body(server: Server) -> None:
    content = file(picture(20, 30), "JPEG")
    body = vary(server, content, "image/jpeg", seed=3, strength=0.4, label="cat")
    form = server.client.post(
        "/variations", data={"seed": "3", "strength": "0.4", "label": "cat", "n": ""}, files={"image": content}
    )
    split = server.client.post("/variations?seed=3&label=cat", data={"strength": "0.4"}, files={"image": content})
    assert body.content == form.content == split.content


def test_grey_model_sees_the_brightness(start: Start, guided: Path) -> None:
    server = start(guided, fake=False)
    grey = picture().convert("L")
    seen = array(vary(server, file(picture()), strength=1e-6, seed=1, format="npy"))
    np.testing.assert_array_equal(seen, np.asarray(grey.convert("RGB")))
    assert vary(server, file(grey), seed=1).content == vary(server, file(picture()), seed=1).content


BAD: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "JSON": ("", {"json": {"seed": 1}}, 415, "multipart/form-data"),
    "nothing": ("", {}, 415, "multipart/form-data"),
    "empty body": ("", {"content": b"", "headers": {"content-type": "image/png"}}, 400, "is empty"),
    "too large": ("", {"content": b"x" * 5000, "headers": {"content-type": "image/png"}}, 413, "limit of 4096 bytes"),
    "too large in pieces": (
        "",
        {"content": iter([b"x" * 3000] * 2), "headers": {"content-type": "image/png"}},
        413,
        "limit of 4096 bytes",
    ),
    "too large in a form": ("", {"files": {"image": b"x" * 5000}}, 413, "limit of 4096 bytes"),
    "form without image": ("", {"files": {"picture": b"x"}}, 400, "no field 'image'"),
    "not an image": ("", {"files": {"image": b"hello"}}, 415, "PNG, JPEG or WebP"),
    "damaged": ("", {"files": {"image": file(picture())[:50]}}, 422, "cannot be read"),
    "given twice": ("?seed=1", {"data": {"seed": "1"}, "files": {"image": file(picture())}}, 422, "both"),
    "strength": ("?strength=0", {"files": {"image": file(picture())}}, 422, "above 0 and up to 1"),
    "unknown field": ("?streng=1", {"files": {"image": file(picture())}}, 422, "unknown field streng"),
}


@pytest.mark.parametrize(("query", "options", "status", "words"), BAD.values(), ids=BAD.keys())
def test_bad_upload_is_a_problem_document(
    server: Server, query: str, options: dict[str, Any], status: int, words: str
) -> None:
    answer = server.client.post("/variations" + query, **options)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]


def test_slow_upload_does_not_use_up_the_deadline(images: Path) -> None:
    """The deadline counts from when the picture is here."""
    content = file(picture())
    model = Model(open_bundle(images).manifest, "print", 1, {}, ENGINE)
    visits: list[Visit] = []
    received: list[float] = []

    class Lines:
        complete = True
        models = (model,)

    class Stop(Exception):
        pass

    class Desk:
        async def answer(self, plan: Plan, visit: Visit, receive: object) -> None:
            visits.append(visit)
            raise Stop

    def pieces() -> Iterator[dict[str, Any]]:
        for i in range(0, len(content), 20):
            time.sleep(0.001)
            received.append(time.monotonic())
            yield {"type": "http.request", "body": content[i : i + 20], "more_body": i + 20 < len(content)}

    coming = pieces()

    async def receive() -> dict[str, Any]:
        return next(coming)

    headers = [(b"content-type", b"image/png")]
    scope = {"method": "POST", "path": "/variations", "query_string": b"deadline_ms=100", "headers": headers}
    exchange = Exchange(scope, receive, None)  # type: ignore[arg-type]
    with pytest.raises(Stop):
        asyncio.run(Variations(Desk(), Lines(), Uploads(max_bytes=2**20), 8)(exchange))  # type: ignore[arg-type]
    (visit,) = visits
    assert visit.arrival >= received[-1] > exchange.arrival
    assert visit.deadline == 0.1
