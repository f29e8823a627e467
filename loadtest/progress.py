"""How a run goes, on a line of a terminal, or a line every few seconds in a log."""

from __future__ import annotations

import shutil
import time
from types import TracebackType
from typing import Self, TextIO

from loadtest.measure import Progress
from loadtest.numbers import milliseconds, number
from loadtest.quantiles import quantile
from loadtest.records import status_name

EVERY = 5.0
"""Seconds between lines where there is no terminal."""


class ProgressLine:
    """Shows progress on `stream`. A context manager: leaving it clears the line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._last = float("-inf")
        self._phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def show(self, progress: Progress) -> None:
        """Show it now, or leave it out because the last one is not long ago."""
        now = time.monotonic()
        if self._terminal:
            width = shutil.get_terminal_size().columns
            print(f"\r\x1b[K{describe(progress)[: width - 1]}", end="", file=self._stream, flush=True)
        elif progress.phase != self._phase or now - self._last >= EVERY:
            print(describe(progress), file=self._stream, flush=True)
            self._last, self._phase = now, progress.phase


def describe(progress: Progress) -> str:
    """A progress as one line."""
    if progress.phase == "idle":
        return "asking the idle server ..."
    left = "" if progress.left is None else f"/{max(0.0, progress.elapsed + progress.left):.0f}"
    parts = [f"{progress.phase:>12} {progress.elapsed:3.0f}{left} s"]
    if progress.phase != "last replies":
        parts.append(f"sent {number(progress.sent_rate):>5}/s")
    parts.append(f"good {number(progress.ok_rate):>5}/s")
    # What is wrong comes before what a narrow terminal may cut off.
    parts += [f"{status_name(code)}: {many:,}" for code, many in sorted(progress.failed.items()) if code]
    parts.append(f"in flight {progress.in_flight:,}")
    if len(progress.recent) > 1:
        p50, p99 = (milliseconds(quantile(progress.recent, q)) for q in (0.5, 0.99))
        parts.append(f"p50 {p50}, p99 {p99}")
    if progress.late > 0.001:
        parts.append(f"client late by {milliseconds(progress.late)}")
    return "  ".join(parts)
