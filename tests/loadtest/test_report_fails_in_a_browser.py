"""The report in Debian's chromium, driven by Playwright: its form answers, and nothing is asked of a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from loadtest.report.page import page
from loadtest.sweep.findings import summary
from loadtest.sweep.summary import Limit
from tests.loadtest.sweeps import SHORT, FakeServer

SIZES = {"phone": (390, 844, "dark"), "desk": (1280, 900, "light")}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep, as a file."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "sweep.html").write_text(page(summary(FakeServer().sweep(folder / "sweep.json"))), encoding="utf-8")
    return folder / "sweep.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed; on Debian: apt install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program)
        yield launched
        launched.close()


@pytest.fixture(params=SIZES)
def shown(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    """The page at a size, which must ask for nothing but itself and log nothing."""
    width, height, colours = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=colours)  # type: ignore[arg-type]
    asked, faults = list[str](), list[str]()
    opened = context.new_page()
    opened.on("request", lambda one: asked.append(one.url))
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(report.as_uri())
    yield opened
    assert asked == [report.as_uri()]
    assert faults == []
    context.close()


def test_form_answers(shown: Page) -> None:
    said = shown.locator("output")
    assert "NFE" in said.inner_text()
    for deadline, rate, words in (
        ("100", "0.1", "Run 4 NFE: the most steps that fit"),
        ("75", "0.1", "Run 4 NFE: the most steps that fit, up to at least"),
        ("100", "1000", "No step count measured here meets 100 ms at 1000 requests per second"),
        ("10", "1", "50 ms is the shortest deadline measured"),
        ("", "1", "Give a deadline and a traffic above 0"),
    ):
        shown.get_by_label("My deadline").fill(deadline)
        shown.get_by_label("My traffic").fill(rate)
        assert words in said.inner_text()


def test_form_does_not_deny_what_was_not_measured(browser: Browser, tmp_path: Path) -> None:
    """A sweep that ended in its climb: beyond its last rate nothing is known, and a phone shows texts of 9 pixels."""
    (tmp_path / "sweep.html").write_text(
        page(summary(FakeServer().sweep(tmp_path / "s.json", SHORT))), encoding="utf-8"
    )
    shown = browser.new_page(viewport={"width": 390, "height": 844})
    shown.goto((tmp_path / "sweep.html").as_uri())
    said = shown.locator("output")
    assert "up to at least" in said.inner_text()
    shown.get_by_label("My traffic").fill("1000")
    assert "Not known: nothing above" in said.inner_text()
    smallest = shown.evaluate(
        "Math.min(...[...document.querySelectorAll('.chart text')].filter((one) => one.textContent).map((one) => "
        "parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a))"
    )
    assert smallest >= 9
    shown.close()


def test_form_promises_no_rate_between_two_deadlines(browser: Browser, tmp_path: Path) -> None:
    """50 ms is not met, 100 ms is up to 2 per second: of 55 ms nothing is known, and beyond 100 ms at least 2."""
    made = summary(FakeServer().sweep(tmp_path / "s.json", SHORT))
    [one, *_] = made.curves
    limits = tuple(Limit(deadline, True, rate, None, None, 1) for deadline, rate in ((0.05, None), (0.1, 2.0)))
    (tmp_path / "sweep.html").write_text(page(replace(made, curves=(replace(one, limits=limits),))), encoding="utf-8")
    shown = browser.new_page()
    shown.goto((tmp_path / "sweep.html").as_uri())
    for deadline, rate, words in (
        ("50", "0.1", "No step count measured here meets 50 ms"),
        (
            "55",
            "0.1",
            "Not known: at 0.1 requests per second no step count measured here meets 50 ms, and 55 ms was not",
        ),
        ("55", "3", "No step count measured here meets 55 ms"),
        ("100", "2", "up to 2 requests per second"),
        ("150", "2", "up to at least 2 requests per second"),
        ("150", "3", "no step count measured here meets 100 ms, and 150 ms was not measured"),
    ):
        shown.get_by_label("My deadline").fill(deadline)
        shown.get_by_label("My traffic").fill(rate)
        assert words in shown.locator("output").inner_text()
    shown.close()


def test_it_fits_the_screen_and_is_accessible(shown: Page) -> None:
    wide = shown.evaluate("document.documentElement.scrollWidth")
    assert wide <= shown.viewport_size["width"]  # type: ignore[index]
    serious = [one for one in Axe().run(shown).response["violations"] if one["impact"] in ("serious", "critical")]
    assert serious == []
