"""`points/meanflow` with a range of scales must learn every guided flow of the range, in one training.

Two classes, N(-0.8, 0.5^2) and N(0.7, 0.4^2). The truth for a scale w is the flow of w v(z | label) + (1 - w) v(z),
integrated; without a label it is the mixture's own, whatever w is.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import longjump
from models.checkpoint import load_checkpoint
from models.flow_map import FlowMap
from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.integrate import flow_jump

WEIGHTS, MEANS, STDS = [0.4, 0.6], [-0.8, 0.7], [0.5, 0.4]
CLASSES = [Gaussian(mean, std) for mean, std in zip(MEANS, STDS)]
ALL = GaussianMixture(WEIGHTS, MEANS, STDS)
NULL = 2
NOISE = np.random.default_rng(0).standard_normal((4000, 1))
SETTINGS = ["model.width=64", "objective.label_dropout=0.3", "objective.guidance={range: [1, 4], start_step: 300}"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> FlowMap:
    folder: Path = tmp_path_factory.mktemp("guided")
    data, out = str(folder / "data"), str(folder / "run")
    components = [
        word
        for weight, mean, std in zip(WEIGHTS, MEANS, STDS)
        for word in (f"--weight={weight}", f"--mean={mean}", f"--std={std}")
    ]
    assert longjump.main(["data", "build", "points", "--kind", "mixture", *components, "--out", data]) == 0
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    assert longjump.main(["train", "points/meanflow", "--data", data, "--out", out, "--device", "cpu", *sets]) == 0
    return load_checkpoint(out)[0]


def one_step(flow_map: FlowMap, label: int, scale: float) -> np.ndarray:
    rows, ones = torch.from_numpy(NOISE).float(), torch.ones(len(NOISE))
    labels = torch.full((len(NOISE),), label)
    with torch.no_grad():
        return flow_map.jump(rows, ones, 0 * ones, labels, scale * ones).double().numpy()


def truth(label: int, scale: float) -> np.ndarray:
    def velocity(z: np.ndarray, t: float) -> np.ndarray:
        if label == NULL:
            return ALL.velocity(z, t)
        return scale * CLASSES[label].velocity(z, t) + (1 - scale) * ALL.velocity(z, t)

    return flow_jump(velocity, NOISE, 1.0, 0.0, 1e-8, 1e-8)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0])
def test_scale_is_another(trained: FlowMap, label: int, scale: float) -> None:
    """Over z ~ N(0, 1), off the guided truth by less than a quarter of what guidance moves; the plain map is not."""
    guided, moved = one_step(trained, label, scale), truth(label, scale) - truth(label, 1.0)
    assert rms(guided - truth(label, scale)) < 0.25 * rms(moved)
    assert rms(one_step(trained, label, 1.0) - truth(label, scale)) > 0.75 * rms(moved)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("label", [0, 1])
def test_scale_one_is_guided(trained: FlowMap, label: int) -> None:
    assert rms(one_step(trained, label, 1.0) - truth(label, 1.0)) < 0.12 * STDS[label]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_unlabelled_sample_is_guided(trained: FlowMap, scale: float) -> None:
    assert rms(one_step(trained, NULL, scale) - truth(NULL, 1.0)) < 0.15
