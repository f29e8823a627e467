"""What /metrics says, in a registry of its own (nothing of the Python process unless asked for)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from server.jobs import Stages

if TYPE_CHECKING:
    from server.backend.lines import Lines

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Buckets from 1 ms: a small model answers in a few."""

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)

REFUSED_STEPS = "none"
"""The `steps` of requests refused before theirs were settled; the label stays bounded."""


class Metrics:
    """All series of one server."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "longjump_requests_total", "Requests to /generate answered.", ["steps", "code"], registry=registry
        )
        self._request_seconds = Histogram(
            "longjump_request_seconds",
            "From a request's header to its last byte handed over.",
            ["steps"],
            buckets=SECONDS,
            registry=registry,
        )
        stage = Histogram(
            "longjump_stage_seconds",
            "Time of an answered request in queue, network, decode and encode.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = {name: stage.labels(name) for name in Stages.__dataclass_fields__}
        self._tick_rows = Histogram(
            "longjump_tick_rows", "Rows that shared one network evaluation.", buckets=ROWS, registry=registry
        )
        self._tick_seconds = Histogram(
            "longjump_tick_seconds",
            "One tick: noise, network evaluation, sampler step.",
            buckets=SECONDS,
            registry=registry,
        )
        # `labels` of the library costs more than the count itself; the pairs are few.
        self._counted: dict[tuple[str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}

    def watch(self, lines: Lines) -> None:
        """Add the gauges, which are read when somebody looks."""
        queues = [line.queue for line in lines.lines]
        for name, text, read in (
            ("longjump_waiting", "Requests in the queues.", lambda: sum(queue.waiting for queue in queues)),
            ("longjump_running", "Requests with a worker.", lambda: sum(queue.running for queue in queues)),
            (
                "longjump_row_steps",
                "Row-steps of all requests waiting and running.",
                lambda: sum(queue.row_steps for queue in queues),
            ),
            ("longjump_worker_up", "1 while every bundle has a warm worker.", lambda: lines.up),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)
        restarts = Counter("longjump_worker_restarts_total", "Workers replaced after death.", registry=self.registry)
        for line in lines.lines:
            line.supervisor.on_restart = restarts.inc

    def ticked(self, rows: int, seconds: float) -> None:
        """A worker ran a tick."""
        self._tick_rows.observe(rows)
        self._tick_seconds.observe(seconds)

    def answered(self, steps: int | None, code: int, seconds: float, stages: Stages | None) -> None:
        """A request to /generate was answered; `steps` None: refused before they were settled."""
        text = REFUSED_STEPS if steps is None else str(steps)
        counter = self._counted.get((text, code))
        if counter is None:
            counter = self._counted[text, code] = self._requests.labels(text, code)
        counter.inc()
        if stages is None:
            return
        histogram = self._timed.get(text)
        if histogram is None:
            histogram = self._timed[text] = self._request_seconds.labels(text)
        histogram.observe(seconds)
        for name, value in vars(stages).items():
            self._stages[name].observe(value)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)
