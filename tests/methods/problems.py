"""The data sets of the methods table, each with the truth about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.data.dataset import Dataset
from trainer.data.distributions import Distribution, checkerboard, eight_gaussians, gaussians
from trainer.data.points import LICENCE, sample_split
from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.boxes import Boxes

TRAIN, SEED = 100_000, 0


@dataclass(frozen=True)
class Problem:
    """A distribution of points and its closed form."""

    name: str
    distribution: Distribution
    truth: Gaussian | GaussianMixture | Boxes

    @property
    def dim(self) -> int:
        return self.truth.dim

    @property
    def std(self) -> float:
        """Root mean square distance of the data from their mean, a dimension."""
        x = self.truth.sample(np.random.default_rng(0), 200_000)
        return float(np.sqrt(x.var(0).mean()))

    def dataset(self) -> Dataset:
        """Unlabelled points, always the same ones; in memory."""
        unlabelled = Distribution(self.distribution.draw, (), self.distribution.parameters)
        train = sample_split(unlabelled, TRAIN, SEED, "train")
        digest = hashlib.sha256(np.ascontiguousarray(train.x).tobytes()).hexdigest()
        info: dict[str, Any] = {"name": self.name, "licence": LICENCE, "generator": self.distribution.parameters}
        return Dataset(self.name, "points", [], train, None, info, digest)


def mixture(name: str, weights: list[float], means: list[float], stds: list[float]) -> Problem:
    """Gaussians on a line."""
    return Problem(
        name, gaussians([[mean] for mean in means], stds, weights), GaussianMixture(weights, np.array(means), stds)
    )


def _eight() -> Problem:
    distribution = eight_gaussians()
    found = distribution.parameters
    return Problem("eight Gaussians", distribution, GaussianMixture(found["weight"], found["mean"], found["std"]))


def _board() -> Problem:
    corners = np.array([[column, row] for row in range(4) for column in range(4) if (row + column) % 2 == 0]) - 2.0
    return Problem("checkerboard", checkerboard(), Boxes(corners, corners + 1))


GAUSSIAN = Problem("Gaussian", gaussians([[0.7]], [0.4], []), Gaussian(0.7, 0.4))

MIXTURES = (
    mixture("two apart", [0.4, 0.6], [-1.0, 0.8], [0.35, 0.25]),
    mixture("three", [0.25, 0.5, 0.25], [-1.2, 0.1, 1.3], [0.2, 0.3, 0.25]),
    mixture("skewed", [0.7, 0.3], [-0.3, 1.4], [0.5, 0.2]),
)
"""On which no test of a method trains."""

PLANE = (_eight(), _board())

PROBLEMS = {problem.name: problem for problem in (GAUSSIAN, *MIXTURES, *PLANE)}
