"""Whether a trained map's jumps compose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.methods.cells import Cell
from tests.methods.claims import Finding
from tests.methods.plots import COLOURS, panels
from trainer.objectives import methods

TITLE = "A jump equals its two parts: the semigroup error of each trained map"
CLAIM = (
    "Any jump from t to s must give what a jump to a time between and one from there give. Maps that are trained on "
    "pairs of jumps do so by their loss; the others only as far as they are right."
)

PROBLEM = "two apart"


def cells() -> Sequence[Cell]:
    return [Cell(name, PROBLEM) for name, method in methods().items() if method.span != "velocity"]


def find() -> Finding:
    rows = []
    for cell in cells():
        found = cell.result() or {}
        rows.append((found["semigroup"], found["steps"]["1"]["distribution"], cell.method))
    rows.sort()
    figure, (axis,) = panels(1, width=7)
    place = np.arange(len(rows))
    axis.bar(place - 0.2, [row[0] for row in rows], 0.4, color=COLOURS[0], label="semigroup error")
    axis.bar(place + 0.2, [row[1] for row in rows], 0.4, color=COLOURS[1], label="one-step map against the truth")
    axis.set_xticks(place, [row[2] for row in rows], rotation=35, ha="right")
    axis.set_ylabel("RMS / std of the data")
    axis.legend(fontsize=8)
    rank = float(np.corrcoef(np.argsort(np.argsort([row[0] for row in rows])),
                             np.argsort(np.argsort([row[1] for row in rows])))[0, 1])  # fmt: skip
    text = (
        f"On the mixture `{PROBLEM}`, RMS of jump(z, t, s) - jump(jump(z, t, m), m, s) at random times, in units of "
        "the data's std (of maps to the end: of f at two points of one exact trajectory): "
        + ", ".join(f"{name} {100 * error:.1f} %" for error, _, name in rows)
        + f". The rank correlation with the error of the one-step map is {rank:.2f}; nothing forces one, since a map "
        "that leaves every z where it is composes too."
    )
    return Finding("measured", text, figure)
