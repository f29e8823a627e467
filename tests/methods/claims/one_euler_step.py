"""One Euler step of flow matching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.runtime.grids import flow_grid
from models.checkpoint import load_checkpoint
from tests.methods.cells import Cell
from tests.methods.claims import Finding
from tests.methods.plots import panels
from tests.methods.problems import PROBLEMS
from trainer.sampling import draw

TITLE = "One Euler step of flow matching lands on the mean of the data"
CLAIM = (
    "At t = 1 the velocity points to the mean of the data wherever z is, so a single step makes every sample the mean."
)

SAMPLES = 4000
NAMES = ("Gaussian", "two apart", "eight Gaussians")


def cells() -> Sequence[Cell]:
    return [Cell("flow-matching", name) for name in NAMES]


def find() -> Finding:
    figure, axes = panels(len(NAMES), width=3.6)
    told = []
    worst = 0.0
    for axis, cell in zip(axes, cells(), strict=True):
        problem = PROBLEMS[cell.problem]
        flow_map, config = load_checkpoint(cell.folder / "run")
        one, many = (
            draw(flow_map, config.shape, flow_grid(count), [0] * SAMPLES).astype(np.float64) for count in (1, 32)
        )
        real = problem.truth.sample(np.random.default_rng(0), SAMPLES)
        left = float(one.std(0).mean() / real.std(0).mean())
        off = float(np.linalg.norm(one.mean(0) - real.mean(0)) / problem.std)
        worst = max(worst, left, off)
        told.append(f"{cell.problem}: {left:.1%} of the data's std is left, {off:.1%} of it off the mean")
        if problem.dim == 1:
            bins = np.linspace(real.min(), real.max(), 60)
            axis.hist(real[:, 0], bins, density=True, alpha=0.35, label="data")
            axis.hist(many[:, 0], bins, density=True, histtype="step", label="32 steps")
            axis.axvline(float(one.mean()), color="#c0485a", label="1 step (mean and std)")
            axis.axvspan(float(one.mean() - one.std()), float(one.mean() + one.std()), color="#c0485a", alpha=0.3)
        else:
            axis.plot(*many[:1500].T, ".", ms=2, alpha=0.5, label="32 steps")
            axis.plot(*one[:1500].T, ".", ms=2, color="#c0485a", label="1 step")
            axis.set_aspect("equal")
        axis.set_title(cell.problem)
        axis.legend(fontsize=8, loc="upper right")
    return Finding("holds" if worst < 0.1 else "holds in part", "; ".join(told) + ".", figure)
