"""The calls that the playground shows are run as they stand, and give what is on screen."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import expect

from export.runtime.grids import flow_grid
from export.wrap import wrap

from ..conftest import ROOT, Start, jump_graph
from .conftest import Open, Window, decoded

OUTPUT = "output"
"""The file for what a call writes to its standard output."""


@pytest.fixture(scope="module")
def owl(kept: Window) -> Window:
    """A page whose class and seed stay what they are, whatever way to look a test takes."""
    kept.fresh("#label=owl&seed=11")
    return kept


@pytest.fixture
def window(owl: Window) -> Iterator[Window]:
    owl["#tab-compare"].click()
    yield owl
    owl.check()


def run(window: Window, kind: str, folder: Path) -> list[Path]:
    """Run the call that is shown, by way of the clipboard; the files it wrote."""
    window["#call-kinds"].get_by_label(kind).check()
    window["#copy"].click()
    expect(window["#copy"]).to_have_text("Copied")
    text = window.page.evaluate("() => navigator.clipboard.readText()")
    assert text == window["#call"].text_content()
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    if kind == "curl":
        command = ["bash", "-c", f"set -e; alias curl='curl --silent --fail'; {text}"]
    else:
        command = [sys.executable, "-c", text]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    (folder / OUTPUT).write_bytes(done.stdout)
    return sorted(set(folder.iterdir()) - before - {folder / OUTPUT})


KINDS = ("curl", "Python")


def test_comparison(window: Window, tmp_path: Path) -> None:
    for kind in KINDS:
        written = run(window, kind, tmp_path / kind)
        assert [path.name for path in written] == [f"owl-11-{steps}.png" for steps in (1, 2, 4)]
        for at, path in enumerate(written, start=1):
            assert np.array_equal(decoded(path.read_bytes()), window.pixels(f".column:nth-child({at}) img"))


def test_refinement(window: Window, tmp_path: Path) -> None:
    window["#tab-refine"].click()
    expect(window["#refine-trail li"]).to_have_count(4)
    run(window, "curl", tmp_path / "curl")
    assert (tmp_path / "curl" / OUTPUT).read_text().count("event: image") == 4
    written = run(window, "Python", tmp_path / "Python")
    assert [path.name for path in written] == [f"owl-11-{steps}.png" for steps in (1, 2, 3, 4)]
    for at, path in enumerate(written, start=1):
        assert np.array_equal(decoded(path.read_bytes()), window.pixels(f"#refine-trail li:nth-child({at}) img"))


def pieces(grid: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
    """The 8x8 pictures of a grid in reading order."""
    rows, columns = grid.shape[0] // 8, grid.shape[1] // 8
    cut = grid.reshape(rows, 8, columns, 8, 3).swapaxes(1, 2).reshape(-1, 8, 8, 3)
    return list(cut[:count])


def test_variation(window: Window, tmp_path: Path) -> None:
    window["#compare-vary"].click()
    expect(window["#variations img"]).to_have_count(8)
    with window.page.expect_download() as download:
        window["#vary-save"].click()
    for kind in KINDS:
        download.value.save_as(tmp_path / kind / download.value.suggested_filename)
        (written,) = run(window, kind, tmp_path / kind)
        for at, piece in enumerate(pieces(decoded(written.read_bytes()), 8), start=1):
            assert np.array_equal(piece, window.pixels(f"#variations > :nth-child({at}) img"))


def test_variation_of_an_upload(window: Window, tmp_path: Path) -> None:
    """Under its own name, whatever characters that has."""
    name = 'it\'s, a; "b" \\ $HOME.png'
    held = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), (200, 30, 90), dtype=np.uint8)).save(held, "png")
    window["#tab-vary"].click()
    window["#upload"].set_input_files({"name": name, "mimeType": "image/png", "buffer": held.getvalue()})
    expect(window["#vary-source img"]).to_have_attribute("alt", f"Your picture, {name}")
    window.settled("vary")
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_bytes(held.getvalue())
        (written,) = run(window, kind, tmp_path / kind)
        for at, piece in enumerate(pieces(decoded(written.read_bytes()), 8), start=1):
            assert np.array_equal(piece, window.pixels(f"#variations > :nth-child({at}) img"))


def test_way(window: Window, tmp_path: Path) -> None:
    window["#tab-interpolate"].click()
    window["#label-to"].select_option("cat")
    window["#frames"].select_option("5")
    expect(window["#path-grid img"]).to_have_count(5)
    window.settled("interpolate")
    for kind in KINDS:
        (written,) = run(window, kind, tmp_path / kind)
        for at, piece in enumerate(pieces(decoded(written.read_bytes()), 5), start=1):
            assert np.array_equal(piece, window.pixels(f"#path-grid > :nth-child({at}) img"))


def test_wall(window: Window, tmp_path: Path) -> None:
    window["#tab-wall"].click()
    window["#wall-run"].click()
    expect(window["#wall-run"]).to_have_text("Fill it again")
    asked = [fields for fields in window.asked("/generate") if "n" in fields]
    grid = window.served(f"/generate?seed=11&label=owl&steps=1&n={asked[0]['n']}")
    for kind in KINDS:
        (written,) = run(window, kind, tmp_path / kind)
        assert np.array_equal(decoded(written.read_bytes()), grid)


NAMES = ['it\'s a "quote" \\n', "{1,2} $HOME `id`", "été 雪 a&b=c#d?e+f%20"]


def test_odd_name_breaks_the_call(open_window: Open, start: Start, tmp_path: Path, odd: Path) -> None:
    """Names of classes are any text; none may leave its quotes."""
    window = open_window(start(odd), permissions=["clipboard-read", "clipboard-write"])
    window.open()
    for name in NAMES:
        window["#labels"].get_by_label(name, exact=True).check()
        window.settled("compare")
        expect(window["#columns img"].first).to_have_attribute("alt", f"{name}, seed 7, 1 step")
        for kind in KINDS:
            written = run(window, kind, tmp_path / f"{kind}{NAMES.index(name)}")
            assert len(written) == 2
            assert np.array_equal(decoded(written[0].read_bytes()), window.pixels(".column:nth-child(1) img"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose classes have odd names."""
    folder = tmp_path_factory.mktemp("odd")
    graph = jump_graph(folder / "jump.onnx", (3, 8, 8))
    grids = {"1": flow_grid(1), "2": flow_grid(2)}
    wrap(graph, folder / "odd", z_shape=(3, 8, 8), labels=NAMES, span="any", grids=grids)
    return folder / "odd"
