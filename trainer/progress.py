"""What a person sees of a running training: the progress on stderr and the numbers of the log."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from trainer.processes import Processes

LINE = "{n_fmt}/{total_fmt} steps ({percentage:.0f}%), {rate_fmt}, {remaining} left{postfix}"


def progress_bar(done: int, steps: int, shown: bool = True) -> tqdm[int]:
    """An iterator over the steps after `done` up to `steps` that shows itself on stderr, unless not `shown`.

    A terminal gets a bar; a log file gets a line every half minute, since a bar that redraws itself is one endless line
    there.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        range(done + 1, steps + 1),
        initial=done,
        total=steps,
        unit="step",
        disable=not shown,
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
    """Means of the terms over all rows of all processes since the last reading, and samples per second."""

    def __init__(self, batch: int, processes: Processes) -> None:
        self.batch, self.processes = batch, processes
        self.since = time.monotonic()
        self._start()

    def _start(self) -> None:
        self.steps = 0
        self.sums: dict[str, list[Tensor]] = {}
        self.counts: dict[str, int] = {}
        self.norms: list[Tensor] = []

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take in the raw terms of one piece of a batch, [rows] each."""
        for name, rows in terms.items():
            self.sums.setdefault(name, []).append(rows.float().sum())
            self.counts[name] = self.counts.get(name, 0) + len(rows)

    def step(self, norm: Tensor) -> None:
        """Take in the norm of a step's gradient, which ends the step."""
        self.norms.append(norm)
        self.steps += 1

    def read(self) -> dict[str, Any]:
        """Means by name, and `per_second`; starts anew. Every process reads at the same steps."""
        now = time.monotonic()
        sums = torch.stack([torch.stack(values).sum() for values in self.sums.values()])
        counts = torch.tensor(list(self.counts.values()), dtype=sums.dtype, device=sums.device)
        means = self.processes.sum(sums) / self.processes.sum(counts)
        speed = self.steps * self.batch / (now - self.since)
        row = {
            **dict(zip(self.sums, means.tolist(), strict=True)),
            "gradient": torch.stack(self.norms).mean().item(),
            "per_second": round(speed, 1),
        }
        self.since = now
        self._start()
        return row

    def pause(self, since: float) -> None:
        """Do not count the time from `since` (of time.monotonic) to now as training."""
        self.since += time.monotonic() - since
