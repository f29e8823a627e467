"""One look for all plots of the documents."""

from __future__ import annotations

import io
from typing import Any

COLOURS = ("#2f6db3", "#d9822b", "#3a8f5c", "#8b5fbf", "#c0485a", "#6b7280")


def panels(count: int = 1, width: float = 4.6, height: float = 3.4) -> tuple[Any, list[Any]]:
    """A figure and its axes, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for axis in axes:
        axis.set_prop_cycle(color=COLOURS)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def steps_axis(axis: Any, counts: Any) -> None:
    """A logarithmic axis of numbers of evaluations."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(counts), [str(count) for count in counts])
    axis.minorticks_off()
    axis.set_xlabel("network evaluations")


def png(figure: Any) -> bytes:
    """The same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
