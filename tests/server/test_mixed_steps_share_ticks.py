"""Rows of different step counts share network evaluations, each at its own t and s, and no row is lost or repeated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.runtime.bundle import open_bundle
from export.runtime.engines import Engine, open_engine
from export.runtime.sampler import sample
from server.worker.ticks import Ticks

from .loopback import flat_costs, job


class Recording:
    """An engine that notes the times of every call; `poison` is a label that it cannot bear."""

    def __init__(self, engine: Engine, poison: int | None = None) -> None:
        self._engine = engine
        self._poison = poison
        self.calls: list[list[tuple[float, float]]] = []
        self.manifest = engine.manifest
        self.fingerprint = engine.fingerprint
        self.warm = engine.warm
        self.decode = engine.decode

    def jump(
        self,
        z: NDArray[np.float32],
        t: NDArray[np.float32],
        s: NDArray[np.float32],
        label: NDArray[np.int64],
        guidance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        self.calls.append(list(zip(t.tolist(), s.tolist(), strict=True)))
        if self._poison in label:
            raise ArithmeticError("poison")
        return self._engine.jump(z, t, s, label, guidance)


@pytest.fixture
def engine(images: Path) -> Recording:
    return Recording(open_engine(open_bundle(images), 1))


def test_mixed_steps_share_ticks(engine: Recording) -> None:
    ticks = Ticks(engine, flat_costs(8))
    jobs = {one.id: one for one in (job(1, 1), job(2, 2), job(3, 4, n=2), job(4, 1, label=None))}
    for one in jobs.values():
        ticks.add(one)
    ran = [ticks.run() for _ in range(4)]
    assert engine.calls == [
        [(1, 0), (1, 0), (1, 0.75), (1, 0.75), (1, 0)],
        [(0.5, 0), (0.75, 0.5), (0.75, 0.5)],
        [(0.5, 0.25), (0.5, 0.25)],
        [(0.25, 0), (0.25, 0)],
    ]
    assert not ticks
    assert [sorted(done.job.id for done in tick.finished) for tick in ran] == [[1, 4], [2], [], [3]]
    for tick in ran:
        for done in tick.finished:
            one = done.job
            alone = sample(
                engine.jump,
                engine.manifest.z_shape,
                engine.manifest.grid(one.steps),
                [one.seed + i for i in range(one.n)],
                done.labels,
            )
            np.testing.assert_array_equal(done.z, alone)


def test_request_larger_than_a_tick_is_finished(engine: Recording) -> None:
    ticks = Ticks(engine, flat_costs(3))
    ticks.add(job(1, 2, n=7))
    finished = []
    while ticks:
        tick = ticks.run()
        assert tick.rows <= 3
        finished += tick.finished
    assert [done.z.shape for done in finished] == [(7, 3, 8, 8)]
    assert sum(map(len, engine.calls)) == 14


def test_cancelled_rows_are_in_no_later_tick(engine: Recording) -> None:
    ticks = Ticks(engine, flat_costs(8))
    ticks.add(job(1, 4, n=3))
    ticks.add(job(2, 4))
    ticks.run()
    ticks.cancel(1)
    ticks.cancel(99)
    assert [ticks.run().rows for _ in range(3)] == [1, 1, 1]
    assert not ticks


def test_poison_row_fails_alone(images: Path) -> None:
    ticks = Ticks(Recording(open_engine(open_bundle(images), 1), poison=2), flat_costs(8))
    for one in (job(1, 1), job(2, 1, n=2, label=2), job(3, 2)):
        ticks.add(one)
    tick = ticks.run()
    assert [done.job.id for done in tick.finished] == [1]
    assert [(one.id, str(error)) for one, error in tick.failed] == [(2, "poison")]
    assert [done.job.id for done in ticks.run().finished] == [3]
    assert not ticks


def test_a_step_does_not_see_its_neighbours(engine: Recording) -> None:
    """Control: a jump that mixes rows makes the comparison above fail."""

    class Mixing(Recording):
        def jump(self, z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
            return super().jump(z, t, s, label, guidance) + z.mean(axis=0) * 1e-3

    mixing = Mixing(engine)
    ticks = Ticks(mixing, flat_costs(8))
    ticks.add(job(1, 1))
    ticks.add(job(2, 1))
    first = ticks.run().finished[0]
    alone = sample(mixing.jump, engine.manifest.z_shape, engine.manifest.grid(1), [100], [0])
    assert not np.array_equal(first.z, alone)
