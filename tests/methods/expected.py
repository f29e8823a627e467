"""What is expected of each method: where its points recipe comes to rest on a Gaussian, and the error that is asked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.methods.problems import GAUSSIAN
from trainer.objectives.consistency_distillation import ConsistencyDistillation
from trainer.objectives.consistency_training import ConsistencyTraining
from trainer.objectives.ctm import CTM
from trainer.objectives.ect import EasyConsistencyTuning
from trainer.objectives.ict import ImprovedConsistencyTraining
from trainer.objectives.parts.levels import Karras, Levels
from trainer.oracle.fixed_points import euler_slope, exact_slope, heun_slope, log_growth, shortcut_slope, ve_rate
from trainer.recipe import Recipe, load_recipe

ASKED = {
    **dict.fromkeys(("meanflow", "imf", "ayf-emd", "ctm", "sct", "scd", "alpha-flow", "split-meanflow"), 0.05),
    **dict.fromkeys(("cd", "ct", "ict", "ect", "shortcut", "ayf-lmd"), 0.08),
}
"""Largest RMS of the one-step map on a mixture, in units of the data's std."""

STD = float(GAUSSIAN.truth.std[0])  # type: ignore[union-attr]


class Slope(NamedTuple):
    """Of the map from noise to samples on the Gaussian."""

    value: float
    steps: int
    """At which it is expected."""
    why: str


def expected_slope(method: str, recipe: Recipe | None = None) -> Slope:
    """The slope at which `points/METHOD`, or another recipe of that method, comes to rest."""
    recipe = recipe or load_recipe(f"points/{method}")
    objective = recipe.objective
    if objective.span == "velocity":
        most = max(recipe.run.sample_steps)
        return Slope(shortcut_slope(most, STD), most, f"{most} Euler steps")
    if objective.span == "dyadic":
        return Slope(shortcut_slope(128, STD), 1, "128 Euler steps")
    if isinstance(objective, ConsistencyTraining):
        return Slope(_chain(objective.levels, objective.last + 1, "euler"), 1, f"{objective.last} Euler steps")
    if isinstance(objective, ImprovedConsistencyTraining):
        return Slope(_chain(objective.levels, objective.last + 1, "euler"), 1, f"{objective.last} Euler steps")
    if isinstance(objective, ConsistencyDistillation | CTM):
        count = objective.count
        return Slope(_chain(objective.levels, count, "heun"), 1, f"{count - 1} Heun steps")
    if isinstance(objective, EasyConsistencyTuning):
        sigmas = [objective.sigma_max]
        while sigmas[-1] > 1e-6:
            time = sigmas[-1] / (1 + sigmas[-1])
            lower = float(objective.lower(_tensor(time), objective.stages - 1))
            sigmas.append(lower / (1 - lower))
        slope = objective.sigma_max * euler_slope(np.array(sigmas), _rate)
        return Slope(slope, 1, f"{len(sigmas) - 1} Euler steps")
    return Slope(exact_slope(1.0, 0.0, STD), 1, "exact")


def _chain(levels: Levels, count: int, solver: str) -> float:
    """Slope of the jump from noise to data that a chain of steps down the grid makes."""
    slope = {"euler": euler_slope, "heun": heun_slope}[solver]
    times = levels.times(count).numpy()[::-1]
    if isinstance(levels, Karras):
        # In EDM's coordinates x = sigma_max n where sampling begins.
        return float(levels.sigma_max * slope(times / (1 - times), _rate))
    return float(slope(times, lambda t: log_growth(t, STD)))


def _rate(sigma: np.ndarray) -> np.ndarray:
    return ve_rate(sigma, STD)


def _tensor(value: float):  # type: ignore[no-untyped-def]
    import torch

    return torch.tensor(value, dtype=torch.float64)
