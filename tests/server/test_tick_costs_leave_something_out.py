"""What a tick costs is the time to the next one while there is work, and only its own when there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.runtime.bundle import open_bundle
from server.schedule.costs import Costs
from server.worker import ticks as module
from server.worker.ticks import Ticks

from .fake_worker import FakeEngine
from .loopback import flat_costs, job


class Timed(FakeEngine):
    """An evaluation of b rows takes alpha + beta * b seconds of its own clock."""

    def __init__(self, bundle: Path, alpha: float, beta: float) -> None:
        super().__init__(open_bundle(bundle))
        self.now = 0.0
        self.sizes: list[int] = []
        self._line = alpha, beta

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        self.sizes.append(len(z))
        self.now += self._line[0] + self._line[1] * len(z)
        return super().jump(z, t, s, label, guidance)

    def clock(self) -> float:
        return self.now


def test_time_between_ticks_is_counted_while_there_is_work(images: Path) -> None:
    engine = Timed(images, 1.0, 0.0)
    ticks = Ticks(engine, flat_costs(8), engine.clock)
    ticks.add(job(1, 2))
    assert ticks.run().costs == [], "not known before the next tick begins"
    engine.now += 0.25
    assert ticks.run().costs == [(1, 1.25, 0), (1, 1.0, 0)], "the second has no work behind it"
    engine.now += 100.0
    ticks.add(job(2))
    assert ticks.run().costs == [(1, 1.0, 0)], "nobody's wait between requests is a cost"


def test_cancelled_work_does_not_leave_a_tick_open(images: Path) -> None:
    engine = Timed(images, 1.0, 0.0)
    ticks = Ticks(engine, flat_costs(8), engine.clock)
    ticks.add(job(1, 4))
    ticks.run()
    ticks.cancel(1)
    engine.now += 100.0
    ticks.add(job(2))
    assert ticks.run().costs == [(1, 1.0, 0), (1, 1.0, 0)]


def test_failed_tick_tells_nothing_about_costs(images: Path) -> None:
    class Broken(Timed):
        def jump(self, *inputs, **named):  # type: ignore[no-untyped-def]
            super().jump(*inputs, **named)
            raise ArithmeticError("broken")

    engine = Broken(images, 1.0, 0.0)
    ticks = Ticks(engine, flat_costs(8), engine.clock)
    ticks.add(job(1))
    tick = ticks.run()
    assert (len(tick.failed), tick.costs) == (1, [])


def grown(engine: Timed, costs: Costs) -> list[int]:
    """The sizes of many ticks with more rows waiting than fit."""
    ticks = Ticks(engine, costs, engine.clock)
    for number in range(1, 600):
        if len(ticks) < 64:
            ticks.add(job(number, n=16))
        ticks.run()
    return engine.sizes


def test_ticks_stay_at_the_knee(images: Path) -> None:
    """On this device rows cost what they cost: two in a tick only make both wait."""
    costs = Costs(16)
    for rows in (1, 2, 4, 8, 16):
        costs.observe(rows, 0.001 * (0.01 + rows))
    sizes = grown(Timed(images, 0.00001, 0.001), costs)
    assert {size for number, size in enumerate(sizes, 1) if number % module.EXPLORING_TICKS} == {1}


def test_knee_that_was_measured_too_low_is_left(images: Path) -> None:
    costs = Costs(16)
    for _ in range(20):
        costs.observe(1, 0.001)
        for rows in (2, 4, 8, 16):
            costs.observe(rows, 0.004 * rows)  # measured while something else ran
    assert costs.knee == 1
    sizes = grown(Timed(images, 0.001, 0.00001), costs)
    assert sizes[0] == 1
    assert max(sizes) > 1, "larger ticks are tried now and then"
