"""Sampling with the exact flow map of N(0.7, 0.4^2) gives that distribution, at any number of steps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from export.runtime.grids import Grid, Step, flow_grid, gamma_grid, renoise_grid
from export.runtime.noise import normal
from export.runtime.sampler import advance, sample

MEAN, STD = 0.7, 0.4
SEEDS = range(4000)
LABELS = [0] * len(SEEDS)
TIMES = [1.0, 0.6, 0.3]


def exact_jump(z, t, s, label, guidance=None):  # type: ignore[no-untyped-def]
    """Phi from t to s, the closed form of isotropic Gaussian data on the linear path."""

    def std(time: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.sqrt((1.0 - time) ** 2 * STD**2 + time.astype(np.float64) ** 2)[:, None]

    centred = z - (1 - t)[:, None] * MEAN
    return ((1 - s)[:, None] * MEAN + std(s) / std(t) * centred).astype(np.float32)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_flow_steps_follow_the_map(steps: int) -> None:
    samples = sample(exact_jump, (1,), flow_grid(steps), range(50), LABELS[:50])
    start = np.stack([normal(seed, 0, (1,)) for seed in range(50)])
    np.testing.assert_allclose(samples, MEAN + STD * start, atol=2e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_renoising_keeps_the_distribution(gamma: float) -> None:
    samples = sample(exact_jump, (1,), gamma_grid(TIMES, gamma), SEEDS, LABELS, batch=1000)
    assert off(samples) < 4
    # With fresh noise it is not the one-step sample again, without it is.
    straight = sample(exact_jump, (1,), flow_grid(1), SEEDS, LABELS, batch=1000)
    assert np.allclose(samples, straight, atol=0.01) == (gamma == 0)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("share", [0.5, 1.4])
def test_wrong_noise_is_seen(gamma: float, share: float) -> None:
    """Negative control: all is as it must be but the size of the new noise."""
    wrong = [step._replace(b=share * step.b) for step in gamma_grid(TIMES, gamma)]
    assert off(sample(exact_jump, (1,), wrong, SEEDS, LABELS, batch=1000)) > 4


def test_renoising_is_gamma_of_one() -> None:
    np.testing.assert_allclose(gamma_grid(TIMES, 1.0), renoise_grid(TIMES), atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        (Step(1.0, 0.0, 0.4, 0.6), Step(0.5, 0.0)),
        (Step(1.0, 0.0, 0.4, 0.3), Step(0.6, 0.0)),
        (Step(1.0, 0.0, 0.4, 0.0), Step(0.6, 0.0)),
    ],
    ids=["time", "noise", "no noise"],
)
def test_wrong_renoising_is_seen(wrong: Grid) -> None:
    assert off(sample(exact_jump, (1,), wrong, SEEDS, LABELS, batch=1000)) > 4


def off(samples: NDArray[np.float32]) -> float:
    """How many standard errors mean or standard deviation are off, the worse of the two."""
    error = STD / np.sqrt(len(samples))
    return max(abs(float(samples.mean()) - MEAN) / error, abs(float(samples.std()) - STD) / (error / np.sqrt(2)))


def test_rows_of_different_steps_advance_together() -> None:
    jumped, noise = normal(1, 0, (3, 2)), normal(2, 0, (3, 2))
    noise[0] = np.nan  # a row without noise never reads it
    a, b = np.array([1.0, 0.4, 0.75]), np.array([0.0, 0.6, 0.25])
    together = advance(jumped, a, b, noise)
    for row in range(3):
        alone = advance(jumped[row : row + 1], a[row], b[row], noise[row : row + 1])
        assert np.array_equal(together[row : row + 1], alone)
    assert np.array_equal(together[0], jumped[0])


def test_noise_left_out_is_an_error() -> None:
    with pytest.raises(ValueError, match="adds noise"):
        advance(np.zeros((1, 2), dtype=np.float32), 0.5, 0.5, None)


def test_labels_and_seeds_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="2 seeds but 1 labels"):
        sample(exact_jump, (1,), flow_grid(1), [1, 2], [0])
