"""A p99 must be the same request in the table, the report, a comparison and a verdict."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest import counts, histogram
from loadtest.intervals import quantile_figure
from loadtest.quantiles import quantile, rank
from loadtest.sweep.borders import Plan, Point, meets

SIZES = (2, 60, 100, 122, 126, 160, 299, 300, 1000)


def times(count: int) -> np.ndarray:
    """Far enough apart for each to be told from its neighbours in a histogram."""
    return 0.01 * 1.005 ** np.arange(count)


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("count", SIZES)
def test_all_name_the_same_value(count: int, q: float) -> None:
    values = times(count)
    texts = [histogram.encode(histogram.recorded(part)) for part in np.array_split(values, 10)]
    of_all = histogram.at(histogram.recorded(values), q)
    assert of_all == pytest.approx(quantile(values, q), rel=0.0011)
    assert counts.quantile(texts, count, q) == of_all
    figure = quantile_figure(texts, q)
    assert (figure is not None) == (count * (1 - q) >= 10 - 1e-9)
    assert figure is None or figure.value == of_all


@pytest.mark.parametrize("count", SIZES)
def test_verdict_goes_by_the_p99_that_is_shown(count: int) -> None:
    """A run whose p99 is the deadline meets it; one request more beyond it, and it does not."""
    plan = Plan((1,), (quantile(times(count), 0.99),), 60)
    within = int((times(count) <= plan.deadlines[0]).sum())
    met, missed = (Point(1, 10.0, count, count, (one,), 0.01) for one in (within, within - 1))
    assert meets(plan, 0, met)
    assert not meets(plan, 0, missed)


def test_rank_is_not_moved_by_floats() -> None:
    assert rank(300, 0.99) == 297
    assert rank(10_000, 0.999) == 9990
    assert [rank(1, q) for q in (0.001, 0.5, 1.0)] == [1, 1, 1]
    assert [rank(160, q) for q in (-0.1, 0.99, 1.2)] == [1, 159, 160], "beyond the ends: the first, the last"
