"""A model of points: scatter plots in place of pictures, from the same controls."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Browser, Response, expect

from ..conftest import Server, Start
from .conftest import Open, Window


@pytest.fixture(scope="module")
def server(start_shared: Start, points: Path) -> Server:
    return start_shared(points)


@pytest.fixture(scope="module")
def cloud(browser: Browser, server: Server) -> Iterator[Window]:
    window = Window(browser, server)
    window.open()
    yield window
    window.close()


@pytest.fixture
def window(cloud: Window) -> Iterator[Window]:
    """The page that these tests share; each goes to the way to look that it is about."""
    yield cloud
    cloud.check()


INKED = """(canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 3; i < data.length; i += 4) count += data[i] > 100;
    return count;
}"""
"""Pixels that something was drawn on."""

BLUE = """(canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += data[i + 3] > 100 && data[i + 2] > data[i] + 40;
    return count;
}"""
"""Those of the page's colour: a canvas takes a colour that it does not know for black."""


def test_points_are_pictures(window: Window) -> None:
    expect(window["#columns canvas"]).to_have_count(2)
    expect(window["#columns img"]).to_have_count(0)
    expect(window["#label-field"]).to_be_hidden()
    expect(window["#tab-vary"]).to_be_hidden()
    expect(window["#compare-save"]).to_be_hidden()
    expect(window["#about"]).to_contain_text("2 coordinates")
    for canvas in window["#columns canvas"].all():
        assert canvas.evaluate(INKED) > 500
        assert canvas.evaluate(BLUE) > 200
    window.allow("willReadFrequently")  # it is this test that reads
    asked = [fields for fields in window.asked("/generate") if "n" in fields]
    assert [(fields["steps"], fields["seed"]) for fields in asked] == [
        (steps, str(7 + 64 * part)) for steps in ("2", "4") for part in range(4)
    ]


def test_time_is_of_fewer_points(window: Window) -> None:
    """What stands beside the points is the time of all their requests, stage by stage."""
    told: dict[str, list[str]] = {}

    def heard(response: Response) -> None:
        fields = dict(parse_qsl(urlsplit(response.url).query))
        if "n" in fields and "/generate" in response.url:
            told.setdefault(fields["steps"], []).append(response.header_value("server-timing") or "")

    window.page.on("response", heard)
    window["#tab-compare"].click()
    window["#compare-again"].click()
    window.until(lambda: sum(map(len, told.values())) == 8, "all are asked again")
    window.settled("compare")
    window.page.remove_listener("response", heard)
    for column, steps in enumerate(("2", "4"), start=1):
        root = f".column:nth-child({column})"
        expect(window[f"{root} .note"]).to_have_text("256 points in 4 requests")
        stages = [float(text.split()[0]) for text in window[f"{root} dd"].all_inner_texts()]
        network = sum(float(re.findall(r"network;dur=([\d.]+)", text)[0]) for text in told[steps])
        assert stages[1] == pytest.approx(network, abs=0.51)  # from 100 ms on they are rounded to whole ones
        assert sum(stages) == pytest.approx(float(window[f"{root} .number"].inner_text().split()[0]), abs=3)


def test_path_of_a_point(window: Window) -> None:
    window["#tab-refine"].click()
    expect(window["#refine-trail canvas"]).to_have_count(4)
    expect(window["#refine-big canvas"]).to_have_attribute("aria-label", re.compile("seed 7, 4 steps"))
    window["#tab-interpolate"].click()
    expect(window["#path-grid canvas"]).to_have_count(8)
    expect(window["#path-save"]).to_be_hidden()


def test_cloud_is_empty(window: Window) -> None:
    window["#tab-wall"].click()
    window["#wall-run"].click()
    expect(window["#wall-run"]).to_have_text("Fill it again")
    expect(window["#wall-figures"]).to_contain_text("4096 points")
    assert window["#wall-canvas"].evaluate(INKED) > 2000


def test_call_gives_no_points(window: Window, tmp_path: Path) -> None:
    window["#tab-compare"].click()
    text = window["#call"].text_content() or ""
    subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=dict(os.environ), check=True, timeout=60, capture_output=True
    )
    for steps in (2, 4):
        document = json.loads((tmp_path / f"picture-7-{steps}.json").read_text())
        assert document["steps"] == steps
        assert len(document["points"]) == 64


def test_link_to_variations_of_points(open_window: Open, server: Server) -> None:
    window = open_window(server)
    window.open("#mode=vary")
    expect(window["#compare"]).to_be_visible()
    window.page.keyboard.press("3")
    expect(window["#compare"]).to_be_visible()
    window["#tab-compare"].focus()
    window.page.keyboard.press("ArrowRight")
    window.page.keyboard.press("ArrowRight")
    expect(window["#interpolate"]).to_be_visible()
