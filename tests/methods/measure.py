"""How far a trained map on points is from the truth about its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.runtime.grids import Grid, Step
from export.runtime.noise import normal
from models.checkpoint import load_checkpoint
from models.numpy_jump import numpy_jump
from tests.methods.problems import Problem
from trainer.energy import energy_distance
from trainer.oracle import GaussianMixture
from trainer.sampling import draw

SAMPLES = {1: 4000, 2: 2000}
"""By dimension; seeds 0, 1, 2, ..."""

STEPS = (1, 2, 4, 8)


def measure(checkpoint: Path, problem: Problem) -> dict[str, Any]:
    """Figures of a checkpoint, JSON values.

    `steps`: for each number of steps, on the line `distribution`, the RMS between the sorted samples and the sorted
    truth, and in the plane `energy` beside its `floor`, real to real; where the grid adds no noise also `map`, the RMS
    against the exact flow map from the same noise. All RMS are in units of the data's std. On the line also `slope` and
    `offset` of the best line through noise and samples. `semigroup`: see `semigroup_error`.
    """
    flow_map, config = load_checkpoint(checkpoint)
    dim, std = problem.dim, problem.std
    seeds = range(SAMPLES[dim])
    noise = np.array([normal(seed, 0, (dim,)) for seed in seeds], np.float64)
    exact = problem.truth.jump(noise, 1.0, 0.0)
    found: dict[str, Any] = {"steps": {}}
    counts = {int(steps) for steps in config.grids}
    for steps in sorted(counts & {*STEPS, max(counts)}):
        grid: Grid = tuple(Step(*jump) for jump in config.grids[str(steps)])
        x = draw(flow_map, (dim,), grid, [0] * len(seeds)).astype(np.float64)
        row = dict[str, float]()
        if all(step.b == 0 for step in grid):
            row["map"] = _rms(x - exact) / std
        if dim == 1:
            row["distribution"] = _rms(np.sort(x, 0) - np.sort(exact, 0)) / std
            slope, offset = np.polyfit(noise[:, 0], x[:, 0], 1)
            row |= {"slope": float(slope), "offset": float(offset)}
        else:
            row |= _energy(x, problem)
        found["steps"][str(steps)] = row
    error = semigroup_error(numpy_jump(flow_map), config.span, problem)
    if error is not None:
        found["semigroup"] = error / std
    return found


def semigroup_error(jump: Any, span: str, problem: Problem, rows: int = 2000) -> float | None:
    """RMS of jump(z, t, s) - jump(jump(z, t, m), m, s) over random times and z of the path, as the span allows.

    A map to the end knows no jump to m: its way there is the truth's. A dyadic one is asked for the halves of a jump.
    None for a velocity, whose jumps are Euler steps, and for an end without a quick truth.
    """
    rng = np.random.default_rng(1)
    if span == "any":
        s, m, t = np.sort(rng.random((3, rows)), 0)
    elif span == "dyadic":
        d = 2.0 ** -rng.integers(0, 6, rows)
        t = d * np.ceil(rng.random(rows) / d)
        s, m = t - d, t - d / 2
    elif span == "endpoint" and isinstance(problem.truth, GaussianMixture) and problem.dim == 1:
        m, t = np.sort(0.02 + 0.97 * rng.random((2, rows)), 0)
        s = np.zeros(rows)
    else:
        return None
    x0, x1 = problem.truth.sample(rng, rows), rng.standard_normal((rows, problem.dim))
    z = (1 - t)[:, None] * x0 + t[:, None] * x1
    half = problem.truth.jump(z, t, m) if span == "endpoint" else _asked(jump, z, t, m)
    return _rms(_asked(jump, z, t, s) - _asked(jump, half, m, s))


def _asked(jump: Any, z: np.ndarray, t: np.ndarray, s: np.ndarray) -> np.ndarray:
    words = [np.asarray(each, np.float32) for each in (z, t, s)]
    result: np.ndarray = jump(*words, np.zeros(len(z), np.int64)).astype(np.float64)
    return result


def _energy(x: np.ndarray, problem: Problem) -> dict[str, float]:
    rng = np.random.default_rng(2)
    real, other = (problem.truth.sample(rng, len(x)) for _ in range(2))
    return {"energy": energy_distance(x, real), "floor": energy_distance(other, real)}


def _rms(x: Sequence[float] | np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
