"""Counts and histograms that one thread adds to, for Prometheus to read.

The library's own (`prometheus_client.Counter`, `Histogram`) take a lock for every bucket; a request touches about
twenty, and then costs more time than anything else in its way. What is shown is still written by the library.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Add to it."""
        self.value += amount


class Spread:
    """How many values fell up to each of some bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` rise."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone; the last one has no bound."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add a value; one that equals a bound counts under it, as Prometheus has it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


Child = TypeVar("Child", bound=Count | Spread)


class Family(Collector, Generic[Child]):
    """The series of one name, by the values of its labels; one without labels has its only series from the start."""

    def __init__(self, name: str, text: str, labels: Sequence[str], make: Callable[[], Child]) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._make = make
        self._children: dict[tuple[str, ...], Child] = {}
        if not labels:
            self.child()

    def child(self, *labels: str) -> Child:
        """The series with these values of the labels, made when it is first asked for."""
        found = self._children.get(labels)
        if found is None:
            found = self._children[labels] = self._make()
        return found

    def collect(self) -> Iterator[Metric]:
        """The family as it is now."""
        if isinstance(self._make(), Count):
            counter = CounterMetricFamily(self._name, self._text, labels=self._labels)
            for labels, child in self._children.items():
                assert isinstance(child, Count)
                counter.add_metric(labels, child.value)
            yield counter
            return
        spreads = {labels: child for labels, child in self._children.items() if isinstance(child, Spread)}
        yield histogram(self._name, self._text, self._labels, spreads)


def histogram(
    name: str, text: str, labels: Sequence[str], spreads: Mapping[tuple[str, ...], Spread]
) -> HistogramMetricFamily:
    """Spreads, by the values of the labels, as the library writes them."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, spread in spreads.items():
        ends = (*map(floatToGoString, spread.bounds), "+Inf")
        family.add_metric(values, list(zip(ends, accumulate(spread.counts))), spread.total)
    return family
