"""The series of /metrics that are read when somebody looks: build, backlog, workers, engines and costs, cache.

Lines come and go while a server runs (POST /admin/models), so these are made anew at each look.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from server.jobs import Priority
from server.version import version

if TYPE_CHECKING:
    from server.backend.roads import Road, Roads

_CLASSES: tuple[Priority, ...] = get_args(Priority)


class Sized(Protocol):
    """Something that says how much it holds: the response cache."""

    @property
    def bytes(self) -> int:
        """Bytes held now."""

    @property
    def max_bytes(self) -> int:
        """The bound."""

    @property
    def evictions(self) -> int:
        """Entries forgotten for want of room, since the start."""

    @property
    def evicted_bytes(self) -> int:
        """Their bytes."""

    def __len__(self) -> int:
        """Entries held now."""


class BuildInfo(Collector):
    """Which longjump this is."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The one family; it never changes."""
        info = _family("build_info", "Of longjump and Python, the versions; 1.", "version", "python")
        info.add_metric((version(), platform.python_version()), 1)
        yield info


class LineGauges(Collector):
    """What the lines of a server are like now: `Line.capacity`, and what serves."""

    def __init__(self, lines: Roads) -> None:
        self._lines = lines

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, read now."""
        # The load of a fleet is told by each of its API processes: under names of its own, since a sum would be wrong.
        fleet, whose = ("fleet_", " of the whole fleet") if self._lines.shared else ("", "")
        waiting = _family(f"{fleet}waiting", f"Requests in the queue{whose}.", "model")
        running = _family(f"{fleet}running", f"Requests with a worker{whose}.", "model")
        backlog = _family(
            f"{fleet}backlog_row_steps", f"Row-steps of requests waiting and running{whose}.", "model", "priority"
        )
        held = _family(f"{fleet}backlog_bytes", f"Bytes that requests waiting and running hold{whose}.", "model")
        agents = _family("fleet_agents", "Worker machines that are in the fleet.", "model")
        wait = _family("predicted_wait_seconds", "Until a request that comes now is begun.", "model", "priority")
        up = _family(f"{fleet}workers_up", f"Warm workers{whose}.", "model")
        wanted = _family("workers", "Workers that there should be.", "model")
        info = _family(
            "engine_info", "What is served, and on what; 1.", "model", "fingerprint", "engine", "precision", "kind"
        )
        cost = _family("tick_cost_seconds", "T(b): what a tick of so many rows takes.", "model", "rows")
        knee = _family("tick_limit_rows", "Rows that a tick takes at most: the knee of T(b).", "model")
        deadline = _family(
            "default_deadline_seconds", "What a request has that names no deadline.", "model", "priority"
        )
        bounds = {
            "requests": _family("queue_limit_requests", "Requests waiting and running, at most.", "model"),
            "row_steps": _family("queue_limit_row_steps", "Their row-steps, at most.", "model"),
            "bytes": _family("queue_limit_bytes", "Bytes that they hold, at most.", "model"),
        }
        for model, lines in self._by_name().items():
            now = [line.capacity() for line in lines]
            waiting.add_metric((model,), sum(one["waiting"] for one in now))
            running.add_metric((model,), sum(one["running"] for one in now))
            held.add_metric((model,), sum(one["bytes"] for one in now))
            for priority in _CLASSES:
                backlog.add_metric((model, priority), sum(one["row_steps"][priority] for one in now))
                # Of two versions side by side a newcomer gets the one that is free sooner.
                wait.add_metric((model, priority), min(one["predicted_wait_seconds"][priority] for one in now))
                deadline.add_metric((model, priority), lines[0].default_deadline(priority))
            for what, bound in bounds.items():
                bound.add_metric((model,), sum(one["bounds"][what] for one in now))
            up.add_metric((model,), sum(one["workers"] for one in now))
            if self._lines.shared:
                agents.add_metric((model,), sum(one["agents"] for one in now))
            else:
                wanted.add_metric((model,), sum(line.workers_wanted for line in lines))
            knee.add_metric((model,), max(one["rows_per_tick"] for one in now))
            for rows in {rows: None for one in now if one["measured"] for rows in one["tick_seconds"]}:
                cost.add_metric(
                    (model, rows), max(one["tick_seconds"].get(rows, 0.0) for one in now if one["measured"])
                )
            for line in lines:
                assert line.model is not None
                runs, kind = line.model.engine, line.model.manifest.kind
                info.add_metric((model, line.model.fingerprint, runs["name"], runs["precision"], kind), 1)
        yield agents if self._lines.shared else wanted
        yield from (waiting, running, backlog, held, wait, up, info, cost, knee, deadline, *bounds.values())
        ready = _family("worker_up", "1 while every bundle has a warm worker.")
        ready.add_metric((), self._lines.up)
        yield ready

    def _by_name(self) -> dict[str, list[Road]]:
        """The lines that have been ready, by the names of their models: two versions of one count together."""
        found: dict[str, list[Road]] = {}
        for line in self._lines.lines:
            if line.model is not None:
                found.setdefault(line.model.name, []).append(line)
        return found


class CacheGauges(Collector):
    """What the response cache holds now, and what it had to forget."""

    def __init__(self, cache: Sized) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families, read now."""
        for name, text, value in (
            ("cache_evictions_total", "Answers forgotten for want of room.", self._cache.evictions),
            ("cache_evicted_bytes_total", "Bytes of answers forgotten for want of room.", self._cache.evicted_bytes),
        ):
            counter = CounterMetricFamily(f"longjump_{name}", text)
            counter.add_metric((), value)
            yield counter
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
