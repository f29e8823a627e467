"""A model of span velocity is guided by two evaluations in its graph, by each row's own scale; others are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.check import Rows, trial_rows
from export.export import export
from export.runtime.engines import open_engine
from export.runtime.manifest import Guidance
from models.checkpoint import load_checkpoint
from models.numpy_jump import numpy_jump

SCALES = Guidance(min=0, max=4, default=2, rows_per_step=2)


def test_velocity_is_that_of_the_rule(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    bundle = export(checkpoints["flow"], tmp_path / "guided", scales=SCALES)
    assert bundle.manifest.guidance == SCALES
    engine = open_engine(bundle, 1)
    plain = numpy_jump(load_checkpoint(checkpoints["flow"])[0])
    rows = trial_rows(6, bundle.manifest.z_shape, 2, "velocity", guidance=SCALES)
    assert rows.guidance is not None
    assert len(set(rows.guidance.tolist())) == 6
    with_label = Rows(rows.z, rows.t, rows.s, rows.label, None).through(plain)
    without = Rows(rows.z, rows.t, rows.s, np.full_like(rows.label, 2), None).through(plain)
    w = rows.guidance.reshape(-1, 1, 1, 1)
    found = rows.through(engine.jump)
    np.testing.assert_allclose(found, without + w * (with_label - without), atol=1e-5)
    # The negative control: the other convention, in which 0 is the plain conditional model.
    assert np.abs(found - (with_label + w * (with_label - without))).max() > 1e-3
    one = Rows(rows.z, rows.t, rows.s, rows.label, np.ones(6, np.float32)).through(engine.jump)
    np.testing.assert_allclose(one, with_label, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("image", "this one's is any: its jumps cannot be combined"),
        ("guided", "has a guidance input already"),
        ("points", "knows no labels, so there is nothing to guide towards"),
    ],
)
def test_what_cannot_be_guided_is_refused(checkpoints: dict[str, Path], tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        export(checkpoints[name], tmp_path / "bundle", scales=SCALES)
    assert list(tmp_path.iterdir()) == []
