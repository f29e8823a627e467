"""A sample's bits depend on its own seed, label, steps and guidance only, never on its company."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from export.check import batch_invariant, graph_jump, trial_rows
from export.runtime.bundle import Bundle
from export.runtime.engines import open_engine
from export.runtime.engines.session import open_session
from export.runtime.grids import Grid, flow_grid, renoise_grid
from export.runtime.manifest import Guidance
from export.runtime.sampler import sample

GRIDS = {"one step": flow_grid(1), "flow": flow_grid(4), "re-noised": renoise_grid([1.0, 0.5])}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_every_batch_size_gives_the_same_bits(exported_image: Bundle, grid: Grid) -> None:
    engine = open_engine(exported_image, threads=1)
    shape = engine.manifest.z_shape
    seeds, labels = [5, 2**63 - 1, 0, 17, 5, 6, 7], [0, 1, 2, 0, 0, 1, 1]
    together = sample(engine.jump, shape, grid, seeds, labels)
    for batch in (1, 2, 3, 6):
        assert sample(engine.jump, shape, grid, seeds, labels, batch=batch).tobytes() == together.tobytes()
    assert np.array_equal(together[0], together[4])  # the same seed and label twice
    assert not np.array_equal(together[0], together[3])


def test_threads_do_not_change_the_bits(exported_image: Bundle) -> None:
    args = (exported_image.manifest.z_shape, flow_grid(2), range(9), [0] * 9)
    one, two = (sample(open_engine(exported_image, threads).jump, *args) for threads in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_export_measured_it(exported_image: Bundle) -> None:
    assert exported_image.manifest.batch_invariant == {"fp32": True}


def test_a_jump_that_looks_at_its_batch_is_found(make_jump: Callable) -> None:
    jump = graph_jump(open_session(make_jump((3, 4, 4)).SerializeToString(), "toy", 1))

    def leaky(z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
        return jump(z, t, s, label) + np.float32(1e-6) * z.mean(axis=0)

    rows = trial_rows(16, (3, 4, 4), 3, "any")
    assert batch_invariant([jump, jump], rows)
    assert not batch_invariant([leaky], rows)
    assert not batch_invariant([jump, leaky], rows)


def test_guidance_belongs_to_its_row(make_jump: Callable) -> None:
    scale = Guidance(min=1, max=4, default=1.5)
    model = make_jump((2,), guidance=True).SerializeToString()
    jump = graph_jump(open_session(model, "toy", 1))
    assert batch_invariant([jump], trial_rows(16, (2,), 3, "any", guidance=scale))
    mixed = sample(jump, (2,), flow_grid(2), [1, 2, 3], [0, 1, 2], guidance=[1.0, 2.0, 3.0])
    for row in range(3):
        alone = sample(jump, (2,), flow_grid(2), [row + 1], [row], guidance=row + 1.0)
        assert np.array_equal(mixed[row : row + 1], alone)
