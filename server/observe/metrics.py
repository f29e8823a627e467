"""What /metrics says, in a registry of its own (nothing of the Python process).

Events are methods here, named for what happened; who sees it happen calls them, in the API process's event loop. What
can be read at any time (backlog, workers, costs) is read when somebody looks: `server.observe.gauges`.

Every label takes few values: endpoints, step counts that a served model has, classes, codes, names of served bundles
and the words in this file. Nothing that a client made up becomes a label.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from server.jobs import CancelStage
from server.observe.gauges import BuildInfo, CacheGauges, LineGauges
from server.observe.series import Count, Family, Spread

if TYPE_CHECKING:
    from server.backend.roads import Roads
    from server.observe.account import Account
    from server.observe.gauges import Sized

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Buckets from 1 ms: a small model answers in a few."""

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)

UNSETTLED = "none"
"""The `steps` or `priority` of requests that were answered before theirs were settled."""

OK = 200

EXPIRED = 504
"""The status of a request that was admitted and whose deadline passed before it was begun."""

Outcome = Literal["hit", "joined", "miss", "bypass"]
_OUTCOMES: tuple[Outcome, ...] = ("hit", "joined", "miss", "bypass")
_CANCEL_STAGES: tuple[CancelStage, ...] = get_args(CancelStage)

REASONS = ("too-late", "queue-full", "deadline-passed", "not-ready", "rate-limit", "no-key", "not-an-admin")
"""Kinds of the problems that a request may be refused with (`server.http.problem`, `auth` and `gate`)."""


class Metrics:
    """All series of one server. It is the `Observer` of `server.http.desk`, and more."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(BuildInfo())
        self._lines: Roads | None = None
        counter, histogram = self._counter, self._histogram
        self._requests = counter(
            "requests_total", "Requests for pictures answered.", "endpoint", "priority", "steps", "code"
        )
        self._request_seconds = histogram(
            "request_seconds",
            "From a request's header to its last byte handed over, of those that got their picture, by source.",
            SECONDS,
            "endpoint",
            "priority",
            "steps",
            "source",
        )
        self._first_image = histogram(
            "first_image_seconds",
            "From a streaming request's header to its first picture; steps are those of the last.",
            SECONDS,
            "steps",
        )
        self._stage_seconds = histogram(
            "stage_seconds", "Time of a request in queue, network, decode and encode.", SECONDS, "stage", "steps"
        )
        self._tick_rows = histogram("tick_rows", "Rows of requests that shared one network evaluation.", ROWS, "model")
        self._tick_seconds = histogram(
            "tick_seconds", "One tick: noise, network evaluation, sampler step.", SECONDS, "model"
        )
        self._padding = counter("tick_padding_rows_total", "Rows evaluated only to fill up a batch.", "model")
        self._row_steps = counter("row_steps_total", "Network evaluations of one row that were run.", "model")
        self._refused = counter("rejected_total", "Requests refused, by reason.", "reason")
        self._cancelled = counter("cancelled_total", "Work dropped because its client left; where it was.", "stage")
        missed = counter(
            "deadline_missed_total",
            "Admitted requests not answered in time: expired (dropped unrun) or late.",
            "outcome",
        )
        self._reduced = counter(
            "steps_reduced_total", "Requests with steps=auto that got others than the best; what they got.", "steps"
        )
        self._looked_up = counter("cache_requests_total", "What the response cache had, by outcome.", "outcome")
        self._hit_bytes = counter("cache_hit_bytes_total", "Bytes answered from the response cache.").child()
        self._restarts = counter("worker_restarts_total", "Workers replaced after death.", "model")
        # So that a rate can be taken from the first event on, and a dashboard shows 0 instead of nothing.
        for outcome in _OUTCOMES:
            self._looked_up.child(outcome)
        for stage in _CANCEL_STAGES:
            self._cancelled.child(stage)
        for reason in REASONS:
            self._refused.child(reason)
        self._late, self._expired = missed.child("late"), missed.child("expired")

    def watch(self, lines: Roads) -> None:
        """Show what `lines` are like whenever somebody looks: backlog, workers, engines and their costs."""
        self._lines = lines
        self.registry.register(LineGauges(lines))

    def watch_cache(self, cache: Sized) -> None:
        """Show the size of the response cache whenever somebody looks."""
        self.registry.register(CacheGauges(cache))

    def add(self, *collectors: Collector) -> None:
        """Show what others count: see `server.observe.fleet`."""
        for collector in collectors:
            self.registry.register(collector)

    def ticked(self, model: str, rows: int, seconds: float, padding: int = 0) -> None:
        """A worker of a bundle ran a tick of `rows` rows of requests and `padding` rows of nobody, in `seconds`."""
        self._tick_rows.child(model).observe(rows)
        self._tick_seconds.child(model).observe(seconds)
        self._row_steps.child(model).inc(rows)
        if padding:
            self._padding.child(model).inc(padding)

    def answered(self, account: Account, seconds: float) -> None:
        """A request for pictures was answered, however, `seconds` after it arrived."""
        steps = UNSETTLED if account.steps is None else str(account.steps)
        priority = account.priority or UNSETTLED
        self._requests.child(account.endpoint, priority, steps, str(account.status)).inc()
        if account.status == OK:
            times = self._request_seconds.child(account.endpoint, priority, steps, account.source or "run")
            times.observe(seconds)
            if account.deadline is not None and seconds > account.deadline:
                self._late.inc()
            if account.first_image is not None:
                self._first_image.child(steps).observe(account.first_image)
            if account.stages is not None:
                for name, value in vars(account.stages).items():
                    self._stage_seconds.child(name, steps).observe(value)
        elif account.status == EXPIRED:
            self._expired.inc()

    def looked_up(self, outcome: Outcome, size: int) -> None:
        """The response cache was asked (bypass: it was not). `size` is of a hit, in bytes."""
        self._looked_up.child(outcome).inc()
        if outcome == "hit":
            self._hit_bytes.inc(size)

    def refused(self, reason: str) -> None:
        """A request was refused (401, 403, 429, 503, 504); `reason` is one of a few words of ours."""
        self._refused.child(reason).inc()

    def cancelled(self, stage: CancelStage) -> None:
        """The last client of some work left, and the work was dropped."""
        self._cancelled.child(stage).inc()

    def reduced(self, best: int, steps: int) -> None:
        """`steps=auto` took other steps than the best."""
        self._reduced.child(str(steps)).inc()

    def restarted(self, model: str) -> None:
        """A worker of the bundle called `model` died and is being replaced."""
        self._restarts.child(model).inc()

    def text(self) -> bytes:
        """The page, in Prometheus's text format."""
        self._begin_models()
        return generate_latest(self.registry)

    def _begin_models(self) -> None:
        """Show 0 of what has not happened yet to a model."""
        if self._lines is None:
            return
        workers = (self._tick_rows, self._tick_seconds, self._padding, self._row_steps, self._restarts)
        for line in self._lines.lines:
            if line.model is None:
                continue
            for family in () if self._lines.shared else workers:
                family.child(line.model.name)
            for steps in line.model.manifest.steps:
                self._reduced.child(str(steps))

    def _counter(self, name: str, text: str, *labels: str) -> Family[Count]:
        family = Family(f"longjump_{name}", text, labels, Count)
        self.registry.register(family)
        return family

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family[Spread]:
        family = Family(f"longjump_{name}", text, labels, partial(Spread, buckets))
        self.registry.register(family)
        return family
