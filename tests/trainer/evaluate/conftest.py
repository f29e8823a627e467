"""Numbers that are the same on every machine, a few pictures of facets with their features, and a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.once import once, read_operators_once
from trainer.evaluate.extractor import Extractor, open_enetlite0

Uniform = Callable[[int, tuple[int, ...]], NDArray[np.float64]]


@pytest.fixture(scope="session")
def uniform() -> Uniform:
    """`uniform(key, shape)`: numbers in [0, 1) from Philox's raw stream, which numpy guarantees."""

    def make(key: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        raw = np.random.Philox(key=key).random_raw(int(np.prod(shape)))
        return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)

    return make


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    """EfficientNet-Lite0 for small pictures."""
    return open_enetlite0(32, 32, torch.device("cpu"))


class Pictures(NamedTuple):
    """Facets: 16 training and 8 test pictures of each of 8 classes, and their features."""

    train: NDArray[np.uint8]
    test: NDArray[np.uint8]
    train_features: NDArray[np.float32]
    test_features: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]


@pytest.fixture(scope="session")
def facets(extractor: Extractor) -> Pictures:
    """Drawn in this process: the classes that load the quickest."""
    from trainer.data.facets import draw, seed_string

    classes = ("cutouts", "landscape", "lorelei", "marbles", "moods", "pixelbot", "thumbs", "voxel-bot")
    train, test = (
        np.stack([draw(classes[i % 8], seed_string(0, split, i), 32) for i in range(count)])
        for split, count in (("train", 128), ("test", 64))
    )
    return Pictures(train, test, extractor(train), extractor(test), np.arange(128) % 8, np.arange(64) % 8)


class Small(NamedTuple):
    """A data set of 8x8 pictures in two classes, and a tiny model of it: checkpoint and bundle."""

    data: Path
    checkpoint: Path
    bundle: Path


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Any]) -> Small:
    """Two training steps, so that the pictures are noise of some kind; grey, 40 training and 24 test pictures.

    Each test has its own copy, since eval and grids write into the checkpoint that they measure.
    """
    from export.export import export
    from trainer.data.arrays import Split
    from trainer.data.dataset import open_dataset
    from trainer.data.folder import Built, write_dataset
    from trainer.loop import train

    def make(folder: Path) -> None:
        rng = np.random.default_rng(3)
        splits = {
            name: Split(rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), np.arange(count) % 2)
            for name, count in {"train": 40, "test": 24}.items()
        }
        write_dataset(folder / "data", Built("trees", "image", ["ash", "birch"], splits, {"licence": "CC0-1.0"}))
        recipe = tiny("facets/meanflow", "run.steps=2", "run.save_every=2")
        train(recipe, open_dataset(folder / "data"), folder / "run")
        read_operators_once()
        export(next((folder / "run").glob("step-*")), folder / "bundle", licence="CC0-1.0")

    folder = once(tmp_path_factory, "small", make)
    return Small(folder / "data", next((folder / "run").glob("step-*")), folder / "bundle")


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`evaluate(MODEL, "--data", PATH, ...)`: the command's exit code and all it said; each test has its own cache."""
    from longjump import main

    def run(*words: Any) -> tuple[int, str]:
        code = main(["eval", "--cache", str(tmp_path / "cache"), "--device", "cpu", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run
