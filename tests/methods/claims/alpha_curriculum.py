"""alpha-Flow's curriculum against MeanFlow from the start."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.checkpoint import load_checkpoint
from models.numpy_jump import numpy_jump
from tests.methods.cells import Cell
from tests.methods.claims import Finding
from tests.methods.plots import COLOURS, panels
from tests.methods.problems import PROBLEMS

TITLE = "alpha-Flow's curriculum against plain MeanFlow at high t"
CLAIM = (
    "Early in training MeanFlow's derivative is noise where t is high, and fights what flow matching has to learn "
    "there; to begin with trajectory flow matching and to go over to MeanFlow gives the better map."
)

PROBLEM = "eight Gaussians"
BUDGETS = (300, 1000)
SEEDS = (0, 1, 2)
BINS = np.linspace(0.05, 1.0, 9)
ROWS = 400


def cell(method: str, steps: int, seed: int) -> Cell:
    """The same network, data, times and rate for both; alpha-Flow's weight is the plain square as MeanFlow's is."""
    shared = ("objective.times={t: {kind: uniform}, s: {kind: uniform}, jumps: 0.5}", "objective.adaptive_power=0.0")
    length = (f"run.steps={steps}", f"optimiser.decay_steps={int(0.8 * steps)}", f"run.seed={seed}")
    return Cell(method, PROBLEM, (*shared, *length))


def cells() -> Sequence[Cell]:
    return [cell(method, *each) for method in ("meanflow", "alpha-flow") for each in _runs()]


def find() -> Finding:
    figure, axes = panels(len(BUDGETS), width=3.8)
    told, wins = [], 0
    for axis, steps in zip(axes, BUDGETS, strict=True):
        means = {}
        for colour, method in zip(COLOURS, ("meanflow", "alpha-flow"), strict=False):
            curves = np.array([by_time(cell(method, steps, seed)) for seed in SEEDS])
            middle = curves.mean(0)
            centres = (BINS[1:] + BINS[:-1]) / 2
            axis.plot(centres, middle, "o-", color=colour, label=method, ms=4)
            axis.fill_between(centres, curves.min(0), curves.max(0), color=colour, alpha=0.2)
            means[method] = curves[:, -2:].mean(1)
        axis.set_title(f"{steps:,} steps")
        axis.set_xlabel("t")
        axis.legend(fontsize=8)
        plain, curriculum = means["meanflow"], means["alpha-flow"]
        wins += curriculum.max() < plain.min()
        told.append(
            f"after {steps:,} steps {100 * plain.mean():.1f} % ({_range(plain)}) for MeanFlow and "
            f"{100 * curriculum.mean():.1f} % ({_range(curriculum)}) for alpha-Flow"
        )
    axes[0].set_ylabel("RMS of the jump from t to 0 / std")
    verdict = "holds" if wins == len(BUDGETS) else "holds in part" if wins else "does not hold here"
    text = (
        f"`{PROBLEM}`, three seeds each, squared error; error of the jump from t to 0 at t above {BINS[-3]:.2f}, mean "
        f"and range: {'; '.join(told)}."
    )
    return Finding(verdict, text, figure)


def by_time(of: Cell) -> np.ndarray:
    """RMS of the jump from z_t to 0 against the exact one, by t, in units of the data's std."""
    problem = PROBLEMS[of.problem]
    flow_map, _ = load_checkpoint(of.folder / "run")
    jump, rng = numpy_jump(flow_map), np.random.default_rng(3)
    errors = []
    for low, high in pairwise(BINS):
        t = rng.uniform(low, high, ROWS)
        z = (1 - t)[:, None] * problem.truth.sample(rng, ROWS) + t[:, None] * rng.standard_normal((ROWS, problem.dim))
        exact = problem.truth.jump(z, t, np.zeros(ROWS))  # type: ignore[arg-type]
        words = [np.asarray(each, np.float32) for each in (z, t, np.zeros(ROWS))]
        found = jump(words[0], words[1], words[2], np.zeros(ROWS, np.int64), None)
        errors.append(np.sqrt(np.mean((found - exact) ** 2)) / problem.std)
    return np.array(errors)


def _runs() -> list[tuple[int, int]]:
    return [(steps, seed) for steps in BUDGETS for seed in SEEDS]


def _range(values: np.ndarray) -> str:
    return f"{100 * values.min():.1f} to {100 * values.max():.1f}"
