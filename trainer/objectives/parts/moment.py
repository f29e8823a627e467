"""When in a run a step is, for what changes over the run."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """Step `step`, counted from 1, of a run of `steps`."""

    step: int
    steps: int

    @property
    def share(self) -> float:
        """What of the run lies behind: 0 at the first step, below 1 at the last."""
        return (self.step - 1) / self.steps
