"""The closed form for data on boxes, against sums over the data and against the flow that it drives."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.oracle.boxes import Boxes

BOARD = Boxes(*(np.array([[column + shift, row + shift] for column in range(-2, 2) for row in range(-2, 2)
                          if (column + row) % 2 == 0], float) for shift in (0, 1)))  # fmt: skip


def riemann(z: np.ndarray, t: float, side: int = 400) -> np.ndarray:
    """E[x0 | z] as a sum over a fine grid of the board."""
    axis = (np.arange(side) + 0.5) / side
    unit = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    points = np.concatenate([low + unit for low in BOARD.low])
    weight = np.exp(-0.5 * ((z - (1 - t) * points) ** 2).sum(-1) / t**2)
    return (weight[:, None] * points).sum(0) / weight.sum()


@pytest.mark.parametrize("t", [0.05, 0.3, 0.8, 0.999])
@pytest.mark.parametrize("z", [[0.3, -0.2], [1.4, 1.9], [-2.5, 0.4]])
def test_mean_is_off(z: list[float], t: float) -> None:
    assert BOARD.data_mean(np.array(z), t) == pytest.approx(riemann(np.array(z), t), abs=2e-4)


def test_noise_alone_says_something() -> None:
    """At t = 1 the mean is that of all data, wherever z is; far out in the tails it stays finite and inside."""
    z = np.array([[0.0, 0.0], [3.0, -4.0]])
    assert BOARD.data_mean(z, 1.0) == pytest.approx(np.zeros((2, 2)), abs=1e-12)
    far = BOARD.data_mean(np.array([[30.0, 30.0], [-40.0, 0.0]]), 0.01)
    assert np.isfinite(far).all()
    assert (abs(far) <= 2).all()


def test_flow_misses_the_boxes() -> None:
    """Noise must flow into the boxes, and fill them evenly."""
    noise = np.random.default_rng(0).standard_normal((1500, 2))
    x = BOARD.jump(noise, 1.0, 0.0)
    inside = ((x[:, None] > BOARD.low - 5e-3) & (x[:, None] < BOARD.high + 5e-3)).all(-1)
    assert inside.any(1).mean() > 0.99
    assert inside.mean(0) == pytest.approx(np.full(8, 1 / 8), abs=0.035)


def test_corners_are_mixed_up() -> None:
    with pytest.raises(ValueError, match="low < high"):
        Boxes([[1.0]], [[0.0]])
