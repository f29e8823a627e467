"""Tiny data sets, recipes and runs: networks of a few hundred weights, a handful of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.data.arrays import Split
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.folder import Built, write_dataset
from trainer.objectives import methods
from trainer.recipe import Recipe, load_recipe

SMALL = {
    "points": ["model.width=16", "model.depth=1", "run.batch=16"],
    "image": [
        *("model.network=dit", "model.patch=4", "model.width=16", "model.depth=1", "model.heads=2"),
        *("run.batch=8", "optimiser.warmup_steps=2"),
    ],
}
PER_RUN = [
    "run.steps=6",
    "run.save_every=3",
    "run.log_every=1",
    "optimiser.decay_steps=2",
    "run.sample_steps=[1, 2]",
    "run.score=0",
]

CREDITS = {"ash": {"title": "Trees", "creator": "A. Fraxinus", "licence": "CC0-1.0"}}


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An npz of 40 unlabelled points in R^1: with batches of 16, an epoch of 2 steps and 8 points left over."""
    path = tmp_path_factory.mktemp("data") / "points.npz"
    np.savez(path, x=np.random.default_rng(0).normal(0.7, 0.4, (40, 1)).astype(np.float32))
    return path


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An npz of 48 points in R^2 with labels 0, 1, 2."""
    path = tmp_path_factory.mktemp("data") / "plane.npz"
    rng = np.random.default_rng(1)
    np.savez(path, x=rng.normal(size=(48, 2)).astype(np.float32), labels=np.arange(48) % 3)
    return path


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set folder of 40 grey pictures, 8x8, two classes, with licence and credits."""
    images = np.random.default_rng(2).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    split = Split(images, np.arange(40) % 2)
    info = {"licence": "CC0-1.0", "credits": CREDITS}
    path = tmp_path_factory.mktemp("data") / "grey"
    write_dataset(path, Built("trees", "image", ["ash", "birch"], {"train": split}, info))
    return path


@pytest.fixture
def data_for(points: Path, grey: Path) -> Callable[[str], Dataset]:
    """`data_for("facets/meanflow")`: a tiny data set of the kind that a recipe is for."""
    return lambda name: open_dataset(points if name.startswith("points/") else grey)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Recipe]:
    """`tiny("points/meanflow", "run.steps=4")`: a shipped recipe with a tiny network and 6 steps."""
    return lambda name, *more: load_recipe(name, tiny_overrides(name, *more))


@pytest.fixture
def tiny_command() -> Callable[..., list[str]]:
    """The same as words of the command line: RECIPE --set A=B ..."""

    def words(name: str, *more: str) -> list[str]:
        return [name, *(word for override in tiny_overrides(name, *more) for word in ("--set", override))]

    return words


@pytest.fixture
def stop_after() -> Callable[[int], Callable[[], bool]]:
    """`stop_after(3)`: what makes `train` save and leave after its third step."""

    def make(steps: int) -> Callable[[], bool]:
        asked = iter(range(1, steps + 1))
        return lambda: next(asked) == steps

    return make


@pytest.fixture
def plain_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints without pictures, which take longer than the tiny runs themselves."""
    monkeypatch.setattr("trainer.loop.checkpoint_files", lambda *_: {"README.md": b"# tiny\n"})


@pytest.fixture
def weights() -> Callable[[Path], Mapping[str, bytes]]:
    """Bytes of every file of tensors below a folder, by name: weights, averages, and the state to resume from."""
    return lambda folder: {
        str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))
    }


@pytest.fixture(scope="session")
def pixels() -> Callable[[bytes], NDArray[np.uint8]]:
    """A picture's bytes as uint8 [H, W, 3]."""
    import io

    from PIL import Image

    return lambda content: np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def tiny_overrides(name: str, *more: str) -> list[str]:
    objective = methods()[name.partition("/")[2]]
    first = ["objective.flow_matching_steps=2"] if "flow_matching_steps" in objective.model_fields else []
    return [*SMALL["points" if name.startswith("points/") else "image"], *first, *PER_RUN, *more]
