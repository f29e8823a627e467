"""The series of /metrics that only processes of a fleet have: how Redis is, what a worker did with the fleet's jobs.

They are read from what the fleet's parts count themselves, whenever somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.observe.series import Spread, histogram

ROUND_TRIP_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Buckets of `longjump_redis_seconds`."""


class Reached(Protocol):
    """A Redis (`server.fleet.connection.Redis`)."""

    @property
    def away(self) -> bool:
        """Whether it could not be reached when this was last tried."""


class Holding(Protocol):
    """What an agent did with the jobs of one engine (`server.fleet.hold.Hold`)."""

    @property
    def name(self) -> str:
        """Of the bundle."""

    @property
    def entries(self) -> Sized:
        """The jobs that are here."""

    @property
    def reclaimed(self) -> int:
        """Taken over from agents that gave no sign of life."""

    @property
    def ended(self) -> Mapping[str, int]:
        """How jobs ended here: done, failed, expired, cancelled."""

    @property
    def buried(self) -> Mapping[str, int]:
        """Given up for good, by the reason: deaths, unreadable."""


class Agency(Protocol):
    """An agent (`server.fleet.agent.Agent`)."""

    @property
    def holds(self) -> Sequence[Holding]:
        """One for each engine that is in the fleet."""

    @property
    def overtaken(self) -> int:
        """Ends that it told of jobs which had ended already: another agent was first."""


class RedisSeries(Collector):
    """Whether Redis is there, and how long it takes."""

    def __init__(self, redis: Reached, seconds: Spread) -> None:
        """`seconds`: of round trips that wait for nothing."""
        self._redis = redis
        self._seconds = seconds

    def collect(self) -> Iterator[Metric]:
        """The families, read now."""
        up = GaugeMetricFamily("longjump_redis_up", "1 while Redis answers.")
        up.add_metric((), not self._redis.away)
        yield up
        yield histogram(
            "longjump_redis_seconds", "A round trip to Redis that waits for nothing.", (), {(): self._seconds}
        )


class AgentSeries(Collector):
    """What became of the jobs that a worker took."""

    def __init__(self, agent: Agency) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """The families, read now."""
        entries = GaugeMetricFamily("longjump_entries", "Jobs of the fleet that this worker has.", labels=("model",))
        reclaimed = _counter("reclaimed", "Jobs taken over from workers that gave no sign of life.", "model")
        ended = _counter("entries_ended", "Jobs of the fleet that ended here.", "model", "outcome")
        buried = _counter("dead_letters", "Jobs given up for good, by reason.", "model", "reason")
        for hold in self._agent.holds:
            entries.add_metric((hold.name,), len(hold.entries))
            reclaimed.add_metric((hold.name,), hold.reclaimed)
            for outcome, count in hold.ended.items():
                ended.add_metric((hold.name, outcome), count)
            for reason, count in hold.buried.items():
                buried.add_metric((hold.name, reason), count)
        overtaken = _counter("entries_overtaken", "Jobs whose end was told here when another worker had told it.")
        overtaken.add_metric((), self._agent.overtaken)
        yield from (entries, reclaimed, ended, buried, overtaken)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"longjump_{name}_total", text, labels=labels)
