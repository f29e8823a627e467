"""Discrete objectives must be expected at their own fixed points, not at the truth."""

import numpy as np
import pytest

from trainer.oracle import Gaussian
from trainer.oracle.fixed_points import (
    alpha_flow_slope,
    consistency_training_slope,
    exact_slope,
    karras_sigmas,
    shortcut_slope,
    ve_consistency_slope,
)

STD = 0.4
SHORTCUT = [(1, 0), (2, 0.1379), (4, 0.2598), (8, 0.3251), (16, 0.3609), (128, 0.3949)]
ALPHA_FLOW = [(1.0, 0.0), (0.5, 0.3005), (0.1, 0.3832), (0.01, 0.3984), (0.005, 0.3992)]
KARRAS = [(11, 0.003733), (18, 0.004208), (151, 0.004903), (1281, 0.004989)]


@pytest.mark.parametrize(("steps", "slope"), SHORTCUT)
def test_shortcut(steps: int, slope: float) -> None:
    assert shortcut_slope(steps, STD) == pytest.approx(slope, abs=5e-5)


@pytest.mark.parametrize(("steps", "slope"), [(64, 0.3899), (256, 0.3974)])
def test_consistency_training(steps: int, slope: float) -> None:
    assert consistency_training_slope(steps, STD) == pytest.approx(slope, abs=5e-5)


@pytest.mark.parametrize(("alpha", "slope"), ALPHA_FLOW)
def test_alpha_flow(alpha: float, slope: float) -> None:
    assert alpha_flow_slope(alpha, STD) == pytest.approx(slope, abs=5e-5)


@pytest.mark.parametrize(("levels", "slope"), KARRAS)
def test_consistency_training_on_the_karras_grid(levels: int, slope: float) -> None:
    assert ve_consistency_slope(levels, STD) == pytest.approx(slope, abs=5e-7)


def test_heun_distillation_is_second_order() -> None:
    """Twice the levels quarter the error of Heun's chain, and halve Euler's."""
    exact = np.sqrt((STD**2 + 0.002**2) / (STD**2 + 80.0**2))
    for solver, order in (("heun", 2), ("euler", 1)):
        coarse, fine = (abs(ve_consistency_slope(n, STD, solver) - exact) for n in (321, 641))  # type: ignore[arg-type]
        assert np.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_all_reach_the_flow_in_the_limit() -> None:
    assert exact_slope(1.0, 0.0, STD) == pytest.approx(STD)
    assert shortcut_slope(100_000, STD) == pytest.approx(STD, abs=1e-5)
    assert alpha_flow_slope(1e-4, STD) == pytest.approx(STD, abs=1e-4)
    assert alpha_flow_slope(1e-4, STD, t=0.85, s=0.2) == pytest.approx(exact_slope(0.85, 0.2, STD), abs=1e-4)
    assert shortcut_slope(128, STD) != pytest.approx(STD, abs=2e-3)  # demanding .400 would be wrong


def test_chain_of_euler_steps_is_what_the_velocity_does() -> None:
    """The product against Euler steps of the oracle's own velocity, mean included: z_0 = m + P (z - 0)."""
    data, steps = Gaussian(0.7, STD), 8
    z = start = np.array([[-1.0], [0.0], [2.0]])
    for i in range(steps):
        z = z - data.velocity(z, 1 - i / steps) / steps
    np.testing.assert_allclose(z, 0.7 + shortcut_slope(steps, STD) * start, atol=1e-13)


def test_karras_grid_ends() -> None:
    sigmas = karras_sigmas(18)
    assert len(sigmas) == 18
    assert np.all(np.diff(sigmas) < 0)
    assert sigmas[[0, -1]] == pytest.approx([80.0, 0.002])


def test_alpha_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \(0, 1\], got 0"):
        alpha_flow_slope(0.0, STD)
