"""The lab: its closed forms are the oracle's, and its figures of models are of what the served map does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Route, expect

from trainer.oracle import GaussianMixture

from ..conftest import Server
from .conftest import Open, Window


@pytest.fixture(scope="module")
def shared_lab(browser: Browser, plane: Server) -> Iterator[Window]:
    window = Window(browser, plane)
    window.page.goto(f"{window.base}/lab")
    expect(window["#model-told"]).to_contain_text("any jump")
    yield window
    window.close()


@pytest.fixture
def lab(shared_lab: Window) -> Iterator[Window]:
    """The page that these tests share: each sets the controls of its own figure."""
    yield shared_lab
    shared_lab.check()


def evaluated(window: Window, expression: str) -> Any:
    """What functions of truth.js, and `destinations` of field.js, give: `velocity(ring(3), [1, 2], 0.5)`."""
    names = ", ".join(sorted({*re.findall(r"\b[a-z]+(?=\()", expression)}))
    files = "Promise.all([import('/playground/truth.js'), import('/playground/field.js')])"
    script = f"{files}.then(([truth, field]) => ({{ ...truth, ...field }})).then(({{ {names} }}) => ({expression}))"
    return window.page.evaluate(script)


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_closed_form_is_another(lab: Window, count: int) -> None:
    found = evaluated(lab, f"ring({count})")
    truth = GaussianMixture(found["weights"], found["means"], found["stds"])
    rng = np.random.default_rng(count)
    for z, t in zip(2 * rng.standard_normal((6, 2)), (0.02, 0.2, 0.4, 0.7, 0.95, 1.0), strict=True):
        place = json.dumps(z.tolist())
        assert evaluated(lab, f"velocity(ring({count}), {place}, {t})") == pytest.approx(truth.velocity(z, t), abs=1e-9)
        density = evaluated(lab, f"density(ring({count}), {place}, {t})")
        assert density == pytest.approx(np.exp(truth.log_density(z, t)), rel=1e-9)
    z = rng.standard_normal(2)
    ends = evaluated(lab, f"flow(ring({count}), {json.dumps(z.tolist())}, 1, 0)")[-1]
    assert ends == pytest.approx(truth.jump(z, 1.0, 0.0), abs=2e-3)
    assert abs(np.array(evaluated(lab, f"euler(ring(8), {json.dumps(z.tolist())}, 1, 0, 1)")[-1])).max() < 1e-9


def test_velocity_field_stays(lab: Window) -> None:
    """Each control draws another picture, and says what is seen."""
    seen = {shot(lab, "#field")}
    for act in (
        lambda: lab["[name=candidates][value='1']"].check(force=True),
        lambda: lab["[name=candidates][value='5']"].check(force=True),
        lambda: lab["#field-time"].fill("90"),
        lambda: lab["#euler-steps"].focus(),
    ):
        act()
        seen.add(shot(lab, "#field"))
    assert len(seen) == 4  # the last act is about another figure
    expect(lab["#field-value"]).to_have_text("t = 0.10")
    expect(lab["#field-told"]).to_contain_text("Five")


def test_one_destination_is_not_what_is_said(lab: Window) -> None:
    """Arrows point there until the last moment, paths are all but straight, one step ends where the flow does."""

    def missed(mixture: str) -> float:
        starts = (
            f"normals(90, 3).map((z) => apart(euler({mixture}, z, 1, 0, 1)[1], flow({mixture}, z, 1, 0, 120).at(-1)))"
        )
        return float(np.mean(evaluated(lab, starts)))

    assert missed("destinations(1)") < 0.04
    assert missed("ring(1)") > 0.2  # control: as wide as the others are
    mean = np.array(evaluated(lab, "destinations(1)")["means"][0])
    paths = np.array(evaluated(lab, "normals(24, 3).map((z) => flow(destinations(1), z, 1, 0, 120))"))
    chord = paths[:, -1] - paths[:, 0]
    off = paths - paths[:, :1]
    aside = (
        abs(off[..., 0] * chord[:, None, 1] - off[..., 1] * chord[:, None, 0]) / np.linalg.norm(chord, axis=1)[:, None]
    )
    assert aside.max() < 0.04
    for z, t in zip(paths[:, 0], np.linspace(0.01, 1, 24), strict=True):
        arrow = -np.array(evaluated(lab, f"velocity(destinations(1), {json.dumps(z.tolist())}, {t})"))
        there = mean - z
        assert arrow @ there > 0.99 * np.linalg.norm(arrow) * np.linalg.norm(there), t
    lab["[name=candidates][value='1']"].check(force=True)
    expect(lab["#field-told"]).to_contain_text("hardly wider than a point")


def test_euler_steps_stay(lab: Window) -> None:
    """One step lands in the middle, more come nearer, and a start that is dragged is another trajectory."""
    missed = []
    for notch in range(7):
        lab["#euler-steps"].fill(str(notch))
        expect(lab["#euler-value"]).to_contain_text(f"{2**notch} step")
        missed.append(float(re.search(r"end ([\d.]+) from", lab["#euler-told"].inner_text()).group(1)))  # type: ignore[union-attr]
    assert missed[0] > 1.5
    assert missed[-1] < 0.1
    before = shot(lab, "#euler")
    lab["#euler"].press("ArrowLeft")
    assert shot(lab, "#euler") != before
    means = [float(text) for text in lab["#euler-table td"].all_inner_texts()]
    assert means == sorted(means, reverse=True)


def test_triangle_is_of_another_map(lab: Window, plane: Server) -> None:
    """The gap that it tells is that between the served map's one jump and its two."""
    lab["#split"].fill("30")
    expect(lab["#split-value"]).to_have_text("m = 0.30")
    expect(lab["#triangle-told"]).to_contain_text("apart")

    def jump(z: list[list[float]], t: float, s: float) -> list[list[float]]:
        found: list[list[float]] = plane.client.post("/jump", json={"t": t, "s": s, "z": z}).json()["z"]
        return found

    start = [[0.3, -0.22]]
    direct, over = jump(start, 1, 0)[0], jump(jump(start, 1, 0.3), 0.3, 0)[0]
    gap = float(np.hypot(direct[0] - over[0], direct[1] - over[1]))
    told = re.search(r"end ([\d.]+) apart", lab["#triangle-told"].inner_text())
    assert told is not None
    assert float(told.group(1)) == pytest.approx(gap, abs=6e-4)


def test_split_stays_where_it_is(lab: Window) -> None:
    """The middle of the triangle is taken hold of and moved; elsewhere in the plane it is the start that moves."""
    lab["#split"].fill("30")
    expect(lab["#triangle-told"]).to_contain_text("apart")
    lab.until(lambda: lab["#split-value"].inner_text() == "m = 0.30", "the split")
    place = lab.page.evaluate("import('/playground/compose.js').then(({ middle }) => middle())")
    box = lab["#triangle"].bounding_box()
    assert box is not None

    def at(z: list[float]) -> tuple[float, float]:
        return box["x"] + box["width"] * (z[0] + 3.2) / 6.4, box["y"] + box["height"] * (3.2 - z[1]) / 6.4

    lab.page.mouse.move(*at(place["half"]))
    lab.page.mouse.down()
    lab.page.mouse.move(*at([(a + b) / 2 for a, b in zip(place["start"], place["direct"], strict=True)]))
    lab.page.mouse.up()
    expect(lab["#split"]).to_have_value("50")
    assert lab.page.evaluate("import('/playground/compose.js').then(({ middle }) => middle().start)") == place["start"]


def test_every_move_is_measured(lab: Window, plane: Server) -> None:
    """While the pointer moves one measurement is under way; the next one is of where the pointer then is."""
    lab.settled("jumps-part")
    lab["#jumps"].scroll_into_view_if_needed()
    held: list[Route] = []
    lab.page.route("**/jump", lambda route: route.continue_() if held else held.append(route))
    box = lab["#jumps"].bounding_box()
    assert box is not None
    lab.page.mouse.move(box["x"] + 40, box["y"] + 60)
    lab.page.mouse.down()
    lab.until(lambda: held, "the first measurement")
    before = len(jumps_asked(lab))
    lab.page.mouse.move(box["x"] + 200, box["y"] + 100, steps=30)
    lab.page.mouse.up()
    lab.page.wait_for_timeout(100)
    assert len(jumps_asked(lab)) == before
    held[0].continue_()
    lab.settled("jumps-part")
    lab.page.unroute("**/jump")
    starts = [one["z"][0] for one in jumps_asked(lab)[before - 1 :] if one["t"] == 1 and one["s"] == 0]
    assert len(starts) == 4  # two of each measurement
    assert starts[0] == starts[1] != starts[2] == starts[3]
    size = box["width"]
    assert starts[3] == pytest.approx([200 / size * 6.4 - 3.2, 3.2 - 100 / size * 6.4], abs=1e-6)
    shown = lab.page.evaluate("import('/playground/compose.js').then(({ middle }) => middle())")
    assert shown["start"] == starts[3]
    answer = plane.client.post("/jump", json={"t": 1, "s": 0, "z": [starts[3]]}).json()
    assert shown["direct"] == pytest.approx(answer["z"][0], abs=1e-6)


def test_exact_flow_is_made_up(lab: Window) -> None:
    """A bundle that does not say what its data were has no exact flow, and no legend of one."""
    expect(lab["#jumps-told"]).to_contain_text("not known here")
    expect(lab[".of-models .exact:visible"]).to_have_count(0)
    expect(lab[".legend .exact:visible"]).to_have_count(1)  # of the figure whose truth is a closed form


def test_samples_are_of_other_seeds(lab: Window) -> None:
    """What the model supports is drawn, and no more is asked."""
    expect(lab["#densities canvas"]).to_have_count(2)
    expect(lab["#densities td .note"]).to_have_count(2)
    lab.until(lambda: len(lab.asked("/generate")) == 12, "all samples")
    assert {fields["steps"] for fields in lab.asked("/generate")} == {"2", "4"}
    assert {int(fields["seed"]) for fields in lab.asked("/generate")} == set(range(0, 384, 64))


def test_page_without_points_says_nothing(open_window: Open, tiny: Server) -> None:
    window = open_window(tiny)
    window.page.goto(f"{window.base}/lab")
    expect(window["#no-models"]).to_contain_text("make lab")
    expect(window["#jumps"]).to_be_hidden()
    expect(window["#field"]).to_be_visible()


def test_page_is_wider_than_the_screen(lab: Window) -> None:
    expect(lab["#densities canvas"]).to_have_count(2)
    for width in (360, 768, 1280):
        lab.page.set_viewport_size({"width": width, "height": 900})
        assert lab.page.evaluate("document.documentElement.scrollWidth") <= width, width


def jumps_asked(window: Window) -> list[dict[str, Any]]:
    """The bodies of the requests that went to /jump, in order."""
    return [json.loads(one.post_data or "") for one in window.requests if one.url.endswith("/jump")]


def shot(window: Window, selector: str) -> str:
    """What a canvas shows."""
    found: str = window[selector].evaluate("(canvas) => canvas.toDataURL()")
    return found
