"""The oracle must give the known numbers; every other test rests on them."""

import numpy as np
import pytest
import torch

from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.integrate import average_velocity

# z, t, s -> v, u, z_s, du/dt for N(0.7, 0.4^2), found apart from this code (to 1e-9)
GAUSSIAN = [
    (1.3, 0.85, 0.2, 0.659413304, 0.324298608, 1.089205905, 0.515561071),
    (-0.5, 1.0, 0.0, -1.2, -1.0, 0.5, -0.2),
    (0.25, 0.5, 0.0, -0.844827586, -0.751443729, 0.625721865, -0.186767714),
    (0.25, 0.5, 0.5, -0.844827586, -0.844827586, 0.25, None),
    (2.0, 0.7, 0.3, 1.613798573, 1.189309473, 1.524276211, 1.061222748),
]


@pytest.mark.parametrize("row", GAUSSIAN, ids=lambda row: f"z={row[0]},t={row[1]},s={row[2]}")
def test_gaussian_golden_values(row: tuple) -> None:
    z, t, s, v, u, landed, derivative = row
    data, at = Gaussian(0.7, 0.4), np.array([z])
    assert data.velocity(at, t) == pytest.approx(v, abs=1e-8)
    assert data.average_velocity(at, t, s) == pytest.approx(u, abs=1e-8)
    assert data.jump(at, t, s) == pytest.approx(landed, abs=1e-8)
    if derivative is not None:
        point = tuple(torch.tensor([x], dtype=torch.float64) for x in (z, t, s))
        tangent = tuple(torch.tensor([x], dtype=torch.float64) for x in (v, 1.0, 0.0))
        _, total = torch.func.jvp(data.average_velocity, point, tangent)
        assert total.item() == pytest.approx(derivative, abs=1e-8)


def test_golden_values_reject_other_data() -> None:
    """Negative control: a mean or a std off by 1e-6 shows."""
    z, t, s, _, u, _, _ = GAUSSIAN[0]
    for wrong in (Gaussian(0.7 + 1e-6, 0.4), Gaussian(0.7, 0.4 + 1e-6)):
        assert abs(wrong.average_velocity(np.array([z]), t, s).item() - u) > 1e-7


def test_special_cases() -> None:
    z = np.linspace(-3, 3, 7)[:, None]
    np.testing.assert_allclose(Gaussian(0.7, 0.4).average_velocity(z, 1.0, 0.0), 0.6 * z - 0.7, atol=1e-15)
    np.testing.assert_allclose(Gaussian(0.7, 0.0).average_velocity(z, 0.6, 0.0), (z - 0.7) / 0.6, atol=1e-14)
    np.testing.assert_allclose(Gaussian(0.7, 0.0).average_velocity(z, 0.6, 0.3), (z - 0.7) / 0.6, atol=1e-14)


def test_average_velocity_loses_no_digits_at_short_intervals() -> None:
    """The difference quotient (z - jump) / (t - s) would lose 9 digits at t - s = 1e-9."""
    data, z = Gaussian(0.7, 0.4), np.array([1.3])
    near, at = data.average_velocity(z, 0.6, 0.6 - 1e-9), data.velocity(z, 0.6)
    assert near == pytest.approx(at.item(), abs=3e-9)
    assert near.item() != at.item()


def test_mixture_golden_value() -> None:
    mixture, z = GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5]), np.array([0.2])
    assert mixture.jump(z, 1.0, 0.0) == pytest.approx(0.871957293, abs=1e-8)
    integrated = z - average_velocity(mixture.velocity, z, 1.0, 0.0)
    assert integrated == pytest.approx(0.871957293, abs=1e-8)


def test_mixture_of_one_is_the_gaussian() -> None:
    one = GaussianMixture([1.0], [[0.7, -0.2]], [0.4])
    data = Gaussian([0.7, -0.2], 0.4)
    z = np.random.default_rng(0).standard_normal((5, 2))
    t = np.array([1.0, 0.9, 0.5, 0.2, 0.05])
    np.testing.assert_allclose(one.velocity(z, t), data.velocity(z, t), atol=1e-13)
    np.testing.assert_allclose(one.velocity_variance(z, t), data.velocity_variance(z, t), atol=1e-13)
    np.testing.assert_allclose(one.jump(z, t, t / 3), data.jump(z, t, t / 3), atol=1e-11)


IMPOSSIBLE = {
    "weights must be positive and sum to 1": lambda: GaussianMixture([0.5, 0.6], [0.0, 1.0], 0.1),
    "disagree": lambda: GaussianMixture([0.5, 0.5], [0.0, 1.0, 2.0], 0.1),
    "stds must be >= 0": lambda: GaussianMixture([0.5, 0.5], [0.0, 1.0], [0.1, -0.1]),
    "a std >= 0": lambda: Gaussian(0.0, -1.0),
    "no negative eigenvalue": lambda: Gaussian.full([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]),
    "a symmetric": lambda: Gaussian.full([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]),
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_impossible_data_are_refused(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IMPOSSIBLE[message]()
