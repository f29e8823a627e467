"""From a data set to a reply over HTTP, each command in a process of its own: it takes what the one before it left.

Every method walks it in `test_method_is_lost_on_the_road.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from export.runtime.bundle import open_bundle
from tests.road.walk import command, gaussian_data, walk

BRIEF = ["run.steps=6", "run.batch=16", "run.save_every=3", "run.log_every=1"]
TINY = ["model.width=24", "model.depth=1", "model.heads=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("road")


@pytest.fixture(scope="module")
def points(folder: Path) -> Path:
    return gaussian_data(folder, 200)


@pytest.fixture(scope="module")
def facets(folder: Path) -> Path:
    data = folder / "facets"
    sizes = ("--size", "32", "--train", "32", "--test", "16")
    command("data", "build", "facets", *sizes, "--out", str(data), folder=folder)
    return data


def test_points(points: Path, tmp_path: Path) -> None:
    """A flow, and a model that is distilled from it."""
    for name, given in (("flow-matching", []), ("cd", ["--teacher", str(tmp_path / "flow-matching" / "run")])):
        place = tmp_path / name
        place.mkdir()
        found = walk(f"points/{name}", points, place, [*BRIEF, "model.width=16"], given)
        assert found.reached == ["trained", "exported", "served"]
        assert set(found.served_bytes) == {"1", "2", "4"}


def test_images(facets: Path, tmp_path: Path) -> None:
    found = walk("facets/meanflow", facets, tmp_path, [*BRIEF, *TINY])
    assert found.reached == ["trained", "exported", "served"]
    assert set(found.served_bytes) == {"1", "2", "4"}


def test_unet(facets: Path, tmp_path: Path) -> None:
    """The other network for images: a switch and sizes; its graph gives a row the same bits in any batch."""
    small = ["model.network=unet", "model.channels=8", "model.multipliers=[1, 2, 2]", "model.blocks=1"]
    found = walk("facets/meanflow", facets, tmp_path, [*BRIEF, *small])
    assert found.reached == ["trained", "exported", "served"]
    assert set(found.served_bytes) == {"1", "2", "4"}
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert manifest.provenance["architecture"]["network"] == "unet"
    assert manifest.batch_invariant == {"fp32": True}
