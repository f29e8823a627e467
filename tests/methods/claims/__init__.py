"""The post's claims, one file each: what is claimed, which trainings decide, what came out, and a plot of it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tests.methods.cells import Cell


@dataclass(frozen=True)
class Finding:
    """What the measurement says of a claim."""

    verdict: str
    """One word or two: holds, does not hold, holds in part."""
    text: str
    """The figures that say so, Markdown."""
    figure: Figure


class Claim(Protocol):
    """A module of this folder."""

    TITLE: str
    CLAIM: str
    """What the post or its sources say, in our words."""

    @staticmethod
    def cells() -> Sequence[Cell]:
        """The trainings that it takes."""

    @staticmethod
    def find() -> Finding:
        """Measure their checkpoints; all cells have been run."""


def claims() -> dict[str, Claim]:
    """By the name of the file, in the order of the names."""
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
    }  # type: ignore[misc]
