"""The power-function average: weights of step i in (i / k)^gamma, the horizon is its relative standard deviation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trainer.ema import PowerEMA, power_exponent

HORIZONS = [0.02, 0.05, 0.1, 0.25]
STEPS = 40


def path(seed: int = 0) -> np.ndarray:
    """Weights of a parameter over the steps 1..STEPS, fp64 [STEPS, 3]."""
    return np.cumsum(np.random.default_rng(seed).normal(size=(STEPS, 3)), axis=0)


def averaged(horizon: float, values: np.ndarray) -> np.ndarray:
    model = nn.Linear(3, 1, bias=False).double()
    ema = PowerEMA(model, horizon)
    for step, value in enumerate(values, start=1):
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(value)[None])
        ema.update(model, step)
    return ema.state["weight"][0].numpy()


def direct(exponent: float, values: np.ndarray) -> np.ndarray:
    """The integral of the profile t^exponent over each step, times that step's weights."""
    edges = np.linspace(0, 1, len(values) + 1) ** (exponent + 1)
    return np.diff(edges) @ values


@pytest.mark.parametrize("horizon", HORIZONS)
def test_average_is_another_sum(horizon: float) -> None:
    values = path()
    exact = direct(power_exponent(horizon), values)
    np.testing.assert_allclose(averaged(horizon, values), exact, rtol=1e-10)
    for wrong in (-1.0, 1.0):  # negative control: an exponent that is one off, as when gamma is taken for gamma + 1
        assert np.abs(direct(power_exponent(horizon) + wrong, values) - exact).max() > 1e-3


@pytest.mark.parametrize("horizon", HORIZONS)
def test_horizon_is_not_the_spread(horizon: float) -> None:
    """The standard deviation of t in [0, 1] under (gamma + 1) t^gamma, integrated, is the horizon."""
    exponent = power_exponent(horizon)
    assert exponent > 0
    edges = np.linspace(0, 1, 1_000_001)
    mass, middle = np.diff(edges ** (exponent + 1)), (edges[1:] + edges[:-1]) / 2
    assert mass.sum() == pytest.approx(1)
    mean = mass @ middle
    assert np.sqrt(mass @ (middle - mean) ** 2) == pytest.approx(horizon, rel=1e-5)


def test_known_exponents_change() -> None:
    """EDM2's own: 5 % of the run is gamma 16.97, 10 % is 6.94 (arXiv 2312.02696, section 3.1)."""
    assert power_exponent(0.05) == pytest.approx(16.97, abs=0.005)
    assert power_exponent(0.1) == pytest.approx(6.94, abs=0.005)


@pytest.mark.parametrize("horizon", [0.0, -0.1, 0.28, 0.3, 1.0])
def test_impossible_horizon_is_taken(horizon: float) -> None:
    with pytest.raises(ValueError, match=rf"in \(0, 0\.28\), not {horizon}"):
        power_exponent(horizon)


def test_first_step_keeps_the_initial_weights() -> None:
    """The untrained network has no part in any average: step 1 takes the model as it is, bit by bit."""
    model = nn.Linear(3, 2)
    ema = PowerEMA(model, 0.1)
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 3) * 1e3)
    ema.update(model, 1)
    assert all(torch.equal(ema.state[name], value) for name, value in model.state_dict().items())
    assert ema.state["weight"].data_ptr() != model.weight.data_ptr()


def test_average_moves_the_model() -> None:
    model = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ema = PowerEMA(model, 0.1)
    for step in range(1, 5):
        ema.update(model, step)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(value.requires_grad for value in ema.state.values())


def test_horizons_share_a_name() -> None:
    model = nn.Linear(1, 1)
    assert [PowerEMA(model, horizon).name for horizon in (0.05, 0.1, 0.001)] == ["0.050", "0.100", "0.001"]
