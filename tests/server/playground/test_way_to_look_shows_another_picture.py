"""Refine, Vary, Interpolate and Wall show what their requests gave, and ask no more than they should."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from .conftest import Window, decoded, same


def test_stream_leaves_a_step_out(window: Window) -> None:
    window["#tab-refine"].click()
    expect(window["#refine-trail li"]).to_have_count(4)
    expect(window["#refine-trail .last"]).to_contain_text("4 steps")
    assert same(window, "#refine-big img", "/generate?seed=7&steps=4")
    first = window.pixels("#refine-trail li:nth-child(1) img")
    assert not np.array_equal(first, window.pixels("#refine-big img"))
    window["#steps"].get_by_label("2").check()
    expect(window["#refine-trail li"]).to_have_count(2)
    before = len(window.asked("/generate"))
    window["#refine-again"].click()
    window.until(lambda: len(window.asked("/generate")) == before + 1, "it is asked again")
    assert window.asked("/generate")[-1] == {"seed": "7", "steps": "2", "stream": "every"}


def upload() -> bytes:
    noise = np.random.Generator(np.random.PCG64(3)).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(noise).save(held, "png")
    return held.getvalue()


def variations(window: Window, image: bytes, **fields: object) -> list[bytes]:
    """What the server gives a program for a picture."""
    answer = window.server.client.post(
        "/variations",
        params={"n": 8, "seed": 7, "steps": 1, **fields},  # type: ignore[arg-type]
        content=image,
        headers={"content-type": "image/png", "accept": "application/json"},
    )
    return [base64.b64decode(one["base64"]) for one in answer.json()["images"]]


def shows(window: Window, selector: str, pictures: list[bytes]) -> bool:
    expect(window[f"{selector} img"]).to_have_count(len(pictures))
    return all(
        np.array_equal(window.pixels(f"{selector} > :nth-child({i + 1}) img"), decoded(picture))
        for i, picture in enumerate(pictures)
    )


def test_variations_are_of_another_picture(window: Window) -> None:
    window["#compare-vary"].click()
    expect(window["#tab-vary"]).to_have_attribute("aria-selected", "true")
    generated = window.server.client.get("/generate?seed=7&steps=1").content
    assert shows(window, "#variations", variations(window, generated, strength=0.7))

    image = upload()
    window["#upload"].set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": image})
    expect(window["#vary-source img"]).to_have_attribute("alt", "Your picture, mine.png")
    window.settled("vary")
    assert shows(window, "#variations", variations(window, image, strength=0.7))

    window["#strength"].fill("0.3")
    expect(window["#strength-value"]).to_have_text("0.30")
    window.settled("vary")
    near = variations(window, image, strength=0.3)
    assert shows(window, "#variations", near)

    window["#variations button"].nth(2).click()
    expect(window["#vary-source img"]).to_have_attribute("alt", re.compile("seed 9"))
    window.settled("vary")
    assert shows(window, "#variations", variations(window, near[2], strength=0.3))
    with window.page.expect_download() as download:
        window["#vary-save"].click()
    assert Path(download.value.path()).read_bytes() == near[2]

    window["#vary-made"].click()
    expect(window["#vary-source img"]).to_have_attribute("alt", re.compile("seed 7"))
    window.settled("vary")
    assert shows(window, "#variations", variations(window, generated, strength=0.3))


def test_file_that_is_no_picture_is_sent(window: Window) -> None:
    window["#tab-vary"].click()
    expect(window["#variations img"]).to_have_count(8)
    before = len(window.asked("/variations"))
    window["#upload"].set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    expect(window["#message"]).to_contain_text("a.txt is text/plain; a picture is a PNG, JPEG or WebP file")
    for name, content in (("cut.png", upload()[:60]), ("empty.png", b""), ("text.png", b"hello")):
        window["#upload"].set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
        expect(window["#message"]).to_contain_text(f"{name} cannot be read as a picture")
        expect(window["#vary-source img"]).to_have_attribute("alt", re.compile("^The picture that is varied"))
    assert len(window.asked("/variations")) == before


def test_way_goes_elsewhere(window: Window) -> None:
    window["#tab-interpolate"].click()
    expect(window["#path-grid img"]).to_have_count(8)
    assert same(window, "#path-grid > :nth-child(1) img", "/generate?seed=7&steps=1")
    assert same(window, "#path-grid > :nth-child(8) img", "/generate?seed=8&steps=1")
    window["#seed-to"].fill("20")
    window["#frames"].select_option("5")
    expect(window["#path-grid img"]).to_have_count(5)
    window.settled("interpolate")
    assert same(window, "#path-grid > :nth-child(5) img", "/generate?seed=20&steps=1")
    window["#labels"].get_by_label("cat", exact=True).check()
    window["#label-to"].select_option("owl")
    window.settled("interpolate")
    assert same(window, "#path-grid > :nth-child(5) img", "/generate?seed=20&steps=1&label=owl")
    window["#seed-to-draw"].click()
    expect(window["#seed-to"]).not_to_have_value("20")


def test_player_does_not_play(window: Window) -> None:
    window["#tab-interpolate"].click()
    expect(window["#path-play"]).to_have_attribute("aria-label", "Stop")
    expect(window["#path-at"]).not_to_have_value("0")  # it moves by itself
    window["#path-play"].click()
    expect(window["#path-play"]).to_have_attribute("aria-label", "Play")
    window["#path-grid button"].nth(5).click()
    expect(window["#path-at"]).to_have_value("5")
    expect(window["#path-big img"].nth(5)).to_be_visible()
    expect(window["#path-big img:visible"]).to_have_count(1)
    window["#path-at"].fill("2")
    expect(window["#path-big img"].nth(2)).to_be_visible()
    with window.page.expect_download() as download:
        window["#path-save"].click()
    with Image.open(download.value.path()) as moving:
        assert (moving.format, moving.n_frames) == ("WEBP", 8)  # type: ignore[attr-defined]


EMPTY = """(canvas, [columns, rows]) => {
    const context = canvas.getContext("2d");
    const size = canvas.width / columns;
    const middle = (place) => (place + 0.5) * size;
    const alpha = (i) => context.getImageData(middle(i % columns), middle(Math.floor(i / columns)), 1, 1).data[3];
    return Array.from({ length: rows * columns }, (_, i) => alpha(i)).filter((value) => value < 255).length;
}"""
"""How many places of the wall have no picture."""

TILE = """(canvas, [columns, at]) => {
    const size = canvas.width / columns;
    const [x, y] = [at % columns, Math.floor(at / columns)];
    return Array.from(canvas.getContext("2d").getImageData(x * size, y * size, size, size).data);
}"""
"""The pixels of one place."""


def test_wall_has_gaps(window: Window) -> None:
    window["#tab-wall"].click()
    window["#wall-run"].click()
    expect(window["#wall-run"]).to_have_text("Fill it again")
    columns, rows = window["#wall-canvas"].evaluate("(canvas) => canvas.style.aspectRatio.split('/').map(Number)")
    assert window["#wall-canvas"].evaluate(EMPTY, [columns, rows]) == 0
    asked = [fields for fields in window.asked("/generate") if "n" in fields]
    assert sum(int(fields["n"]) for fields in asked) == rows * columns
    assert {(fields["steps"], fields["priority"]) for fields in asked} == {("1", "batch")}
    for at in (0, columns + 3, rows * columns - 1):
        data = window["#wall-canvas"].evaluate(TILE, [columns, at])
        tile = np.array(data, dtype=np.uint8).reshape(32, 32, 4)[..., :3]
        assert np.array_equal(tile[2::4, 2::4], window.served(f"/generate?seed={7 + at}&steps=1"))

    window.allow("willReadFrequently")  # it is this test that reads

    window["#wall-canvas"].focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        window.page.keyboard.press(key)
    expect(window["#wall-note"]).to_contain_text(f"seed {7 + columns + 1}")
    window.page.keyboard.press("Enter")
    expect(window["#tab-compare"]).to_have_attribute("aria-selected", "true")
    expect(window["#seed"]).to_have_value(str(7 + columns + 1))


def test_wall_asks_without_bound(window: Window) -> None:
    """At most three requests are in flight, also of a wall that goes on until it is stopped."""
    window["#tab-wall"].click()
    flying, most = set(), 0

    def sent(request: object) -> None:
        nonlocal most
        if "priority=batch" in request.url and "n=" in request.url:  # type: ignore[attr-defined]
            flying.add(request)
            most = max(most, len(flying))

    window.page.on("request", sent)
    window.page.on("requestfinished", lambda request: flying.discard(request))
    window.page.on("requestfailed", lambda request: flying.discard(request))
    window["#wall-on"].check()
    window["#wall-run"].click()
    expect(window["#wall-run"]).to_have_text("Stop")
    cells = window["#wall-canvas"].evaluate("(canvas) => canvas.style.aspectRatio.split('/').reduce((a, b) => a * b)")
    expect(window["#wall-figures"]).to_have_text(re.compile(r"^\d{4,} pictures"))  # more than it has places
    assert cells < 1000
    window["#wall-run"].click()
    expect(window["#wall-run"]).to_have_text("Fill it again")
    assert 1 < most <= 3


def test_wall_that_is_stopped_complains_of_its_last_reply(window: Window) -> None:
    """A reply of which half has come ends in an error of the browser's own when the wall is stopped."""
    window.page.evaluate("""() => {
        const json = Response.prototype.json;
        Response.prototype.json = function () {
            if (!this.url.includes("generate")) return json.call(this);
            return new Promise((_, reject) => {
                window.cut = () => reject(new DOMException("The user aborted a request.", "AbortError"));
            });
        };
    }""")
    window["#tab-wall"].click()
    window["#wall-run"].click()
    window.page.wait_for_function("() => window.cut")
    window["#wall-run"].click()
    window.page.evaluate("() => window.cut()")
    expect(window["#wall-run"]).not_to_have_text("Stop")
    expect(window["#message"]).to_be_hidden()
