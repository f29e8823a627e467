"""From a data set to a reply over HTTP, for every shipped recipe: each command takes what the one before it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.runtime.bundle import open_bundle
from tests.road.walk import command, gaussian_data, walk
from trainer.recipe import shipped

POINTS = [name for name in shipped() if name.startswith("points/")]
FACETS = [name for name in shipped() if name.startswith("facets/")]
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


@pytest.mark.parametrize("recipe", POINTS)
def test_points(recipe: str, points: Path, tmp_path: Path) -> None:
    found = walk(recipe, points, tmp_path, [*BRIEF, "model.width=16"])
    assert found.reached == ["trained", "exported", "served"]
    assert found.served_bytes


@pytest.mark.parametrize("recipe", FACETS)
def test_images(recipe: str, facets: Path, tmp_path: Path) -> None:
    found = walk(recipe, facets, tmp_path, [*BRIEF, *TINY])
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
