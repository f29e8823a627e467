"""Pages in a real browser: Debian's chromium, driven by Playwright.

Every page is watched: a test that left an error in its console, or asked anybody but its server, fails.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from server.workers import DEMO

from ..conftest import Server, Start, eventually, starter

HERE = Path(__file__).parent

PATIENCE_MS = 20_000

expect.set_options(timeout=PATIENCE_MS)

_PIXELS = """(element) => {
    const canvas = document.createElement("canvas");
    canvas.width = element.naturalWidth;
    canvas.height = element.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(element, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return { width: canvas.width, height: canvas.height, data: Array.from(data) };
}"""


Made = TypeVar("Made")


class Lasting:
    """What all tests of this folder share: made when one wants it, and gone after the last one."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._ends = contextlib.ExitStack()

    def get(self, name: str, make: Callable[[], AbstractContextManager[Made]]) -> Made:
        if name not in self._made:
            self._made[name] = self._ends.enter_context(make())
        made: Made = self._made[name]
        return made

    def end(self) -> None:
        self._made.clear()
        self._ends.close()


LASTING = Lasting()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """End what lasts before a test of another folder: while Playwright runs, no other event loop can in this thread."""
    try:
        yield
    finally:  # also after a fault in a teardown, or the tests that follow fail of this one
        if nextitem is None or HERE not in nextitem.path.parents:
            LASTING.end()


@contextlib.contextmanager
def chromium(program: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def browser() -> Browser:
    """The one browser."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed; on Debian: apt install chromium")
    return LASTING.get("browser", lambda: chromium(program))


class Window:
    """A page of a server, and what it did."""

    def __init__(self, browser: Browser, server: Server, **context: Any) -> None:
        """`context`: as Playwright takes it, such as `viewport` and `color_scheme`."""
        self.server = server
        self.base = str(server.client.base_url).rstrip("/")
        context.setdefault("viewport", {"width": 1280, "height": 900})
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self._allowed: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, fragment: str = "", *, settled: bool = True) -> Page:
        """Load the playground; with `settled`, until the first pictures are compared."""
        # A first picture that is held up holds up the event `load`.
        self.page.goto(f"{self.base}/{fragment}", wait_until="load" if settled else "domcontentloaded")
        if settled:
            self.settled("compare")
            expect(self["#columns .time"].last).not_to_be_empty()
        return self.page

    def __getitem__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def allow(self, *patterns: str) -> None:
        """Take errors with such texts for none: they are meant to happen."""
        self._allowed += patterns

    def asked(self, path: str, *, thumbnails: bool = False) -> list[dict[str, str]]:
        """The fields of the requests that went to a path, in order: those for thumbnails, or the others."""
        parts = [urlsplit(request.url) for request in self.requests]
        fields = [dict(httpx.QueryParams(part.query)) for part in parts if part.path == path]
        return [one for one in fields if (one.get("format") == "webp" and "n" not in one) is thumbnails]

    def until(self, happens: Callable[[], object], what: str) -> None:
        """Wait for something that the page does."""

        def seen() -> object:
            self.page.wait_for_timeout(10)  # lets the page's events be heard
            return happens()

        eventually(seen, what)

    def settled(self, mode: str) -> None:
        """Wait until a way to look is not busy."""
        expect(self[f"#{mode}"]).not_to_have_attribute("aria-busy", "true")

    def pixels(self, selector: str) -> NDArray[np.uint8]:
        """The picture that an <img> shows, [H, W, 3]."""
        found = self[selector]
        expect(found).to_have_js_property("complete", True)
        read = found.evaluate(_PIXELS)
        shape = (read["height"], read["width"], 4)
        return np.array(read["data"], dtype=np.uint8).reshape(shape)[..., :3]

    def served(self, target: str) -> NDArray[np.uint8]:
        """The picture that the server gives a program, [H, W, 3]."""
        return decoded(self.server.client.get(target).content)

    def fresh(self, fragment: str = "") -> None:
        """Load the playground as for the first time, but for the browser's cache."""
        if self.page.url.startswith(self.base):
            self.page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
            self.page.goto("about:blank")  # a page with another fragment is the same page
        self.requests.clear()
        self.open(fragment)

    def close(self) -> None:
        """Close it, and complain."""
        self.context.close()
        self.check()

    def check(self) -> None:
        """Complain of errors and of requests that went elsewhere, since the last time."""
        unexpected = [text for text in self.errors if not any(re.search(known, text) for known in self._allowed)]
        elsewhere = [request.url for request in self.requests if not request.url.startswith((self.base, "blob:"))]
        self.errors.clear()
        self._allowed.clear()
        assert not unexpected
        assert not elsewhere


def decoded(content: bytes) -> NDArray[np.uint8]:
    """An encoded picture, [H, W, 3]."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def same(window: Window, selector: str, target: str) -> bool:
    """Whether an element shows the picture that the server gives a program."""
    return bool(np.array_equal(window.pixels(selector), window.served(target)))


Open = Callable[..., Window]


@pytest.fixture
def open_window(browser: Browser, start: Start) -> Iterator[Open]:
    """Open watched pages of a server. They are closed before the servers of `start`, which they would miss."""
    windows: list[Window] = []

    def opened(server: Server, **context: Any) -> Window:
        windows.append(Window(browser, server, **context))
        return windows[-1]

    yield opened
    for window in windows:
        window.close()


@pytest.fixture(scope="module")
def start_lasting(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start servers that all tests of this folder share."""
    return LASTING.get("servers", lambda: contextlib.contextmanager(starter)(tmp_path_factory.mktemp("gates")))


@pytest.fixture(scope="module")
def tiny(start_lasting: Start, images: Path) -> Server:
    """A server of 8x8 pictures: cat, dog, owl; 1, 2 or 4 steps."""
    return LASTING.get("tiny", lambda: contextlib.nullcontext(start_lasting(images)))


@pytest.fixture(scope="module")
def demo(start_lasting: Start) -> Server:
    """A server of the demo, with its network."""
    return LASTING.get("demo", lambda: contextlib.nullcontext(start_lasting(DEMO, fake=False)))


@pytest.fixture(scope="module")
def plane(start_lasting: Start, points: Path) -> Server:
    """A server of points in the plane, 2 or 4 steps, with its network."""
    return LASTING.get("plane", lambda: contextlib.nullcontext(start_lasting(points, fake=False)))


@pytest.fixture(scope="module")
def kept(browser: Browser, tiny: Server) -> Iterator[Window]:
    """A page that the tests of a module load one after the other."""
    window = Window(browser, tiny, permissions=["clipboard-read", "clipboard-write"], accept_downloads=True)
    yield window
    window.close()


@pytest.fixture
def window(kept: Window) -> Iterator[Window]:
    """The playground of the tiny server as somebody sees it who comes new, its first pictures compared."""
    kept.fresh()
    yield kept
    kept.check()
