"""The discretisation curriculum of consistency training."""

from __future__ import annotations

from collections.abc import Sequence

from tests.methods.cells import Cell
from tests.methods.claims import Finding
from tests.methods.plots import COLOURS, panels

TITLE = "The discretisation curriculum: coarse grids are biased, fine ones are slow to learn"
CLAIM = (
    "With few intervals a consistency model learns quickly towards a wrong place; with many the place is right and the "
    "signal weak. A grid that grows over the run has the best of both."
)

PROBLEM = "two apart"
COUNTS = (2, 8, 32, 128)
BUDGETS = (500, 2000)


def fixed(count: int, steps: int) -> Cell:
    """Consistency training on one grid for the whole run; its targets by the weights themselves."""
    grid = (f"objective.first={count}", f"objective.last={count}", "objective.target_ema=null")
    return Cell("ct", PROBLEM, (*grid, *_length(steps)))


def growing(steps: int) -> Cell:
    """From the fewest to the most intervals."""
    grid = (f"objective.first={COUNTS[0]}", f"objective.last={COUNTS[-1]}", "objective.target_ema=null")
    return Cell("ct", PROBLEM, (*grid, *_length(steps)))


def cells() -> Sequence[Cell]:
    return [cell for steps in BUDGETS for cell in (*(fixed(count, steps) for count in COUNTS), growing(steps))]


def find() -> Finding:
    figure, (axis,) = panels(1, width=6)
    told, better = [], 0
    for colour, steps in zip(COLOURS, BUDGETS, strict=False):
        errors = [_error(fixed(count, steps)) for count in COUNTS]
        grown = _error(growing(steps))
        axis.plot(COUNTS, errors, "o-", color=colour, label=f"one grid, {steps:,} steps")
        axis.axhline(grown, color=colour, ls="--", label=f"growing grid, {steps:,} steps")
        least = min(errors)
        better += grown <= 1.1 * least
        told.append(
            f"after {steps:,} steps the one-step map is {100 * errors[0]:.1f} % off with {COUNTS[0]} intervals, "
            f"{100 * least:.1f} % with {COUNTS[errors.index(least)]}, the best, "
            + (f"{100 * errors[-1]:.1f} % with {COUNTS[-1]}, " if errors[-1] > least else "")
            + f"and {100 * grown:.1f} % with a grid that grows from {COUNTS[0]} to {COUNTS[-1]}"
        )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(COUNTS, [str(count) for count in COUNTS])
    ticks = [tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if axis.get_ylim()[0] <= tick <= axis.get_ylim()[1]]
    axis.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("intervals")
    axis.set_ylabel("RMS of the one-step map / std")
    axis.legend(fontsize=8)
    verdict = "holds" if better == len(BUDGETS) else "holds in part" if better else "does not hold here"
    text = f"Consistency training on the mixture `{PROBLEM}`, RMS in percent of the data's std: {'; '.join(told)}."
    return Finding(verdict, text, figure)


def _error(cell: Cell) -> float:
    error: float = (cell.result() or {})["steps"]["1"]["map"]
    return error


def _length(steps: int) -> tuple[str, str]:
    return f"run.steps={steps}", f"optimiser.decay_steps={int(0.8 * steps)}"
