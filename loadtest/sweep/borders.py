"""Where the rates that meet a deadline end, judged from runs that each say yes or no: pure.

A run *meets* a deadline if the wanted share of what was sent (99 %) was answered well within it; what failed, was
refused or never came is late. Runs are votes: the border between the rates that meet a deadline and those that miss it
is where it contradicts the fewest of them, so that one stall does not decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.quantiles import rank

HOPELESS = 0.9
"""Share of idle requests that must be within a deadline for it to be searched: no load makes an idle server quicker."""

WIDTHS = (0.05, 0.1, 0.2, 0.4)
"""Relative widths that the border may have, each as likely: the scale of a logistic curve of log(rate)."""

LAPSE = 0.05
"""Share of runs that something else decides, a stall for instance."""

_MARGIN, _PLACES = 1.0, 400


@dataclass(frozen=True)
class Plan:
    """What a sweep looks for, and how long it may take."""

    steps: tuple[int, ...]
    deadlines: tuple[float, ...]
    """Seconds, rising: for each one, the highest rate at which the quantile `share` meets it."""
    budget: float
    """Seconds for the whole sweep, all that surrounds the runs included."""
    share: float = 0.99
    resolution: float = 0.25
    """A bracket is narrow enough when its ends differ by less than this, relatively."""
    repeats: int = 3
    """Runs at each end of a bracket."""
    samples: int = 300
    """Requests a run should send: with none of 300 late, the late share is below 1 % with 95 % confidence."""
    shortest: float = 5.0
    longest: float = 15.0
    """Seconds of a run, whatever `samples` asks for."""
    overhead: float = 2.0
    """Seconds that a run takes beside its own: warm-up, and the last replies."""

    def __post_init__(self) -> None:
        if not self.steps or len(set(self.steps)) != len(self.steps):
            raise ValueError(f"a sweep needs step counts, each once, not {list(self.steps)}")
        if not self.deadlines or list(self.deadlines) != sorted(set(self.deadlines)) or self.deadlines[0] <= 0:
            raise ValueError(f"deadlines are rising and above 0 s, not {list(self.deadlines)}")
        if not 0 < self.share < 1:
            raise ValueError(f"the share that meets a deadline is between 0 and 1, not {self.share}")


@dataclass(frozen=True)
class Point:
    """What one run says: counts over its window, latencies from the intended sending."""

    steps: int
    rate: float | None
    """Offered, per second; None: idle, one request at a time."""
    sent: int
    answered: int
    """Answered well."""
    within: tuple[int, ...]
    """Answered well within each of the plan's deadlines."""
    median: float
    """Seconds, of those answered well; nan if none was."""
    valid: bool = True
    """The client kept its schedule."""


@dataclass(frozen=True)
class Border:
    """Where the rates that meet a deadline end, per second. None: there is no such rate among those measured."""

    meets: float | None
    """The highest measured rate on the side that meets it."""
    misses: float | None
    """The lowest measured rate on the side that does not."""
    runs: int
    """The fewer of the runs at `meets` and at `misses`."""


def border(plan: Plan, deadline: int, points: Sequence[Point]) -> Border:
    """Where deadline number `deadline` of `plan` is no longer met, by the `points` of one step count.

    Of the borders that contradict the fewest runs the lowest is taken: what is in doubt is not promised.
    """
    votes = votes_at(plan, deadline, points)
    rates = sorted(votes)
    wrong = [
        sum(vote.count(False) for rate, vote in votes.items() if rate in rates[:first_missed])
        + sum(vote.count(True) for rate, vote in votes.items() if rate in rates[first_missed:])
        for first_missed in range(len(rates) + 1)
    ]
    cut = wrong.index(min(wrong))
    below, above = rates[:cut], rates[cut:]
    ends = [*below[-1:], *above[:1]]
    return Border(
        meets=below[-1] if below else None,
        misses=above[0] if above else None,
        runs=min((len(votes[rate]) for rate in ends), default=0),
    )


def spread(plan: Plan, deadline: int, points: Sequence[Point], tail: float = 0.05) -> tuple[float | None, float | None]:
    """An interval of the rate at which a deadline stops being met, with `tail` beyond each end: 90 % by default.

    None: open, nothing measured bounds it there.

    As a threshold is found from yes and no answers (a psychometric function; Watson and Pelli 1983): a run meets the
    deadline with a probability that falls along a logistic curve of log(rate), whose place and width are unknown, but
    for LAPSE of the runs, where chance decides. Its place has a flat prior.
    """
    answers = [(math.log(rate), vote) for rate, all_of in votes_at(plan, deadline, points).items() for vote in all_of]
    if not answers:
        return None, None
    rates = np.array([rate for rate, _ in answers])
    met = np.array([vote for _, vote in answers], dtype=bool)
    places = np.linspace(rates.min() - _MARGIN, rates.max() + _MARGIN, _PLACES)
    distance = (places[:, None, None] - rates) / np.array(WIDTHS)[:, None]
    chance = LAPSE / 2 + (1 - LAPSE) / (1 + np.exp(-np.clip(distance, -700, 700)))
    weights = np.where(met, chance, 1 - chance).prod(axis=2).sum(axis=1)
    below = np.cumsum(weights) / weights.sum()
    low, high = (float(places[min(int(np.searchsorted(below, edge)), _PLACES - 1)]) for edge in (tail, 1 - tail))
    return (
        rounded(math.exp(low)) if low > rates.min() else None,
        rounded(math.exp(high)) if high < rates.max() else None,
    )


def meets(plan: Plan, deadline: int, point: Point) -> bool:
    """Whether enough of what was sent was answered well within the deadline."""
    return point.sent > 0 and point.within[deadline] >= rank(point.sent, plan.share)


def reachable(plan: Plan, deadline: int, idle: Point) -> bool:
    """Whether a deadline can be met at all: most requests that came alone were within it."""
    return idle.within[deadline] >= HOPELESS * idle.sent


def votes_at(plan: Plan, deadline: int, points: Sequence[Point]) -> dict[float, list[bool]]:
    """Rate per second -> for each run at it whether it met the deadline. Runs whose client was late do not vote."""
    votes: dict[float, list[bool]] = {}
    for point in points:
        if point.rate is not None and point.valid and point.sent:
            votes.setdefault(point.rate, []).append(meets(plan, deadline, point))
    return votes


def rounded(rate: float) -> float:
    """To three digits, so that rates read well."""
    return float(f"{rate:.3g}")
