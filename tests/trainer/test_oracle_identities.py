"""The average velocity must satisfy the Eulerian, the Lagrangian and the semigroup identity (to 1e-8).

Each test has broken twins that must be far off, so that none passes by being blind.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.oracle import Gaussian, GaussianMixture

TRUTHS = {
    "gaussian": Gaussian(0.7, 0.4),
    "full-covariance": Gaussian.full([0.7, -0.3, 0.1], [[0.5, 0.3, 0.0], [0.3, 0.4, -0.1], [0.0, -0.1, 0.2]]),
    "mixture": GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5]),
    "mixture-in-the-plane": GaussianMixture([0.2, 0.5, 0.3], [[-1.0, 0.0], [0.6, 0.8], [0.5, -1.0]], [0.4, 0.3, 0.5]),
}


@pytest.fixture(params=TRUTHS)
def truth(request: pytest.FixtureRequest) -> Gaussian | GaussianMixture:
    return TRUTHS[request.param]


def points(dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z [6, dim] and times t > m > s [6]."""
    t = torch.tensor([1.0, 1.0, 0.85, 0.7, 0.5, 0.3], dtype=torch.float64)
    s = torch.tensor([0.0, 0.4, 0.2, 0.3, 0.1, 0.05], dtype=torch.float64)
    m = s + torch.tensor([0.5, 0.2, 0.9, 0.5, 0.3, 0.7], dtype=torch.float64) * (t - s)
    z = torch.from_numpy(np.random.default_rng(3).standard_normal((6, dim)))
    return z, t, m, s


def total_derivative(u: Callable, z: Tensor, t: Tensor, s: Tensor, tangent: tuple[Tensor, ...]) -> Tensor:
    return torch.func.jvp(u, (z, t, s), tangent)[1]


def test_eulerian_identity(truth) -> None:
    data, u = truth, truth.average_velocity
    z, t, _, s = points(data.dim)
    v, one, zero, way = data.velocity(z, t), torch.ones_like(t), torch.zeros_like(t), (t - s)[:, None]
    derivative = total_derivative(u, z, t, s, (v, one, zero))
    average = u(z, t, s)
    assert (average - (v - way * derivative)).abs().max() < 1e-8

    no_time = total_derivative(u, z, t, s, (v, zero, zero))
    swapped = total_derivative(u, z, t, s, (v, zero, one))
    broken = {
        "no time term": v - way * no_time,
        "t and s swapped in the tangent": v - way * swapped,
        "sign of t - s": v + way * derivative,
        "no derivative": v,
    }
    for name, target in broken.items():
        assert (average - target).abs().max() > 1e-2, name


def test_lagrangian_identity(truth) -> None:
    data, u = truth, truth.average_velocity
    z, t, _, s = points(data.dim)
    one, zero, way = torch.ones_like(t), torch.zeros_like(t), (t - s)[:, None]
    average = u(z, t, s)
    landed = z - way * average
    derivative = total_derivative(u, z, t, s, (torch.zeros_like(z), zero, one))
    assert (average - (data.velocity(landed, s) + way * derivative)).abs().max() < 1e-8

    broken = {
        "velocity at the start": data.velocity(z, s) + way * derivative,
        "velocity at the wrong time": data.velocity(landed, t) + way * derivative,
        "sign of t - s": data.velocity(landed, s) - way * derivative,
        "no derivative": data.velocity(landed, s),
    }
    for name, target in broken.items():
        assert (average - target).abs().max() > 1e-2, name


def test_semigroup_identity(truth) -> None:
    data, u = truth, truth.average_velocity
    z, t, m, s = points(data.dim)
    first, second = (t - m)[:, None], (m - s)[:, None]
    whole, start = (t - s)[:, None] * u(z, t, s), u(z, t, m)
    between = z - first * start
    end = u(between, m, s)
    assert (whole - (first * start + second * end)).abs().max() < 1e-8

    broken = {
        "second leg from the start": first * start + second * u(z, m, s),
        "legs weighted alike": (t - s)[:, None] / 2 * (start + end),
        "first leg at the velocity": first * data.velocity(z, t) + second * end,
    }
    for name, chained in broken.items():
        assert (whole - chained).abs().max() > 1e-3, name


def test_velocity_is_the_average_over_no_time(truth) -> None:
    data, u = truth, truth.average_velocity
    z, t, _, _ = points(data.dim)
    assert (u(z, t, t) - data.velocity(z, t)).abs().max() < 1e-13


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_jacobian_of_the_jump(name: str) -> None:
    """dz_s/dz = 1 - (t-s) du/dz is sigma_s / sigma_t for a Gaussian, for a mixture the ratio of densities."""
    data, u = TRUTHS[name], TRUTHS[name].average_velocity
    z, t, _, s = points(1)
    zero = torch.zeros_like(t)
    slope = 1 - (t - s)[:, None] * total_derivative(u, z, t, s, (torch.ones_like(z), zero, zero))
    if isinstance(data, GaussianMixture):
        expected = data.jump_slope(z.numpy(), t.numpy(), s.numpy())
    else:
        expected = data.jump(z.numpy() + 1, t.numpy(), s.numpy()) - data.jump(z.numpy(), t.numpy(), s.numpy())
    np.testing.assert_allclose(slope.numpy(), expected, atol=1e-7)
