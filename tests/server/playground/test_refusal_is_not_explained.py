"""A server that sheds load, is not ready, is gone, or asks for a key: the playground says so, and goes on by itself."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ..conftest import Server, Start
from .conftest import Open, Window

REFUSED = r"Failed to load resource"
"""What chromium's console says of any answer that is an error."""


def shown(window: Window, columns: int = 3) -> None:
    """The comparison is complete, and nothing is complained of."""
    expect(window["#columns img"]).to_have_count(columns)
    window.settled("compare")
    expect(window["#message"]).to_be_empty()


def test_full_queue(open_window: Open, start: Start, images: Path) -> None:
    server = start(images, "--max-waiting", "1", held=True)
    first = server.send("/generate?seed=1")
    server.wait_for("longjump_running", 1)
    window = open_window(server)
    window.open(settled=False)
    expect(window["#message"]).to_contain_text("The server is at its limit and turns work away.")
    expect(window["#message"]).to_contain_text("Trying again in")
    server.open_gate()
    assert first.result().status_code == 200
    shown(window)
    window.allow(REFUSED)


@pytest.fixture(scope="module")
def slow(start_shared: Start, images: Path) -> Server:
    """A server that takes a few requests in a second."""
    return start_shared(images, "--rate", "4/second", "--max-images", "8")


@pytest.fixture(scope="module")
def strict(start_shared: Start, images: Path) -> Server:
    """A server of small requests."""
    return start_shared(images, "--max-upload", "1000", "--max-images", "3")


def test_rate_is_used_up_for_a_moment(open_window: Open, slow: Server) -> None:
    window = open_window(slow)
    refused = []
    window.page.on("response", lambda response: response.status == 429 and refused.append(response))
    window.open(settled=False)
    shown(window)
    for seed in (8, 9):
        window["#seed-next"].click()
        expect(window["#columns img"].last).to_have_attribute("alt", re.compile(f"seed {seed}"))
    shown(window)
    assert refused
    window.allow(REFUSED)


def test_rate_is_used_up_for_long(open_window: Open, start: Start, images: Path) -> None:
    window = open_window(start(images, "--rate", "3/hour"))
    window.open(settled=False)
    expect(window["#message"]).to_contain_text("The server is still at its limit.")
    expect(window["#message"]).to_contain_text(re.compile(r"used up its rate; try again in 3\d{3}"))
    expect(window["#message button"]).to_have_text("Try again")
    window.allow(REFUSED)


def test_wall_waits_as_it_is_told(open_window: Open, slow: Server) -> None:
    window = open_window(slow)
    window.open("#mode=wall", settled=False)
    window["#wall-run"].click()
    expect(window["#wall-note"]).to_contain_text(re.compile(r"turned \d+ requests? away"))
    expect(window["#wall-figures"]).to_contain_text(re.compile(r"^\d{2,} pictures"))
    expect(window["#message"]).to_be_empty()
    window["#wall-run"].click()
    expect(window["#wall-run"]).to_have_text("Fill it again")
    window.allow(REFUSED)


def test_server_is_gone_and_back(open_window: Open, start: Start, images: Path) -> None:
    server = start(images)
    port = server.port
    window = open_window(server)
    window.open()
    server.end()
    window["#seed-next"].click()
    expect(window["#message"]).to_contain_text(f"Nothing answers at http://127.0.0.1:{port}")
    expect(window["#state-text"]).to_have_text("gone")
    expect(window["#live-note"]).to_contain_text("the last figures there were")
    start(images, "--port", str(port))
    expect(window["#columns img"].last).to_have_attribute("alt", re.compile("seed 8"))
    shown(window)
    expect(window["#state-text"]).to_have_text(re.compile("ready|working"))
    expect(window["#live-note"]).to_have_text(re.compile("from now on|the last"))
    expect(window["#live-note"]).not_to_contain_text("figures")
    window.allow(REFUSED)


def test_server_breaks_off_in_a_stream(open_window: Open, start: Start, images: Path) -> None:
    server = start(images)
    window = open_window(server)
    window.open()
    window["#tab-refine"].click()
    expect(window["#refine-trail li"]).to_have_count(4)
    server.end()
    window["#refine-again"].click()
    expect(window["#message"]).to_contain_text("Nothing answers at")
    window.allow(REFUSED)


def test_server_comes_back_with_another_model(open_window: Open, start: Start, images: Path, guided: Path) -> None:
    server = start(images)
    port = server.port
    window = open_window(server)
    window.open("#label=owl")
    server.end()
    expect(window["#message"]).to_contain_text("Nothing answers")
    start(guided, "--port", str(port))
    expect(window["#guidance-field"]).to_be_visible()
    expect(window["#about"]).to_contain_text("guided")
    expect(window["#labels .name"]).to_have_text(["any class", "cat", "dog", "no class"])
    expect(window["#message"]).to_be_empty()
    window.settled("compare")
    window.allow(REFUSED)


def test_server_is_still_starting(open_window: Open, start: Start, images: Path) -> None:
    server = start(images, held=True, ready=False, TEST_SLOW_START="1")
    server.wait_until_listening()
    window = open_window(server)
    window.open(settled=False)
    expect(window["#state-text"]).to_have_text("starting")
    server.open_gate()
    shown(window)
    window.allow(REFUSED)


def test_deadline_passes(open_window: Open, start: Start, images: Path) -> None:
    server = start(images, "--deadline", "400", held=True)
    window = open_window(server)
    window.open(settled=False)
    expect(window["#message"]).to_contain_text("Too late.")
    server.open_gate()
    window["#message button"].click()
    shown(window)
    window.allow(REFUSED)


def test_upload_is_too_large(open_window: Open, strict: Server) -> None:
    window = open_window(strict)
    window.open("#mode=vary", settled=False)
    expect(window["#variations img"]).to_have_count(3)
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(held, "png")
    window["#upload"].set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": held.getvalue()})
    expect(window["#message"]).to_contain_text("The body is over the limit of 1000 bytes.")
    expect(window["#message button"]).to_have_count(0)  # it would be over it again
    expect(window["#vary-source img"]).to_have_attribute("alt", re.compile("^The picture that is varied"))
    window["#vary-made"].click()
    expect(window["#message"]).to_be_empty()
    window.allow(REFUSED)


def test_server_takes_few_images_at_once(open_window: Open, strict: Server) -> None:
    window = open_window(strict)
    window.open("#mode=vary", settled=False)
    expect(window["#variations img"]).to_have_count(3)
    window["#tab-interpolate"].click()
    expect(window["#path-grid img"]).to_have_count(3)
    window["#tab-wall"].click()
    window["#wall-run"].click()
    expect(window["#wall-run"]).to_have_text("Fill it again")
    expect(window["#message"]).to_be_empty()
    window.allow(REFUSED)


KEY = "lj_" + "k" * 43


@pytest.fixture
def guarded(start: Start, images: Path, tmp_path: Path) -> Server:
    """A server that asks for a key."""
    file = tmp_path / "keys.txt"
    file.write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    return start(images, "--api-keys", str(file))


def test_key_is_not_asked_for(open_window: Open, guarded: Server) -> None:
    window = open_window(guarded)
    window.open(settled=False)
    expect(window["#key-dialog"]).to_be_visible()
    expect(window["#key-text"]).to_be_focused()
    window["#key-text"].fill("two words")
    window.page.keyboard.press("Enter")
    expect(window["#key-wrong"]).to_contain_text("one word")
    window["#key-text"].fill("lj_wrong")
    window.page.keyboard.press("Enter")
    expect(window["#message"]).to_contain_text("This server asks for an API key.")
    expect(window["#key-dialog"]).to_be_visible()  # again
    window["#key-text"].fill(KEY)
    window["#key-form"].get_by_role("button", name="Use it").click()
    shown(window)
    window.page.reload()
    shown(window)

    stored = window.page.evaluate("() => [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })]")
    assert KEY not in stored[0]
    assert KEY in stored[1]
    assert KEY not in window.page.url
    for kind, named in (("curl", "Bearer $LONGJUMP_KEY"), ("Python", 'os.environ["LONGJUMP_KEY"]')):
        window["#call-kinds"].get_by_label(kind).check()
        expect(window["#call"]).to_contain_text(named)
        assert KEY not in (window["#call"].text_content() or "")

    for mode, pictures in (
        ("refine", "#refine-trail img"),
        ("vary", "#variations img"),
        ("interpolate", "#path-grid img"),
    ):
        window[f"#tab-{mode}"].click()
        expect(window[pictures].last).to_be_visible()
    window["#key"].click()
    window["#key-forget"].click()
    expect(window["#message"]).to_contain_text("This server asks for an API key.")
    window["#key-close"].click()
    expect(window["#key-dialog"]).to_be_hidden()
    window.allow(REFUSED)
