"""Grids of a model on trial: by samples of the same seeds, against pictures that it was trained on."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from export.runtime.grids import Grid
from trainer.data.dataset import Dataset
from trainer.evaluate.classes import classes_as
from trainer.evaluate.distances import frechet, gaussian, kernel_distance
from trainer.evaluate.evaluation import NOT_FID, check_fits, check_pictures, made
from trainer.evaluate.extractor import Extractor
from trainer.evaluate.features import some, split_features
from trainer.evaluate.generator import Generator
from trainer.evaluate.gridsearch import Family, Times, check_times, search
from trainer.evaluate.store import Store

FORMAT = 1
"""Of what was found."""

FIGURES = ("kid_enetlite0", "fd_enetlite0")
"""The first is what is searched by: unlike the second it does not depend on the number of samples but by chance."""

WORTH = 0.01
"""How much smaller the kernel distance must be on other seeds for a grid to be taken. Less is chance."""


class Trial:
    """Figures of a generator's pictures by any grid.

    Args:
        generator: what makes the samples.
        dataset: pictures of its size and classes.
        samples: of each grid.
        seed: of the first sample of the search; those after its last are the other seeds.
        real: at most so many pictures of the training split, drawn at random, are compared with.
        store: where the figures are kept.
        extractor: EfficientNet-Lite0.

    Raises:
        ValueError: generator and data do not fit each other.
    """

    def __init__(
        self,
        generator: Generator,
        dataset: Dataset,
        samples: int,
        seed: int,
        real: int,
        store: Store,
        extractor: Extractor,
    ) -> None:
        check_pictures(dataset)
        check_fits(generator, dataset)
        self.generator, self.dataset, self.samples, self.seed = generator, dataset, samples, seed
        self.store, self.extractor = store, extractor
        self.classes = classes_as(dataset.train, dataset, generator)
        rows = some(len(dataset.train.x), real) if len(dataset.train.x) > real else None
        self.reference = split_features(store, extractor, dataset, "train", rows)
        self.shape = gaussian(self.reference)

    def about(self) -> dict[str, Any]:
        """What was tried against what."""
        return {
            "format": FORMAT,
            "note": NOT_FID,
            "model": {"name": self.generator.name, **self.generator.identity},
            "settings": {
                "samples": self.samples,
                "seeds": [self.seed, self.seed + self.samples - 1],
                "other_seeds": [self.seed + self.samples, self.seed + 2 * self.samples - 1],
                "guidance": self.generator.guidance,
                "data": {"name": self.dataset.name, "sha256": self.dataset.sha256},
                "reference": {"split": "train", "pictures": len(self.reference)},
                "extractor": self.extractor.identity,
            },
            "made": made(self.extractor.device),
        }

    def search(self, count: int, family: Family, times: Times) -> tuple[dict[str, Any], Grid | None]:
        """What came of a search that begins at `times`, and the grid where it is better on other seeds too."""

        def score(tried: Times) -> float:
            value = self.figures(self._grid(family, tried), self.seed)[0]
            said = ", ".join(f"{time:.4g}" for time in tried)
            print(f"{count} steps: {said}: {FIGURES[0]} {value:.4g}", file=sys.stderr, flush=True)
            return value

        found = search(times, self.generator.t_max, score)
        before, after = (self.figures(self._grid(family, each), self.seed + self.samples) for each in (times, found))
        taken = found != times and before[0] - after[0] >= WORTH * abs(before[0])
        pairs = {name: [one, two] for name, one, two in zip(FIGURES, before, after, strict=True)}
        line = {"before": list(times), "searched": list(found), "taken": taken, **pairs}
        return line, self._grid(family, found) if taken else None

    def figures(self, grid: Grid, seed: int) -> list[float]:
        """FIGURES of samples of a grid, with six digits."""
        what = {
            "what": f"{', '.join(FIGURES)} of a grid",
            "model": self.generator.identity,
            "grid": [list(step) for step in grid],
            "guidance": self.generator.guidance,
            "seed": seed,
            "samples": self.samples,
            "labels": self.classes.sha256,
            "extractor": self.extractor.identity,
            "data": self.dataset.sha256,
            "reference": len(self.reference),
        }

        def make() -> np.ndarray:
            pictures = self.generator.draw(grid, seed, self.classes.asked(0, self.samples))
            features = self.extractor(pictures)
            return np.array([kernel_distance(features, self.reference), frechet(gaussian(features), self.shape)])

        return [float(f"{value:.6g}") for value in self.store.array(what, make)]

    def _grid(self, family: Family, times: Times) -> Grid:
        return check_times(family, times, self.generator.span, self.generator.t_max)
