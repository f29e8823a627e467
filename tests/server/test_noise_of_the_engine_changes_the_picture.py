"""An engine that makes the noise itself is asked for it where that is the same, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.runtime.bundle import open_bundle
from export.runtime.noise import INITIAL_STEP, SEED_BOUND, normal
from server.jobs import Job, Vary
from server.jobs import Path as Way
from server.worker.ticks import Ticks

from .fake_worker import FakeEngine
from .loopback import flat_costs, job


class Drawing(FakeEngine):
    """Counts the rows that it makes the noise of; what it is not to read of z it spoils."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(open_bundle(bundle))
        self.drawn: list[int] = []

    def draw(self, seeds, z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        own = z.copy()
        for place, seed in zip(own, seeds.tolist()):
            if seed < SEED_BOUND:
                normal(seed, INITIAL_STEP, place.shape, out=place)
                self.drawn.append(seed)
        z[seeds < SEED_BOUND] = np.nan
        return self.jump(own, t, s, label, guidance)


def results(engine: FakeEngine, jobs: list[Job]) -> dict[int, bytes]:
    ticks, made = Ticks(engine, flat_costs(8)), {}
    for one in jobs:
        ticks.add(one)
    while ticks:
        tick = ticks.run()
        assert not tick.failed
        made.update({done.job.id: done.z.tobytes() for done in tick.finished})
        made.update({(part.job.id, part.step): part.z.tobytes() for part in tick.parts})
    return made


def picture(bundle: Path) -> bytes:
    shape = open_bundle(bundle).manifest.image_shape
    return bytes(np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8))


def test_pictures_are_the_same(images: Path) -> None:
    jobs = [
        job(1, 1, n=3),
        job(2, 4),
        job(3, 4, every_step=True),
        job(4, 2, vary=Vary(0.5, picture(images))),
        job(5, 2, label=None, n=2),
        job(6, seed=SEED_BOUND - 1),
    ]
    engine = Drawing(images)
    assert results(engine, jobs) == results(FakeEngine(open_bundle(images)), jobs)
    assert sorted(engine.drawn) == [100, 101, 102, 200, 500, 501, SEED_BOUND - 1]


@pytest.mark.parametrize(
    "fields", [{"n": 3, "label": 1, "path": Way(7, 2)}, {"n": 2, "path": Way(7, 0)}, {"bitwise": True}]
)
def test_beside_rows_that_are_repeated_it_is_not_asked(images: Path, fields: dict[str, object]) -> None:
    jobs = [job(1), job(2, **{"steps": 2, **fields})]
    engine = Drawing(images)
    assert results(engine, jobs) == results(FakeEngine(open_bundle(images)), jobs)
    assert engine.drawn in ([], [100])  # of a way under one label the rows are single
