"""What one process counts of errands, and the series of /metrics that show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.errands.errand import OVER, State

Message = Literal["delivered", "retried", "failed"]


class Tally:
    """Counts."""

    def __init__(self) -> None:
        self.running = 0
        """Errands that this process runs now."""
        self.ended: dict[State, int] = dict.fromkeys(OVER, 0)
        """Ends that this process wrote down."""
        self.messages: dict[Message, int] = {"delivered": 0, "retried": 0, "failed": 0}


class JobSeries(Collector):
    """Shows a tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """The families, read now."""
        running = GaugeMetricFamily("longjump_jobs_running", "Jobs (POST /jobs) that this process runs now.")
        running.add_metric((), self._tally.running)
        yield running
        ended = CounterMetricFamily("longjump_jobs_ended", "Jobs that ended here.", labels=("outcome",))
        for state, count in self._tally.ended.items():
            ended.add_metric((state,), count)
        yield ended
        messages = CounterMetricFamily("longjump_webhooks", "Messages to webhooks.", labels=("outcome",))
        for outcome, count in self._tally.messages.items():
            messages.add_metric((outcome,), count)
        yield messages
