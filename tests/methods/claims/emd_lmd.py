"""Align Your Flow's two objectives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.methods.cells import Cell
from tests.methods.claims import Finding
from tests.methods.plots import panels
from tests.methods.problems import MIXTURES, PLANE

TITLE = "Align Your Flow: the Eulerian objective against the Lagrangian one"
CLAIM = (
    "The Eulerian objective (EMD) gives the better map; the Lagrangian one (LMD) is simply worse (6.70 against 1.70 "
    "FID in the paper's ablation on ImageNet 512), and no stabiliser as the post has it."
)


def cells() -> Sequence[Cell]:
    return [Cell(method, problem.name) for problem in (*MIXTURES, *PLANE) for method in ("ayf-emd", "ayf-lmd")]


def find() -> Finding:
    names = [problem.name for problem in (*MIXTURES, *PLANE)]
    errors = {
        method: [(Cell(method, name).result() or {})["steps"]["1"]["map"] for name in names]
        for method in ("ayf-emd", "ayf-lmd")
    }
    figure, (axis,) = panels(1, width=6)
    place = np.arange(len(names))
    for shift, (method, found) in zip((-0.2, 0.2), errors.items(), strict=True):
        axis.bar(place + shift, found, 0.4, label=method)
    axis.set_xticks(place, [name.replace(" ", "\n") for name in names])
    axis.set_ylabel("RMS of the one-step map / std")
    axis.legend(fontsize=8)
    better = sum(emd < lmd for emd, lmd in zip(errors["ayf-emd"], errors["ayf-lmd"], strict=True))
    text = "One-step map against the exact one, EMD and LMD: " + ", ".join(
        f"{name} {100 * emd:.1f} % and {100 * lmd:.1f} %"
        for name, emd, lmd in zip(names, errors["ayf-emd"], errors["ayf-lmd"], strict=True)
    )
    verdict = (
        "holds" if better == len(names) else "does not hold here" if better <= len(names) // 2 else "holds in part"
    )
    return Finding(verdict, f"{text}. EMD is the better on {better} of {len(names)}.", figure)
