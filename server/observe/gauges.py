"""The series of /metrics that are read when somebody looks: backlog, workers, engines and costs, cache.

Lines come and go while a server runs (POST /admin/models), so these are made anew at each look.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from server.backend.lines import Lines


class Sized(Protocol):
    """Something that says how much it holds: the response cache."""

    @property
    def bytes(self) -> int:
        """Bytes held now."""

    @property
    def max_bytes(self) -> int:
        """The bound."""

    def __len__(self) -> int:
        """Entries held now."""


class LineGauges(Collector):
    """What the lines of a server are like now: `Line.capacity`, and what serves."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, read now."""
        waiting = _family("waiting", "Requests in the queue.", "model")
        running = _family("running", "Requests with a worker.", "model")
        backlog = _family("backlog_row_steps", "Row-steps of requests waiting and running.", "model", "priority")
        held = _family("backlog_bytes", "Bytes that requests waiting and running hold.", "model")
        wait = _family("predicted_wait_seconds", "Until a request that comes now is begun.", "model", "priority")
        up = _family("workers_up", "Warm workers.", "model")
        wanted = _family("workers", "Workers that there should be.", "model")
        info = _family("engine_info", "What is served, and on what; 1.", "model", "fingerprint", "precision", "kind")
        cost = _family("tick_cost_seconds", "T(b): what a tick of so many rows takes.", "model", "rows")
        knee = _family("tick_limit_rows", "Rows that a tick takes at most: the knee of T(b).", "model")
        for line in self._lines.lines:
            if line.model is None:
                continue
            model, now = line.model.name, line.capacity()
            waiting.add_metric((model,), now["waiting"])
            running.add_metric((model,), now["running"])
            held.add_metric((model,), now["bytes"])
            for priority, row_steps in now["row_steps"].items():
                backlog.add_metric((model, priority), row_steps)
                wait.add_metric((model, priority), now["predicted_wait_seconds"][priority])
            up.add_metric((model,), now["workers"])
            wanted.add_metric((model,), len(line.supervisors))
            info.add_metric((model, line.model.fingerprint, "fp32", line.model.manifest.kind), 1)
            knee.add_metric((model,), now["rows_per_tick"])
            if now["measured"]:
                for rows, seconds in now["tick_seconds"].items():
                    cost.add_metric((model, rows), seconds)
        yield from (waiting, running, backlog, held, wait, up, wanted, info, cost, knee)
        ready = _family("worker_up", "1 while every bundle has a warm worker.")
        ready.add_metric((), self._lines.up)
        yield ready


class CacheGauges(Collector):
    """What the response cache holds now."""

    def __init__(self, cache: Sized) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, read now."""
        for name, text, value in (
            ("cache_bytes", "Bytes of answers in the response cache.", self._cache.bytes),
            ("cache_limit_bytes", "Bytes that the response cache holds at most.", self._cache.max_bytes),
            ("cache_entries", "Answers in the response cache.", len(self._cache)),
        ):
            family = _family(name, text)
            family.add_metric((), value)
            yield family


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"longjump_{name}", text, labels=labels)
