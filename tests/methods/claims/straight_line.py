"""The post's identity for a whole jump."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.runtime.grids import flow_grid
from export.runtime.noise import normal
from models.checkpoint import load_checkpoint
from tests.methods.cells import Cell
from tests.methods.claims import Finding
from tests.methods.plots import panels
from tests.methods.problems import PROBLEMS
from trainer.sampling import draw

TITLE = "False: x1 - x0 is the average velocity of a whole jump"
CLAIM = (
    "The post takes z_t - z_s = (t - s)(x1 - x0), so that the average velocity over [0, 1] could be read off a pair of "
    "data and noise. That holds on the pair's own line only. What a regression on it learns is its mean over all pairs "
    "that meet in z: a jump to the mean of the data, of slope 0 (u has slope 1). The flow's has slope 0.4 (u: 0.6)."
)

SAMPLES = 4000


def cells() -> Sequence[Cell]:
    """alpha = 1: the pair's velocity as the target of every jump; and MeanFlow."""
    return [*(Cell("alpha-flow", name, ("objective.alpha=1.0",)) for name in ("Gaussian", "two apart")),
            *(Cell("meanflow", name) for name in ("Gaussian", "two apart"))]  # fmt: skip


def find() -> Finding:
    figure, axes = panels(2)
    told = []
    slopes = {}
    for axis, name in zip(axes, ("Gaussian", "two apart"), strict=True):
        problem = PROBLEMS[name]
        noise = np.linspace(-2.5, 2.5, 200)[:, None]
        axis.plot(noise, problem.truth.jump(noise, 1.0, 0.0), color="black", lw=1, label="exact jump")
        for each in (each for each in cells() if each.problem == name):
            flow_map, config = load_checkpoint(each.folder / "run")
            label = "regressed on x1 - x0" if each.overrides else "meanflow"
            x = draw(flow_map, config.shape, flow_grid(1), [0] * SAMPLES)[:, 0].astype(np.float64)
            z = _noise(SAMPLES)
            order = np.argsort(z)
            axis.plot(z[order], x[order], ".", ms=2, label=label)
            slopes[name, label] = float(np.polyfit(z, x, 1)[0])
        axis.set_title(name)
        axis.set_xlabel("noise")
        axis.legend(fontsize=8)
        told.append(
            f"{name}: the map regressed on x1 - x0 has slope {slopes[name, 'regressed on x1 - x0']:.3f}, MeanFlow's "
            f"{slopes[name, 'meanflow']:.3f}"
        )
    axes[0].set_ylabel("sample")
    # Nearer to the mean alone than to the flow's, which a network of the same size learns from another target.
    wrong = abs(slopes["Gaussian", "regressed on x1 - x0"]) < 0.2 and abs(slopes["Gaussian", "meanflow"] - 0.4) < 0.02
    text = f"{'; '.join(told)} (exact on the Gaussian: 0.4; the mean alone: 0)."
    return Finding("shown false" if wrong else "not shown", text, figure)


def _noise(count: int) -> np.ndarray:
    return np.array([normal(seed, 0, (1,))[0] for seed in range(count)], np.float64)
