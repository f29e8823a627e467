"""What a person sees of a running training: the progress on stderr and the numbers of the log."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from trainer.device import peak_memory
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
        maxinterval=10
        if terminal
        else 600,  # after that a thread of the library's draws once more, in a log the same line
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
    """Means of the terms over all rows of all processes since the last reading, and what they cost.

    Args:
        batch: samples of a step.
        peak: floating-point operations a second that this process's device could do at best; None: unknown.
    """

    def __init__(self, batch: int, processes: Processes, peak: float | None = None) -> None:
        self.batch, self.processes, self.peak = batch, processes, peak
        self.since = time.monotonic()
        self._start()

    def _start(self) -> None:
        self.steps = 0
        self.sums: dict[str, list[Tensor]] = {}
        self.counts: dict[str, int] = {}
        self.norms: list[Tensor] = []
        self.flops: float | None = 0.0

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take in the raw terms of one piece of a batch, [rows] each."""
        for name, rows in terms.items():
            self.sums.setdefault(name, []).append(rows.float().sum())
            self.counts[name] = self.counts.get(name, 0) + len(rows)

    def work(self, flops: int | None) -> None:
        """Take in the floating-point operations of one piece of a batch; None: unknown."""
        self.flops = None if flops is None or self.flops is None else self.flops + flops

    def step(self, norm: Tensor) -> None:
        """Take in the norm of a step's gradient, which ends the step."""
        self.norms.append(norm)
        self.steps += 1

    def read(self) -> dict[str, Any]:
        """Means by name, and of this process `memory` (most bytes so far) and `mfu`; starts anew.

        `mfu` is the share of the device's peak that the step's arithmetic makes use of, null where either is unknown.
        `per_second` counts the samples of all processes. Every process reads at the same steps.
        """
        now = time.monotonic()
        sums = torch.stack([torch.stack(values).sum() for values in self.sums.values()]).tolist()
        mine = {name: (value, self.counts[name]) for name, value in zip(self.sums, sums, strict=True)}
        total: dict[str, tuple[float, int]] = {}  # a process whose rows are all of one kind lacks the others' terms
        for part in self.processes.gather(mine):
            for name, (value, count) in part.items():
                value_before, count_before = total.get(name, (0.0, 0))
                total[name] = value_before + value, count_before + count
        seconds = now - self.since
        row = {
            **{name: value / count for name, (value, count) in total.items() if count},
            "gradient": torch.stack(self.norms).mean().item(),
            "per_second": round(self.steps * self.batch / seconds, 1),
            "memory": peak_memory(self.processes.device),
            "mfu": float(f"{self.flops / (seconds * self.peak):.3g}") if self.flops and self.peak else None,
        }
        self.since = now
        self._start()
        return row

    def pause(self, since: float) -> None:
        """Do not count the time from `since` (of time.monotonic) to now as training."""
        self.since += time.monotonic() - since
