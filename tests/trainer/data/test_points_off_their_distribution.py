"""Generated points follow the distribution that data.json names, with labels that are the components."""

from __future__ import annotations

import re

import numpy as np
import pytest

from trainer.data.arrays import Split
from trainer.data.distributions import Distribution, checkerboard, eight_gaussians, gaussians, two_moons
from trainer.data.points import sample_split

N = 20_000


def draw(distribution: Distribution, seed: int = 0, split: str = "train", n: int = N) -> Split:
    return sample_split(distribution, n, seed, split)


def z_scores(x: np.ndarray, mean: float, std: float) -> tuple[float, float]:
    """Standard errors between a Gaussian sample's mean and variance and those it should have."""
    return (
        float(abs(x.mean() - mean) / (std / np.sqrt(x.size))),
        float(abs(x.var() / std**2 - 1) / np.sqrt(2 / x.size)),
    )


def test_gaussian_moments() -> None:
    points = draw(gaussians([[0.7]], [0.4], []))
    assert points.x.shape == (N, 1)
    assert points.x.dtype == np.float32
    assert points.labels is None
    x = points.x.astype(np.float64)
    assert max(z_scores(x, 0.7, 0.4)) < 4
    assert z_scores(x, 0.72, 0.4)[0] > 4, "must notice a mean that is 0.02 off"
    assert z_scores(x, 0.7, 0.42)[1] > 4, "must notice a std that is 0.02 off"


def test_mixture_components() -> None:
    points = draw(gaussians([[-1.5, 0.0], [1.0, 2.0]], [0.3, 0.5], [3, 7], ("0", "1")))
    assert points.labels is not None
    share = np.mean(points.labels == 1)
    assert abs(share - 0.7) < 4 * np.sqrt(0.21 / N)
    for label, (mean, std) in enumerate([((-1.5, 0.0), 0.3), ((1.0, 2.0), 0.5)]):
        own = points.x[points.labels == label].astype(np.float64)
        for axis in range(2):
            assert max(z_scores(own[:, axis], mean[axis], std)) < 4


def test_eight_gaussians_lie_where_their_names_say() -> None:
    points = draw(eight_gaussians())
    east, north = points.x[points.labels == 0].mean(axis=0), points.x[points.labels == 2].mean(axis=0)
    np.testing.assert_allclose([east, north], [[2, 0], [0, 2]], atol=0.05)
    assert eight_gaussians().classes[::2] == ("east", "north", "west", "south")


def test_checkerboard_fills_every_dark_square_and_no_other() -> None:
    cells = np.floor(draw(checkerboard()).x + 2).astype(int)
    assert cells.min() >= 0
    assert cells.max() <= 3
    assert (cells.sum(axis=1) % 2 == 0).all()
    counts = np.bincount(cells[:, 0] * 4 + cells[:, 1], minlength=16)
    counts = counts[counts > 0]
    assert len(counts) == 8
    assert np.abs(counts - N / 8).max() < 5 * np.sqrt(N * 7 / 64)


def test_moons_are_half_circles() -> None:
    points = draw(two_moons(std=0.01))
    for label, centre, sign in [(0, (0, 0), 1), (1, (1, 0.5), -1)]:
        arm = points.x[points.labels == label] - centre
        np.testing.assert_allclose(np.hypot(*arm.T), 1, atol=0.06)
        assert (sign * arm[:, 1] > -0.06).all()


def test_a_function_of_seed_and_split() -> None:
    distribution = gaussians([[0.0]], [1.0], [])
    first = draw(distribution).x
    np.testing.assert_array_equal(first, draw(distribution).x)
    for other in (draw(distribution, seed=1), draw(distribution, split="test")):
        assert np.isin(first, other.x).mean() < 0.01


def test_a_component_without_a_sample_is_an_error() -> None:
    rare = gaussians([[0.0], [1.0]], [1.0], [1, 1e-9], ("0", "1"))
    with pytest.raises(ValueError, match="100 train points: 1 of 2 classes have no sample"):
        draw(rare, n=100)
    assert len(draw(rare, split="test", n=100).x) == 100


@pytest.mark.parametrize(
    ("means", "stds", "weights", "message"),
    [
        ([[0.0], [1.0]], [1.0, 1.0, 1.0], [], "2 --mean, 3 --std and 2 --weight"),
        ([[0.0], [1.0, 2.0]], [1.0], [], "the --mean have 1, 2 coordinates"),
        ([[0.0]], [0.0], [], "--std is 0.0; it must be finite and larger than 0"),
        ([[np.inf]], [1.0], [], "--mean is inf; it must be finite"),
        ([[0.0], [1.0]], [1.0], [1.0, -1.0], "--weight is -1.0"),
    ],
)
def test_parameters_that_do_not_fit(
    means: list[list[float]], stds: list[float], weights: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        gaussians(means, stds, weights)
