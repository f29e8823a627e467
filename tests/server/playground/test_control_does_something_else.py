"""Every control of the playground does what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from export.runtime.grids import flow_grid
from export.wrap import wrap

from ..conftest import Start, jump_graph
from .conftest import Open, Window, same


def column(steps: int, inner: str = "img") -> str:
    """What is compared at a step count."""
    return f".column:nth-child({(1, 2, 4).index(steps) + 1}) {inner}"


def test_comparison_is_of_one_seed(window: Window) -> None:
    for steps in (1, 2, 4):
        assert same(window, column(steps), f"/generate?seed=7&steps={steps}")
    assert not same(window, column(4), "/generate?seed=7&steps=2")
    for steps in (1, 2, 4):
        stages = window[column(steps, "dt")].all_inner_texts()
        assert [name.strip() for name in stages] == ["queue", "network", "decode", "encode", "rest"]
        times = [float(text.split()[0]) for text in window[column(steps, "dd")].all_inner_texts()]
        total = float(window[column(steps, ".number")].inner_text().split()[0])
        assert sum(times) == pytest.approx(total, abs=1.5)  # the numbers are rounded


def test_times_are_the_servers(window: Window) -> None:
    """The numbers are those of the request whose picture is shown, and no cache answered it."""
    with window.page.expect_response(re.compile(r"steps=4")) as waited:
        window["#compare-again"].click()
    told = waited.value.header_value("server-timing") or ""
    assert waited.value.header_value("longjump-cache") == "miss"
    window.settled("compare")
    network = float(re.findall(r"network;dur=([\d.]+)", told)[0])
    shown = window[column(4, "dd")].all_inner_texts()[1]
    assert float(shown.split()[0]) == pytest.approx(network, abs=0.06)


def test_seed_is_another(window: Window) -> None:
    window["#seed-next"].click()
    expect(window[column(1)]).to_have_attribute("alt", re.compile("seed 8"))
    assert same(window, column(1), "/generate?seed=8&steps=1")
    window["#seed-before"].click()
    window["#seed-before"].click()
    expect(window["#seed"]).to_have_value("6")
    window["#seed"].fill("9223372036854775807")
    expect(window[column(4)]).to_have_attribute("alt", re.compile("seed 9223372036854775807"))
    assert same(window, column(4), "/generate?seed=9223372036854775807&steps=4")
    window["#seed-draw"].click()
    expect(window["#seed"]).not_to_have_value("9223372036854775807")


def test_senseless_seed_is_sent(window: Window) -> None:
    before = len(window.asked("/generate"))
    for text in ("", "x", "-1", "1.5", "9223372036854775808"):
        window["#seed"].fill(text)
        expect(window["#seed-wrong"]).to_contain_text("whole number")
        window["#seed"].blur()
        expect(window["#seed"]).to_have_value("7")
        expect(window["#seed-wrong"]).to_be_empty()
    assert len(window.asked("/generate")) == before


def test_class_is_another(window: Window) -> None:
    window["#labels"].get_by_label("dog", exact=True).check()
    expect(window[column(4)]).to_have_attribute("alt", re.compile("^dog, seed 7"))
    assert same(window, column(4), "/generate?seed=7&steps=4&label=dog")
    window["#labels"].get_by_label("no class").check()
    expect(window[column(4)]).to_have_attribute("alt", re.compile("^seed 7"))
    assert window.asked("/generate")[-1]["label"] == "none"
    window["#labels"].get_by_label("any class").check()
    expect(window[column(4)]).to_have_attribute("alt", re.compile("^(cat|dog|owl), seed 7"))
    assert "label" not in window.asked("/generate")[-1]


def test_class_has_the_thumbnail_of_another(window: Window) -> None:
    for label in ("cat", "dog", "owl"):
        picture = window[f".tile[data-label={label}] img"]
        expect(picture).to_be_visible()
        assert same(window, f".tile[data-label={label}] img", f"/generate?seed=0&steps=1&label={label}&format=webp")
    asked = window.asked("/generate", thumbnails=True)
    assert len(asked) == 3
    assert {fields["priority"] for fields in asked} == {"batch"}


def test_thumbnails_are_made_again(window: Window) -> None:
    expect(window[".tile img"]).to_have_count(3)
    made = window.server.metric("longjump_row_steps_total")
    window.page.reload()
    expect(window[".tile img"]).to_have_count(3)
    window.settled("compare")
    assert window.server.metric("longjump_row_steps_total") - made == 1 + 2 + 4  # what is compared is always measured


def test_chosen_steps_are_not_used(window: Window) -> None:
    window[column(2, ".pick")].click()
    expect(window[column(2, ".pick")]).to_have_attribute("aria-pressed", "true")
    expect(window["#steps input:checked"]).to_have_attribute("value", "2")
    window["#steps"].get_by_label("4").check()
    expect(window[column(4, ".pick")]).to_have_attribute("aria-pressed", "true")
    with window.page.expect_download() as download:
        window["#compare-save"].click()
    saved = Path(download.value.path()).read_bytes()
    assert saved == window.server.client.get("/generate?seed=7&steps=4").content
    assert download.value.suggested_filename.endswith("-7.png")


def test_link_shows_another_thing(window: Window, open_window: Open) -> None:
    window["#labels"].get_by_label("owl", exact=True).check()
    window["#seed"].fill("99")
    window["#steps"].get_by_label("2").check()
    window["#tab-interpolate"].click()
    window["#seed-to"].fill("1234")
    window.settled("interpolate")
    link = window.page.url.rpartition("#")[2]
    other = open_window(window.server)
    other.open(f"#{link}", settled=False)
    expect(other["#path-grid img"]).to_have_count(8)
    expect(other["#seed"]).to_have_value("99")
    expect(other["#seed-to"]).to_have_value("1234")
    assert other.asked("/interpolate")[-1] == window.asked("/interpolate")[-1]
    assert other.asked("/interpolate")[-1]["label"] == "owl"


def test_link_in_the_same_tab_does_nothing(window: Window) -> None:
    window.page.evaluate("() => { location.hash = '#label=owl&seed=99'; }")
    expect(window[column(4)]).to_have_attribute("alt", "owl, seed 99, 4 steps")
    expect(window["#seed"]).to_have_value("99")


def test_skip_link_forgets_the_choices(window: Window) -> None:
    window["#seed-next"].click()
    window.settled("compare")
    chosen = window.page.url
    assert "seed=8" in chosen
    window[".skip"].focus()
    window.page.keyboard.press("Enter")
    expect(window["#stage"]).to_be_focused()
    assert window.page.url == chosen


BROKEN = ("#mode=nothing&seed=x&steps=3&label=unicorn&guidance=9&strength=7&frames=1", "#%", "#seed=-1&model=none")


def test_broken_link_breaks_the_page(kept: Window) -> None:
    for link in BROKEN:
        kept.fresh(link)
        expect(kept["#tab-compare"]).to_have_attribute("aria-selected", "true")
        expect(kept["#message"]).to_be_empty()
        assert same(kept, column(1), "/generate?seed=7&steps=1"), link
    kept.check()


def test_keys_do_nothing(window: Window) -> None:
    window.page.keyboard.press("n")
    expect(window["#seed"]).to_have_value("8")
    window.page.keyboard.press("b")
    expect(window["#seed"]).to_have_value("7")
    window.page.keyboard.press("r")
    expect(window["#seed"]).not_to_have_value("7")
    for number, mode in enumerate(("compare", "refine", "vary", "interpolate", "wall"), start=1):
        window.page.keyboard.press(str(number))
        expect(window[f"#{mode}"]).to_be_visible()
        expect(window["[role=tabpanel]:visible"]).to_have_count(1)
    window.page.keyboard.press("?")
    expect(window["#shortcuts-dialog"]).to_be_visible()
    window["#shortcuts-on"].uncheck()
    window["#shortcuts-dialog button"].click()
    window.page.keyboard.press("1")
    expect(window["#wall"]).to_be_visible()  # switched off
    window.page.reload()
    expect(window["#wall"]).to_be_visible()
    window.page.keyboard.press("1")
    expect(window["#wall"]).to_be_visible()
    window["#shortcuts"].click()
    expect(window["#shortcuts-on"]).not_to_be_checked()


def test_typed_digit_changes_the_tab(window: Window) -> None:
    window["#seed"].focus()
    window.page.keyboard.press("End")
    window.page.keyboard.type("25")
    expect(window["#seed"]).to_have_value("725")
    expect(window["#compare"]).to_be_visible()


def test_tabs_take_no_arrows(window: Window) -> None:
    window["#tab-compare"].focus()
    window.page.keyboard.press("ArrowRight")
    expect(window["#tab-refine"]).to_be_focused()
    expect(window["#refine"]).to_be_visible()
    window.page.keyboard.press("ArrowLeft")
    window.page.keyboard.press("ArrowLeft")
    expect(window["#tab-wall"]).to_be_focused()
    window.page.keyboard.press("Home")
    expect(window["#tab-compare"]).to_be_focused()


def test_colours_are_not_kept(window: Window) -> None:
    def ground() -> str:
        return str(window["body"].evaluate("(body) => getComputedStyle(body).backgroundColor"))

    light = ground()
    window["#theme"].click()
    expect(window["html"]).to_have_attribute("data-theme", "light")
    assert ground() == light
    window["#theme"].click()
    expect(window["html"]).to_have_attribute("data-theme", "dark")
    assert ground() != light
    dark = ground()
    window.page.reload()
    expect(window["html"]).to_have_attribute("data-theme", "dark")
    assert ground() == dark
    expect(window["#columns img"]).to_have_count(3)


@pytest.fixture(scope="module")
def both(browser: Browser, start_shared: Start, guided: Path, images: Path) -> Iterator[Window]:
    """A page of two models, the second of which takes guidance from 1 to 4."""
    window = Window(browser, start_shared(images, str(guided)))
    yield window
    window.close()


def test_broken_guidance_is_sent(both: Window) -> None:
    for text, sent in (("abc", "2"), ("9", "2"), ("NaN", "2"), ("-Infinity", "2"), ("3", "3")):
        both.fresh(f"#model=guided&guidance={text}")
        expect(both["#guidance-value"]).to_have_text(sent)
        expect(both["#message"]).to_be_empty()
        assert {fields["guidance"] for fields in both.asked("/generate") if "steps" in fields} == {sent}, text
    both.check()


def test_guidance_is_not_sent(both: Window) -> None:
    """Several models, one of which takes guidance: each shows its own controls and makes its own pictures."""
    window = both
    window.fresh()
    expect(window["#guidance-field"]).to_be_hidden()
    expect(window["#model option"]).to_have_text(["tiny", "guided"])
    window["#model"].select_option("guided")
    expect(window["#guidance-value"]).to_have_text("2")
    expect(window["#labels .name"]).to_have_text(["any class", "cat", "dog", "no class"])
    expect(window["#columns .time"].last).not_to_be_empty()
    window["#guidance"].fill("4")
    expect(window["#guidance-value"]).to_have_text("4")
    window.settled("compare")
    steps = window.asked("/generate")[-1]["steps"]
    assert same(window, ".column:last-child img", f"/generate?model=guided&seed=7&steps={steps}&guidance=4")
    assert not same(window, ".column:last-child img", f"/generate?model=guided&seed=7&steps={steps}&guidance=2")
    window["#model"].select_option("tiny")
    expect(window["#guidance-field"]).to_be_hidden()
    window.settled("compare")
    assert "guidance" not in window.asked("/generate")[-1]
    assert "model" not in window.asked("/generate")[-1]
    expect(window["#live-models"]).to_be_visible()  # /metrics does not tell them apart
    window.check()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 120 classes."""
    folder = tmp_path_factory.mktemp("many")
    graph = jump_graph(folder / "jump.onnx", (1, 8, 8))
    labels = [f"class {number:03}" for number in range(120)]
    wrap(graph, folder / "many", z_shape=(1, 8, 8), labels=labels, span="any", grids={"1": flow_grid(1)})
    return folder / "many"


def test_class_of_many_is_not_found(open_window: Open, start_shared: Start, many: Path) -> None:
    window = open_window(start_shared(many))
    window.open()
    expect(window[".tile img"].first).to_be_visible()
    window["#label-search"].fill("1")
    expect(window[".tile:visible .name"]).to_have_count(sum("1" in f"{number:03}" for number in range(120)))
    window["#label-search"].fill("CLASS 117")
    expect(window[".tile:visible .name"]).to_have_text(["class 117"])
    window["#labels"].get_by_label("class 117").check()
    window.settled("compare")
    expect(window["#columns img"]).to_have_attribute("alt", "class 117, seed 7, 1 step")
    assert len(window.asked("/generate", thumbnails=True)) < 60  # of those that came into view alone
    window["#label-search"].fill("nothing")
    expect(window[".tile:visible"]).to_have_count(0)
    window["#label-search"].fill("")
    expect(window[".tile:visible"]).to_have_count(122)
    window.fresh("#label=class 117")
    expect(window[".tile[data-label='class 117']"]).to_be_in_viewport(ratio=1)
