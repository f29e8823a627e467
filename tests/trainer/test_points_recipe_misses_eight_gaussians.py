"""A shipped points recipe, trained whole on eight Gaussians in a ring, must make them in one evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.methods.cells import Cell
from tests.methods.measure import SAMPLES, measure
from tests.methods.problems import PLANE, Problem
from trainer.energy import energy_distance
from trainer.loop import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EIGHT = PLANE[0]
RECIPE = Cell("meanflow", EIGHT.name)


def real(problem: Problem, seed: int) -> NDArray[np.float64]:
    """As many points of the data as are measured of a map."""
    return problem.truth.sample(np.random.default_rng(seed), SAMPLES[problem.dim])


@pytest.fixture(scope="module")
def limit() -> float:
    """Four standard deviations above the mean energy distance of two sets of real points.

    Sets of this size differ by how many points each Gaussian happens to have, so the distances of such pairs spread
    nearly as far as they lie from 0. One figure of a map shows no more than that spread allows: below the limit its
    samples may pass for data, and a perfect map is seldom above.
    """
    distances = [energy_distance(real(EIGHT, 2 * pair + 100), real(EIGHT, 2 * pair + 101)) for pair in range(40)]
    return float(np.mean(distances) + 4 * np.std(distances, ddof=1))


def energy_at_one_step(recipe: Cell, out: Path) -> float:
    return float(measure(train(recipe.recipe(), EIGHT.dataset(), out), EIGHT)["steps"]["1"]["energy"])


def test_one_evaluation_is_off_the_data(tmp_path: Path, limit: float) -> None:
    assert energy_at_one_step(RECIPE, tmp_path / "run") < limit


def test_untrained_map_is_near_the_data(tmp_path: Path, limit: float) -> None:
    """Negative control: one step of training, from the same random weights."""
    begun = Cell(RECIPE.method, EIGHT.name, ("run.steps=1", "optimiser.warmup_steps=0", "optimiser.decay_steps=0"))
    assert energy_at_one_step(begun, tmp_path / "run") > 10 * limit


@pytest.mark.parametrize("wrong", ["Euler step", "seven Gaussians", "each three times as wide"])
def test_wrong_samples_are_near_the_data(wrong: str, limit: float) -> None:
    """Negative control. One step of the exact velocity lands on the mean, whatever flow matching is trained."""
    rng, x = np.random.default_rng(0), real(EIGHT, 0)
    if wrong == "Euler step":
        noise = rng.standard_normal(x.shape)
        x = noise - EIGHT.truth.velocity(noise, np.ones(len(noise)))
    elif wrong == "seven Gaussians":
        first = np.abs(np.arctan2(x[:, 1], x[:, 0])) < np.pi / 8
        x[first] = x[~first][: first.sum()]
    else:
        x = x + np.sqrt(3**2 - 1) * 0.2 * rng.standard_normal(x.shape)
    assert energy_distance(x, real(EIGHT, 2)) > limit
