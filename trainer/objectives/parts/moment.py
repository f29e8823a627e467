"""When in a run a step is, for what changes over the run."""

from __future__ import annotations

from typing import NamedTuple

GOLDEN = (5**0.5 - 1) / 2
"""The golden ratio, whose multiples modulo 1 fill [0, 1) evenly however far one goes."""


class Moment(NamedTuple):
    """Step `step`, counted from 1, of a run of `steps`."""

    step: int
    steps: int

    @property
    def share(self) -> float:
        """What of the run lies behind: 0 at the first step, below 1 at the last."""
        return (self.step - 1) / self.steps

    @property
    def spread(self) -> float:
        """In [0, 1), evenly over the steps: for a choice that all rows share, without a word from the device."""
        return self.step * GOLDEN % 1
