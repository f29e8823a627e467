"""EDM and TrigFlow forms of the truth must land where the linear path's jump to t = 0 lands."""

import numpy as np
import pytest

from trainer.oracle import Gaussian
from trainer.oracle.coordinates import (
    edm_consistency,
    edm_from_linear,
    linear_from_edm,
    trigflow_consistency,
    trigflow_from_linear,
    trigflow_network,
)

MEAN, STD, SIGMA_DATA = 0.7, 0.4, 0.5
Z = np.linspace(-2, 2, 9)[:, None]
T = np.linspace(0.05, 0.98, 9)
LANDED = Gaussian(MEAN, STD).jump(Z, T, 0.0)


def test_edm_consistency_is_the_jump() -> None:
    np.testing.assert_allclose(edm_consistency(*edm_from_linear(Z, T), MEAN, STD), LANDED, atol=1e-12)
    unscaled = edm_consistency(Z, T / (1 - T), MEAN, STD)  # negative control: x = z / (1-t) forgotten
    assert np.abs(unscaled - LANDED).max() > 0.1


def test_trigflow_consistency_is_the_jump() -> None:
    at = trigflow_from_linear(Z, T, SIGMA_DATA)
    np.testing.assert_allclose(trigflow_consistency(*at, MEAN, STD, SIGMA_DATA), LANDED, atol=1e-12)
    of_other_scale = trigflow_consistency(*at, MEAN, STD, 1.0)  # negative control
    assert np.abs(of_other_scale - LANDED).max() > 0.1


def test_trigflow_network_recovers_the_jump() -> None:
    x, tau = trigflow_from_linear(Z, T, SIGMA_DATA)
    network = trigflow_network(x, tau, MEAN, STD, SIGMA_DATA)
    landed = np.cos(tau)[:, None] * x - SIGMA_DATA * np.sin(tau)[:, None] * network
    np.testing.assert_allclose(landed, LANDED, atol=1e-12)


def test_edm_coordinates_return() -> None:
    z, t = linear_from_edm(*edm_from_linear(Z, T))
    np.testing.assert_allclose(z, Z, atol=1e-13)
    np.testing.assert_allclose(t, T, atol=1e-13)
    assert linear_from_edm(Z, 0.002)[1] == pytest.approx(0.001996, abs=1e-6)
    assert linear_from_edm(Z, 80.0)[1] == pytest.approx(0.987654, abs=1e-6)


def test_trigflow_reaches_pure_noise() -> None:
    """At t = 1 the point is sigma_data times the noise and tau = pi/2, with no division by 1 - t."""
    x, tau = trigflow_from_linear(Z, np.ones(9), SIGMA_DATA)
    np.testing.assert_allclose(x, SIGMA_DATA * Z, atol=1e-15)
    np.testing.assert_allclose(tau, np.pi / 2, atol=1e-15)


def test_trigflow_point_has_trigflow_noise() -> None:
    """x = cos(tau) x0 + sin(tau) sigma_data n for the same x0 and n as on the linear path."""
    x0, noise, t = np.array([0.3]), np.array([-1.2]), 0.35
    x, tau = trigflow_from_linear((1 - t) * x0 + t * noise, t, SIGMA_DATA)
    np.testing.assert_allclose(x, np.cos(tau) * x0 + np.sin(tau) * SIGMA_DATA * noise, atol=1e-14)
