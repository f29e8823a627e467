"""Two independent ways to the flow map must agree: quantiles, closed forms and integration."""

import numpy as np
import pytest

from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.integrate import average_velocity, flow_jump

MIXTURES = {
    "two": GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5]),
    "three, far and narrow": GaussianMixture([0.1, 0.6, 0.3], [-2.0, 0.0, 2.5], [0.2, 0.15, 0.4]),
    "overlapping": GaussianMixture([0.5, 0.5], [-0.2, 0.3], [0.6, 0.2]),
}
TIMES = [(1.0, 0.0), (0.9, 0.1), (0.5, 0.2), (0.3, 0.0)]


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES.keys())
@pytest.mark.parametrize(("t", "s"), TIMES)
def test_quantile_map_is_the_integrated_flow(mixture: GaussianMixture, t: float, s: float) -> None:
    z = np.linspace(-3, 3, 25)[:, None]
    exact, integrated = mixture.jump(z, t, s), flow_jump(mixture.velocity, z, t, s)
    np.testing.assert_allclose(exact, integrated, atol=1e-9)


def test_quantile_map_rejects_another_flow() -> None:
    """Negative control: integrating a velocity with one term dropped, or backwards in sign, is far off."""
    mixture, z = MIXTURES["two"], np.linspace(-2, 2, 9)[:, None]
    exact = mixture.jump(z, 1.0, 0.0)
    reweighted = GaussianMixture([0.5, 0.5], [-1.5, 1.0], [0.3, 0.5])
    broken = [
        reweighted.velocity,
        lambda z, t: mixture.velocity(z, t) + 0.01,
        lambda z, t: -mixture.velocity(z, t),
    ]
    for velocity in broken:
        assert np.abs(exact - flow_jump(velocity, z, 1.0, 0.0)).max() > 1e-3


def test_quantile_map_is_stable_in_the_tails() -> None:
    """At |z| = 30 the distribution function is 0 or 1 in fp64."""
    mixture = MIXTURES["two"]
    z = np.array([[-30.0], [-12.0], [12.0], [30.0]])
    landed = mixture.jump(z, 1.0, 0.0)
    assert np.all(np.isfinite(landed))
    assert np.all(np.diff(landed[:, 0]) > 0)
    np.testing.assert_allclose(landed, flow_jump(mixture.velocity, z, 1.0, 0.0), atol=1e-8)
    mirrored = GaussianMixture([0.7, 0.3], [-1.0, 1.5], [0.5, 0.3])
    np.testing.assert_allclose(mirrored.jump(-z, 1.0, 0.0), -landed, atol=1e-12)


def test_quantile_map_returns_and_composes() -> None:
    mixture = MIXTURES["three, far and narrow"]
    z = np.linspace(-2.5, 2.5, 21)[:, None]
    np.testing.assert_allclose(mixture.jump(z, 0.6, 0.6), z, atol=1e-12)
    composed = mixture.jump(mixture.jump(z, 1.0, 0.4), 0.4, 0.1)
    np.testing.assert_allclose(composed, mixture.jump(z, 1.0, 0.1), atol=1e-9)


def test_each_sample_has_its_own_times() -> None:
    mixture, z = MIXTURES["two"], np.array([[0.2], [-1.0], [0.7]])
    t, s = np.array([1.0, 0.8, 0.5]), np.array([0.0, 0.8, 0.2])
    rows = np.concatenate([mixture.jump(z[i : i + 1], t[i], s[i]) for i in range(3)])
    np.testing.assert_allclose(mixture.jump(z, t, s), rows, atol=1e-14)
    np.testing.assert_allclose(flow_jump(mixture.velocity, z, t, s), rows, atol=1e-9)
    np.testing.assert_allclose(z - (t - s)[:, None] * mixture.average_velocity(z, t, s), rows, atol=1e-8)


def test_full_covariance_is_the_integrated_flow() -> None:
    data = Gaussian.full([0.7, -0.3], [[0.5, 0.3], [0.3, 0.4]])
    z = np.random.default_rng(1).standard_normal((8, 2))
    np.testing.assert_allclose(data.jump(z, 1.0, 0.0), flow_jump(data.velocity, z, 1.0, 0.0), atol=1e-10)
    averaged = z - 0.7 * data.average_velocity(z, 0.9, 0.2)
    np.testing.assert_allclose(averaged, data.jump(z, 0.9, 0.2), atol=1e-13)
    unrotated = Gaussian(data.mean, data.std)
    assert np.abs(unrotated.jump(z, 1.0, 0.0) - data.jump(z, 1.0, 0.0)).max() > 0.1


def test_full_covariance_arrives_at_the_data() -> None:
    covariance = np.array([[0.5, 0.3], [0.3, 0.4]])
    data = Gaussian.full([0.7, -0.3], covariance)
    jacobian = data.jump(np.eye(2), 1.0, 0.0) - data.jump(np.zeros(2), 1.0, 0.0)
    np.testing.assert_allclose(jacobian.T @ jacobian, covariance, atol=1e-12)
    drawn = data.sample(np.random.default_rng(2), 20_000)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.03)


def test_plane_mixture_composes_and_keeps_a_far_component() -> None:
    plane = GaussianMixture([0.5, 0.5], [[-3.0, 0.0], [3.0, 0.0]], [0.3, 0.3])
    z = np.random.default_rng(4).standard_normal((6, 2))
    composed = plane.jump(plane.jump(z, 1.0, 0.5), 0.5, 0.0)
    np.testing.assert_allclose(composed, plane.jump(z, 1.0, 0.0), atol=1e-9)
    # both components share the second coordinate, so there the flow is one Gaussian's
    one = Gaussian(0.0, 0.3).jump(z[:, 1:], 1.0, 0.0)
    np.testing.assert_allclose(plane.jump(z, 1.0, 0.0)[:, 1:], one, atol=1e-9)


def test_memorised_data_are_reached() -> None:
    """With std = 0 the mixture is an empirical data set, and near t = 0 each sample sits on a data point."""
    data = np.array([-1.0, 0.2, 1.5])
    memory = GaussianMixture(np.full(3, 1 / 3), data, 0.0)
    landed = memory.jump(np.random.default_rng(5).standard_normal((200, 1)), 1.0, 1e-4)
    assert np.abs(landed - data).min(axis=1).max() < 1e-3


def test_singular_flow_is_reported() -> None:
    memory = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.0)
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="could not be integrated"):
        flow_jump(memory.velocity, np.array([[0.3]]), 1.0, 0.0)


def test_integration_converges_at_eighth_order() -> None:
    """Halving the step divides the error by 256 or more; a wrong stage or node shows as a low order."""
    mixture, z = MIXTURES["two"], np.linspace(-2, 2, 17)[:, None]
    exact = z - mixture.jump(z, 1.0, 0.0)

    def error(steps: int) -> float:
        return np.abs(average_velocity(mixture.velocity, z, 1.0, 0.0, steps) - exact).max()

    assert error(8) < 1e-5
    assert error(8) / error(16) > 200
    assert error(20) < 1e-8


def test_distribution_functions_stop_at_one_dimension() -> None:
    plane = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    with pytest.raises(ValueError, match="one-dimensional data only, these have 2"):
        plane.log_cdf(np.zeros((1, 2)), 0.5)
    with pytest.raises(ValueError, match="one-dimensional data only, these have 2"):
        plane.jump_slope(np.zeros((1, 2)), 0.5, 0.1)
