"""The shipped points recipes without a teacher, from command to checkpoint, must learn the exact jump of a Gaussian.

For data N(0.7, 0.4^2) it is jump(z, 1, 0) = 0.7 + 0.4 z.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import longjump
from models.checkpoint import load_checkpoint
from models.flow_map import FlowMap
from trainer.oracle import Gaussian

DATA = Gaussian(0.7, 0.4)


@pytest.fixture(scope="module", params=["meanflow", "imf", "alpha-flow"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FlowMap:
    folder: Path = tmp_path_factory.mktemp("points")
    data, out = str(folder / "data"), str(folder / "run")
    build = ["data", "build", "points", "--kind", "gaussian", "--mean", "0.7", "--std", "0.4", "--out", data]
    assert longjump.main(build) == 0
    recipe = f"points/{request.param}"
    assert longjump.main(["train", recipe, "--data", data, "--out", out, "--device", "cpu"]) == 0
    return load_checkpoint(out)[0]


def jump(flow_map: FlowMap, z: np.ndarray, t: float, s: float) -> np.ndarray:
    rows = torch.from_numpy(z).float()
    label = torch.zeros(len(z), dtype=torch.long)
    with torch.no_grad():
        return flow_map.jump(rows, torch.full((len(z),), t), torch.full((len(z),), s), label).double().numpy()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_slope_and_offset_of_one_jump(trained: FlowMap) -> None:
    """Regressed over z ~ N(0, 1), as a sampler would ask."""
    z = np.random.default_rng(0).standard_normal((20_000, 1))
    slope, offset = np.polyfit(z[:, 0], jump(trained, z, 1.0, 0.0)[:, 0], 1)
    assert slope == pytest.approx(0.4, abs=0.02)
    assert offset == pytest.approx(0.7, abs=0.02)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("t", "s"), [(1.0, 0.5), (0.8, 0.2), (0.5, 0.0)])
def test_every_other_jump(trained: FlowMap, t: float, s: float) -> None:
    """Not only 1 -> 0: RMS error over z_t below 5 % of the data's standard deviation."""
    rng = np.random.default_rng(1)
    z = (1 - t) * DATA.sample(rng, 5000) + t * rng.standard_normal((5000, 1))
    error = jump(trained, z, t, s) - DATA.jump(z, t, s)
    assert np.sqrt(np.mean(error**2)) < 0.05 * 0.4
