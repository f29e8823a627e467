"""Counts and histograms of ours read like those of the library, bucket for bucket."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from server.observe.series import Count, Family, Spread

BOUNDS = (0.001, 0.0075, 1.0, 30.0)
VALUES = st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0.0, 100.0)), max_size=20)


@given(VALUES)
def test_histogram(values: list[float]) -> None:
    disable_created_metrics()
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    library = Histogram("a_seconds", "Of a thing.", ("kind",), buckets=BOUNDS, registry=theirs)
    family = Family("a_seconds", "Of a thing.", ("kind",), partial(Spread, BOUNDS))
    ours.register(family)
    for value in values:
        library.labels("x").observe(value)
        family.child("x").observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(st.integers(0, 1000), max_size=10))
def test_counter(amounts: list[int]) -> None:
    disable_created_metrics()
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    library, plain = (
        Counter("a_total", "Things.", ("kind", "of"), registry=theirs),
        Counter("b_total", "Others.", registry=theirs),
    )
    family, alone = Family("a_total", "Things.", ("kind", "of"), Count), Family("b_total", "Others.", (), Count)
    ours.register(family)
    ours.register(alone)
    for amount in amounts:
        library.labels('q"uote', "y").inc(amount)
        family.child('q"uote', "y").inc(amount)
        plain.inc(amount)
        alone.child().inc(amount)
    assert generate_latest(ours) == generate_latest(theirs)
