"""What a person sees of a running training: the progress on stderr and the numbers of the log."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

LINE = "{n_fmt}/{total_fmt} steps ({percentage:.0f}%), {rate_fmt}, {remaining} left{postfix}"


def progress_bar(done: int, steps: int) -> tqdm[int]:
    """An iterator over the steps after `done` up to `steps` that shows itself on stderr.

    A terminal gets a bar; a log file gets a line every half minute, since a bar that redraws itself is one endless line
    there.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        range(done + 1, steps + 1),
        initial=done,
        total=steps,
        unit="step",
        smoothing=0.05,
        mininterval=0.5 if terminal else 30,
        dynamic_ncols=terminal,
        file=sys.stderr if terminal else Lines(),
        bar_format=None if terminal else LINE,
    )


class Lines:
    """stderr for a bar that thinks it redraws itself: each drawing becomes a line."""

    def write(self, text: str) -> None:
        """Write what a bar draws, without the carriage return before it and the blanks after it."""
        if text := text.strip():
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        """As a file's."""
        sys.stderr.flush()


class Meter:
    """Means of the terms since the last reading, and samples per second."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.rows: list[dict[str, Tensor]] = []
        self.since = time.monotonic()

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take in one step's scalars."""
        self.rows.append(terms)

    def read(self) -> dict[str, Any]:
        """Means by name, and `per_second`; starts anew."""
        now = time.monotonic()
        means = {name: torch.stack([row[name].float() for row in self.rows]).mean().item() for name in self.rows[-1]}
        speed = len(self.rows) * self.batch / (now - self.since)
        self.rows, self.since = [], now
        return {**means, "per_second": round(speed, 1)}

    def pause(self, since: float) -> None:
        """Do not count the time from `since` (of time.monotonic) to now as training."""
        self.since += time.monotonic() - since
