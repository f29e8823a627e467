"""The report: what it asks of a network (nothing), what it hides (nothing), and what it recommends."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtest.numbers import asked, asked_ms, count, number, share
from loadtest.report.bars import rungs
from loadtest.report.charts import all_charts
from loadtest.report.page import page
from loadtest.report.png import render, standalone
from loadtest.report.svg import linear, logarithmic
from loadtest.report.terminal import table
from loadtest.sweep.findings import quality, summary
from loadtest.sweep.summary import Curve, Level, Limit, Summary, at_rate, choose, knee
from tests.loadtest.sweeps import SHORT, FakeServer

QUALITY = {"1": {"fd_enetlite0": 41.2}, "4": {"fd_enetlite0": 29.5, "samples": 10000}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summary(FakeServer().sweep(tmp_path_factory.mktemp("sweep") / "sweep.json"))


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summary(FakeServer(quality=QUALITY).sweep(tmp_path_factory.mktemp("sweep") / "sweep.json"))


class Page(HTMLParser):
    """What a page refers to, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                self.references.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")
            if name == "aria-labelledby":
                self.labels += (value or "").split()
        if tag not in ("meta", "input", "path", "circle", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle", "rect"):
            assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_report_asks_no_network(graded: Summary) -> None:
    text = page(graded)
    parsed = Page(text)
    assert parsed.references == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon", text)
    assert "default-src 'none'" in text
    # A namespace is a name, not an address.
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg", graded.url}


def test_page_is_well_formed(graded: Summary) -> None:
    parsed = Page(page(graded))
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.labels) <= set(parsed.ids)
    assert len(page(graded)) < 300_000


def test_model_name_is_text(found: Summary) -> None:
    text = page(replace(found, model="<script>alert(1)</script>", command="</script><b>"))
    assert "<script>alert" not in text
    assert "</script><b>" not in text


def test_first_screen_answers_every_deadline(found: Summary) -> None:
    start = page(found).partition("</ul>")[0]
    for one in found.deadlines:
        assert asked_ms(one) in start
    assert re.search(r"run \d NFE up to", start)


def test_unknown_quality_is_said(found: Summary, graded: Summary) -> None:
    for text in (page(found), table(found, width=1000)):
        assert "no measured quality for any step count" in text
    assert "frontier" not in all_charts(found)
    for text in (page(graded), table(graded, width=1000)):
        assert "no measured quality" not in text
        assert "fd_enetlite0" in text
    assert "frontier" in all_charts(graded)


def test_invalid_run_is_told_and_in_no_figure(tmp_path: Path) -> None:
    """Runs at 100 per second and more are invalid, and would show a server ten times as quick."""

    def late(settings: object) -> str:
        return "the client was late by 12 ms" if (getattr(settings, "rate", None) or 0) >= 100 else ""

    found = summary(FakeServer(late=late).sweep(tmp_path / "sweep.json"))
    assert found.invalid
    assert all((level.rate or 0) < 100 for curve in found.curves for level in curve.levels)
    text = page(found)
    assert f"{len(found.invalid)} invalid run" in text
    assert "the client was late by 12 ms" in text
    assert "INVALID" in table(found)
    assert found.curves[0].limits[1].beyond_client
    assert "or more" in table(found)


def test_cut_short_is_said(tmp_path: Path) -> None:
    def stop(number: int) -> None:
        if number == 8:
            raise KeyboardInterrupt

    found = summary(FakeServer(on_run=stop).sweep(tmp_path / "sweep.json"))
    for text in (page(found), table(found, width=1000)):
        assert "The sweep was interrupted" in text


def test_rate_that_nothing_bounds_is_a_least_one(tmp_path: Path) -> None:
    """A sweep that ends in its climb has not found where a deadline is missed, and must not say that it has."""
    found = summary(FakeServer().sweep(tmp_path / "sweep.json", SHORT))
    assert found.curves[1].limits[1].unbounded
    text = table(found, width=1000)
    assert re.search(r"NFE up to at least \d+/s", text)
    assert "/s or more" in text
    assert "none above tried" in text
    assert '"open": [false, false]' not in page(found)


def test_form_answers_with_what_was_found(found: Summary) -> None:
    """The form and the table cannot disagree: both go by the limits."""
    embedded = re.search(r"id='found'>(.*?)</script>", page(found))
    assert embedded
    for curve, shown in zip(found.curves, json.loads(embedded[1])["curves"]):
        assert shown["limits"] == [[1000 * limit.deadline, limit.rate or 0] for limit in curve.limits]


def test_few_requests_are_marked(found: Summary) -> None:
    """A p99 of fewer than 100 requests is their slowest, and says so."""
    [first, *rest] = found.curves
    few = replace(first.levels[0], sent=75, answered=75, p99=0.123)
    text = page(replace(found, curves=(replace(first, levels=(few, *first.levels[1:])), *rest)))
    assert few.few(0.99)
    assert "≥ 123" in text
    assert not replace(few, sent=100).few(0.99)


def level(rate: float | None, p99: float | None, throughput: float = 0.0, mean: float = 0.01) -> Level:
    return Level(rate, 1, 300, 300, throughput or rate or 1.0, p99, p99, p99, mean, {})


def curve(steps: int, rate: float | None, quality: float | None = None) -> Curve:
    limit = Limit(0.1, True, rate, None, None, 1)
    return Curve(steps, level(None, 0.01), (level(10, 0.02), level(50, 0.1)), (limit,), 10, 50, quality)


def test_choice_is_what_fits() -> None:
    plain = (curve(1, 100), curve(4, 30), curve(8, 5))
    assert [one.steps if (one := choose(plain, 0, rate)) else None for rate in (1, 5, 20, 80, 200)] == [
        8,
        8,
        4,
        1,
        None,
    ]
    graded = (curve(1, 100, 40.0), curve(4, 30, 30.0), curve(8, 5, 33.0))
    assert [one.steps if (one := choose(graded, 0, rate)) else None for rate in (1, 20, 80)] == [4, 4, 1]
    partly = (curve(1, 100, 40.0), curve(8, 5, None))
    assert (choose(partly, 0, 1) or partly[1]).steps == 1, "what was not measured is not recommended"


def test_ladder_has_no_rung_that_is_never_used(found: Summary) -> None:
    tops = (curve(1, 100), curve(4, 120), curve(8, 5))
    steps = rungs(replace(found, curves=tops, deadlines=(0.1,)), 0)
    assert [(one.steps, rate) for one, rate in steps] == [(8, 5), (4, 120)]


def test_interpolation_is_told_from_measurement() -> None:
    one = curve(1, 100)
    assert at_rate(one, 10, "p99") == (0.02, True)
    value = at_rate(one, 30, "p99")
    assert value is not None
    assert value == (pytest.approx(0.06), False)
    assert at_rate(one, 60, "p99") is None, "beyond the last rate nothing is known"


def test_knee_is_where_power_is_highest() -> None:
    flat = [level(10, None, 10, 0.010), level(50, None, 50, 0.012), level(100, None, 95, 0.050)]
    assert knee(flat) == 50
    assert knee([]) is None


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({"4": 12.5}, ("fd", 12.5)),
        ({"4": {"fd": 12.5, "kid": 0.1}}, ("fd", 12.5)),
        ({"steps": {"4": {"samples": 5000, "kid_enetlite0": 0.1, "fd_enetlite0": 30}}}, ("fd_enetlite0", 30.0)),
        ({"4": {"precision": 0.7}}, ("", None)),
        ({"4": {"fd": True}}, ("", None)),
        ({"4": {"fd": math.nan}}, ("", None)),
        ({"4": {"fd": 10**400}}, ("", None)),
        ({"1": {"fid": 20}, "2": {"fid": 25}, "4": {"fd": 3, "fid": 30}}, ("fid", 30.0)),
        ({"1": {"fid": 20}, "2": {"fid": 25}, "4": {"fd": 3}, "floor": {"fd": 1}}, ("", None)),
        ({"1": {"kid": 0.1, "fd": 3}, "4": {"kid": 0.2, "fd": 4}}, ("fd", 4.0)),
        ({}, ("", None)),
        (None, ("", None)),
    ],
)
def test_quality_is_read_where_it_is(table: object, wanted: tuple[str, float | None]) -> None:
    assert quality(table, 4) == wanted


def test_stages_are_beside_the_clients_time(found: Summary) -> None:
    text = all_charts(found)["stages"]
    for name in ("queue", "network", "decode", "encode", "outside the server"):
        assert name in text


def test_axes_hold_their_values() -> None:
    for axis in (logarithmic("x", [3.0, 700.0]), linear("x", [3.0, 700.0])):
        assert 0 <= axis.place(3.0) < axis.place(700.0) <= 1
        assert len(axis.ticks) >= 3
    assert linear("x", [0.0, 0.0]).place(0.0) == 0.0
    assert logarithmic("x", []).ticks


def test_numbers_read_well() -> None:
    """Three digits of what was measured, all of what was asked for, one of one."""
    measured = (0, 0.5, 1.25, 12.34, 99.96, 123.4, 999.9, 12345.0, 0.00321, math.inf)
    wanted = ["0", "0.5", "1.25", "12.3", "100", "123", "1,000", "12,300", "0.00321", "infinite"]
    assert [number(value) for value in measured] == wanted
    assert [asked(value) for value in (1234, 0.05, 1e6, 20.0)] == ["1,234", "0.05", "1,000,000", "20"]
    assert asked_ms(1.2345) == "1,234.5 ms"
    assert [count(of, "run") for of in (0, 1, 2, 1234)] == ["0 runs", "1 run", "2 runs", "1,234 runs"]
    assert count(1, "reply", "replies") == "1 reply"
    assert count(2, "reply", "replies") == "2 replies"
    assert [share(*one) for one in ((1, 3), (9999, 10000), (3, 3), (0, 3), (0, 0))] == [
        "33.3 %",
        "above 99.9 %",
        "100 %",
        "0 %",
        "-",
    ]


def test_picture_has_colours_and_is_small(graded: Summary) -> None:
    for svg in all_charts(graded).values():
        assert "var(" not in standalone(svg), "only browsers know variables"
        data = render(svg)
        assert data.startswith(b"\x89PNG")
        assert len(data) < 100_000
