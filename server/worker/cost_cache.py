"""What ticks cost, known before the first request: read from the last time this engine ran here, or measured briefly.

One small JSON file for each engine fingerprint and thread count. A cache: a file that cannot be read, is foreign or
cannot be written is as good as none, and nobody is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

from export.runtime.engines import Engine
from server.schedule.costs import Costs

MEASURE_SECONDS = 0.4
"""Roughly what measuring may add to a start, when no file spares it."""

REPEATS = 3
"""Ticks of each size that are measured; the first also pays for the memory of a new size."""

ENVIRONMENT = "LONGJUMP_COST_CACHE"
"""A folder for the files in place of the default; empty: keep none."""


def default_folder() -> Path | None:
    """Where the files lie: $LONGJUMP_COST_CACHE, else longjump/costs under $XDG_CACHE_HOME or ~/.cache.

    None where the variable is empty or the user has no home.
    """
    chosen = os.environ.get(ENVIRONMENT)
    if chosen is not None:
        return Path(chosen) if chosen else None
    cache = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):
        return (Path(cache) if cache else Path.home() / ".cache") / "longjump" / "costs"
    return None


class CostCache:
    """The file of one engine."""

    def __init__(self, folder: Path | None, fingerprint: str, threads: int) -> None:
        """`folder` None: nothing is kept."""
        self._file = None if folder is None else folder / f"{fingerprint}-{threads}.json"

    def load(self, max_rows: int) -> Costs | None:
        """The costs of last time, for ticks of up to `max_rows` rows; None if nothing usable is kept."""
        if self._file is None:
            return None
        try:
            costs = Costs.from_dict(json.loads(self._file.read_bytes()), max_rows)
        except (OSError, ValueError, RecursionError):
            return None
        return costs if costs.known else None

    def save(self, costs: Costs) -> None:
        """Write the costs as a whole file or not at all."""
        if self._file is None or not costs.known:
            return
        text = json.dumps(costs.to_dict())
        temporary = None
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, suffix=".tmp", delete=False) as out:
                temporary = Path(out.name)
                out.write(text)
            temporary.replace(self._file)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink()


def measure(engine: Engine, max_rows: int, seconds: float = MEASURE_SECONDS) -> Costs:
    """Measure T(b) for b = 1, 2, 4, ... up to `max_rows` on rows of zeros, for about `seconds` at most.

    b = 1 is always measured; a size that the time left is not expected to allow is left to service.
    """
    costs = Costs(max_rows)
    end = time.monotonic() + seconds
    rows = 1
    while rows <= max_rows:
        for _ in range(REPEATS):
            costs.observe(rows, engine.cost(rows))
            if time.monotonic() > end:
                return costs
        rows = max_rows if rows < max_rows < 2 * rows else 2 * rows
        if time.monotonic() + costs.tick_seconds(rows) > end:
            return costs
    return costs
