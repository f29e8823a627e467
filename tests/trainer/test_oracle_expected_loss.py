"""The loss that remains at the truth must match samples of (x0, x1), which know no formula."""

import numpy as np
import pytest

from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.expected_loss import flow_matching_loss, improved_meanflow_loss, meanflow_loss

TRUTHS = {
    "gaussian": Gaussian(0.7, 0.4),
    "full-covariance": Gaussian.full([0.7, -0.3], [[0.5, 0.3], [0.3, 0.4]]),
    "mixture": GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5]),
    "mixture-in-the-plane": GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [0.8, 0.0]], [0.3, 0.5]),
}
COUNT = 40_000


def test_table_at_one_point() -> None:
    assert flow_matching_loss(0.85, 0.4) == pytest.approx(0.22036, abs=5e-6)
    assert improved_meanflow_loss(0.85, 0.4) == pytest.approx(0.22036, abs=5e-6)
    assert meanflow_loss(0.85, 0.2, 0.4) == pytest.approx(0.04322, abs=5e-6)
    assert meanflow_loss(0.85, 0.85, 0.4) == pytest.approx(flow_matching_loss(0.85, 0.4))


def standard_errors(samples: np.ndarray, expected: float | np.ndarray) -> np.ndarray:
    """Distance of the mean of samples [N, ...] from `expected`, in standard errors."""
    return np.abs(samples.mean(0) - expected) / (samples.std(0) / np.sqrt(len(samples)))


@pytest.mark.parametrize("data", TRUTHS.values(), ids=TRUTHS.keys())
def test_velocity_is_the_mean_of_what_it_averages(data: Gaussian | GaussianMixture) -> None:
    """Over all z: mean zero against functions of z, and the remaining variance is `velocity_variance`."""
    rng, t = np.random.default_rng(7), 0.6
    x0, x1 = data.sample(rng, COUNT), rng.standard_normal((COUNT, data.dim))
    z = (1 - t) * x0 + t * x1
    residual = x1 - x0 - data.velocity(z, t)
    for against in (np.ones_like(z), z, np.sin(2 * z)):
        assert standard_errors(residual * against, 0.0).max() < 4
    surplus = (residual**2).sum(-1) - data.velocity_variance(z, t)
    assert standard_errors(surplus, 0.0) < 4

    wrong = residual + 0.1 * z  # negative control: a slope off by 0.1 shows
    assert standard_errors(wrong * z, 0.0).max() > 4


@pytest.mark.parametrize("data", TRUTHS.values(), ids=TRUTHS.keys())
def test_data_given_z_have_the_velocity_as_mean(data: Gaussian | GaussianMixture) -> None:
    """At one z: draws of x0 given z_t = z must average to the velocity there and spread by its variance."""
    rng, t = np.random.default_rng(8), 0.7
    at = np.full(data.dim, 0.25)
    z = np.broadcast_to(at, (COUNT, data.dim))
    x0 = data.sample_data_given(z, t, rng)
    pull = (z - (1 - t) * x0) / t - x0
    assert standard_errors(pull, data.velocity(at, t)).max() < 4
    spread = ((pull - data.velocity(at, t)) ** 2).sum(-1)
    assert standard_errors(spread, data.velocity_variance(at, t)) < 4
    assert standard_errors(spread, 1.05 * data.velocity_variance(at, t)) > 4  # negative control


@pytest.mark.parametrize("data", TRUTHS.values(), ids=TRUTHS.keys())
def test_data_given_z_are_data(data: Gaussian | GaussianMixture) -> None:
    """Drawing z and then x0 given z gives back the data's mean and covariance."""
    rng, t = np.random.default_rng(9), 0.5
    x0 = data.sample(rng, COUNT)
    again = data.sample_data_given((1 - t) * x0 + t * rng.standard_normal(x0.shape), t, rng)
    np.testing.assert_allclose(again.mean(0), x0.mean(0), atol=0.04)
    np.testing.assert_allclose(np.cov(again.T), np.cov(x0.T), atol=0.04)
