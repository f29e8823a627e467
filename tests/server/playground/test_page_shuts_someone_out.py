"""The playground by keyboard, by touch, on a phone, in the dark, and for people who see or move less."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ..conftest import Server
from .conftest import Open, Window

MODES = ("compare", "refine", "vary", "interpolate", "wall")

SIZES = {"mouse": [(1440, 900), (1280, 900), (1024, 768)], "finger": [(820, 1100), (360, 740)]}

GRAVE = ("serious", "critical")


def visit(window: Window, mode: str) -> None:
    """A way to look, with all that it shows."""
    window[f"#tab-{mode}"].click()
    if mode == "wall":
        window["#wall-run"].click()
        expect(window["#wall-run"]).to_have_text("Fill it again")
    window.settled(mode)


def grave(window: Window, part: str | None = None, **options: object) -> list[tuple[str, list[Any]]]:
    """What axe-core finds on the page, or in a part of it, of the kinds that count."""
    found = Axe().run(window.page, context=part, options=options).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] in GRAVE]


def clean(window: Window, part: str | None = None) -> None:
    """Neither light nor dark does axe-core find anything grave. The window's media are light, without motion."""
    assert grave(window, part) == [], part
    window.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert grave(window, part, runOnly=["color-contrast"]) == [], part  # nothing else is another in the dark
    window.page.emulate_media(color_scheme="light", reduced_motion="reduce")


def test_axe_finds_something(open_window: Open, demo: Server) -> None:
    window = open_window(demo, color_scheme="light", reduced_motion="reduce")
    window.open()
    for mode in MODES:
        visit(window, mode)
        clean(window, None if mode == MODES[0] else f"#{mode}")
    for button, dialog in (("#shortcuts", "#shortcuts-dialog"), ("#key", "#key-dialog")):
        window[button].evaluate("(button) => button.click()")
        expect(window[dialog]).to_be_visible()
        clean(window, dialog)
        window.page.keyboard.press("Escape")


def test_axe_finds_something_in_the_lab(open_window: Open, plane: Server, tiny: Server) -> None:
    window = open_window(plane, color_scheme="light", reduced_motion="reduce")
    window.page.goto(f"{window.base}/lab")
    expect(window["#triangle-told"]).not_to_be_empty()
    expect(window["#densities canvas"]).to_have_count(2)
    clean(window)
    without = open_window(tiny, color_scheme="light", reduced_motion="reduce")
    without.page.goto(f"{without.base}/lab")
    expect(without["#no-models"]).to_be_visible()
    clean(without, "#no-models")


def test_control_axe_sees_what_is_wrong(open_window: Open, tiny: Server) -> None:
    window = open_window(tiny)
    window.open()
    window["#seed-next"].evaluate("(button) => { button.removeAttribute('aria-label'); button.textContent = ''; }")
    window[".lead:visible"].evaluate("(text) => { text.style.color = '#ddd'; }")
    assert {name for name, _ in grave(window)} == {"button-name", "color-contrast"}


OUT = """(main, width) => [...main.querySelectorAll("button, input, select, img, canvas, table, svg")]
    .filter((one) => one.checkVisibility() && !one.closest(".labels, .tabs"))
    .filter((one) => { const box = one.getBoundingClientRect(); return box.left < 0 || box.right > width; })
    .map((one) => one.outerHTML.slice(0, 80))"""
"""What stands beyond the screen's edges."""


@pytest.mark.parametrize("by", SIZES)
def test_page_is_wider_than_the_screen(open_window: Open, demo: Server, by: str) -> None:
    window = open_window(demo, has_touch=by == "finger", is_mobile=by == "finger")
    window.open()
    for mode in MODES:
        window[f"#tab-{mode}"].click()
        window.settled(mode)
        for width, height in SIZES[by]:
            window.page.set_viewport_size({"width": width, "height": height})
            assert window["html"].evaluate("(html) => html.scrollWidth") == width, (mode, width)
            assert window["main"].evaluate(OUT, width) == [], (mode, width)


def test_desk_has_to_scroll(open_window: Open, demo: Server) -> None:
    """On a screen of a desk, the classes, the pictures and the server are all in view."""
    window = open_window(demo, viewport={"width": 1440, "height": 900})
    window.open()
    window.until(lambda: window["#live-latency tr"].count() == 4, "the server's times")
    for selector in ("#steps", ".tile >> nth=-1", "#columns .time >> nth=-1", "#live-rate", "#live-latency"):
        box = window[selector].bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, selector
    seen = "(list) => list.scrollHeight <= list.clientHeight"
    assert window["#labels"].evaluate(seen)
    window.page.set_viewport_size({"width": 820, "height": 1180})
    assert window["#labels"].evaluate(seen)


def test_finger_misses_the_button(open_window: Open, tiny: Server) -> None:
    window = open_window(tiny, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    window.open()
    small = window["body"].evaluate(
        """(body) => [...body.querySelectorAll("button, select, .segments label, .tile")]
            .filter((one) => one.checkVisibility())
            .filter((one) => { const box = one.getBoundingClientRect(); return box.width < 40 || box.height < 40; })
            .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert small == []
    window["#seed-next"].tap()
    expect(window["#seed"]).to_have_value("8")
    window["#tab-wall"].tap()
    window["#wall-run"].tap()
    expect(window["#wall-run"]).to_have_text("Fill it again")
    window["#wall-canvas"].tap(position={"x": 3, "y": 3})
    expect(window["#tab-compare"]).to_have_attribute("aria-selected", "true")
    expect(window["#seed"]).to_have_value("8")


def test_key_tab_leaves_something_out(open_window: Open, tiny: Server) -> None:
    """The Tab key reaches what there is, in the order in which it stands on the page."""
    window = open_window(tiny)
    window.open()
    wanted = window["body"].evaluate(
        """(body) => {
            const seen = new Set();
            return [...body.querySelectorAll("a, button, input, select, [tabindex='0']")]
                .filter((one) => one.checkVisibility({ visibilityProperty: true }) && one.tabIndex >= 0)
                .filter((one) => one.type !== "radio" || one.checked)
                .map((one) => one.id || one.textContent.trim() || one.ariaLabel || one.name);
        }"""
    )
    reached = []
    for _ in wanted:
        window.page.keyboard.press("Tab")
        focused = "() => document.activeElement"
        handle = window.page.evaluate_handle(focused)
        reached.append(handle.evaluate("(one) => one.id || one.textContent.trim() || one.ariaLabel || one.name"))
        outline = handle.evaluate(
            """(one) => {
                const shown = [one, one.nextElementSibling, one.parentElement].filter(Boolean);
                return shown.some((part) => getComputedStyle(part).outlineStyle !== "none");
            }"""
        )
        assert outline, reached[-1]
    assert reached == wanted


def test_way_moves_by_itself_for_who_wants_no_motion(open_window: Open, tiny: Server) -> None:
    window = open_window(tiny, reduced_motion="reduce")
    window.open()
    window["#tab-interpolate"].click()
    expect(window["#path-grid img"]).to_have_count(8)
    window.settled("interpolate")
    expect(window["#path-play"]).to_have_attribute("aria-label", "Play")
    expect(window["#path-at"]).to_have_value("0")


def test_change_is_not_said(open_window: Open, tiny: Server) -> None:
    window = open_window(tiny)
    window.open()
    assert window["#message"].get_attribute("aria-live") == "polite"
    assert window["#wall-note"].get_attribute("aria-live") == "polite"
    for picture in window["#columns img"].all():
        assert "seed 7" in (picture.get_attribute("alt") or "")
