"""Consistency models of finite steps rest at the chain of steps of their grid, which is not the flow's own map.

For affine data the targets at one level are affine in z once those below are known. So the resting point is found
level by level, from the data up: fit the target of each interval, which asks the map only at the level below. The
target is affine in x1 - x0 too, so that a batch and its mirror image (the same z, x1 - x0 mirrored about its mean)
leave no sampling noise.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from trainer.objectives import consistency_distillation
from trainer.objectives.consistency_distillation import ConsistencyDistillation
from trainer.objectives.consistency_training import ConsistencyTraining
from trainer.objectives.ect import EasyConsistencyTuning
from trainer.objectives.ict import ImprovedConsistencyTraining
from trainer.objectives.parts import consistency
from trainer.objectives.parts.consistency import neighbours
from trainer.objectives.parts.coordinates import sigma_of
from trainer.objectives.parts.levels import Even, Karras
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch, Condition, Networks
from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.fixed_points import (
    consistency_training_slope,
    euler_slope,
    exact_slope,
    heun_slope,
    ve_consistency_slope,
    ve_rate,
)
from trainer.oracle.gaussian import log_growth

DATA = Gaussian(0.7, 0.4)
ROWS = 8
MOMENT = Moment(100, 100)


def teacher(z: Tensor, t: Tensor, label: Tensor) -> Tensor:
    return DATA.velocity(z, t)


class Table:
    """An affine jump to the data at each level of a grid, known from the lowest up: u = slope z + offset."""

    def __init__(self, times: Tensor) -> None:
        self.times = times
        self.slope, self.offset = torch.zeros_like(times), torch.zeros_like(times)

    def __call__(self, z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        level = torch.searchsorted(self.times, t - 1e-12)
        return self.slope[level][:, None] * z + self.offset[level][:, None]


def resting(objective, times: Tensor, pairs) -> Table:
    """The map that the objective leaves as it is, on a grid of rising times."""
    u, batch = Table(times), pairs(DATA, ROWS)
    for interval in range(len(times) - 1):
        draws = neighbours(times, torch.full((ROWS,), interval))
        z, t = batch.at(draws.t), draws.t[:, None]
        velocity = 2 * DATA.velocity(z, draws.t) - batch.velocity
        mirrored = Batch(z - t * velocity, z + (1 - t) * velocity, batch.condition, batch.dropped)
        networks = Networks(u, u, 0, teacher=teacher)
        target = sum(objective(networks, each, draws, MOMENT).target for each in (batch, mirrored)) / 2
        fit = torch.linalg.lstsq(torch.cat([z, torch.ones_like(z)], 1), target).solution
        u.slope[interval + 1], u.offset[interval + 1] = fit[:, 0]
    return u


def slope_at_the_top(objective, times: Tensor, pairs) -> float:
    """Of the jump from the highest level, in EDM's coordinates where that level is not 1."""
    u = resting(objective, times, pairs)
    t = times[-1]
    return float((1 - t * u.slope[-1]) * (1 - t if t < 1 else 1))


def levels_below(objective: EasyConsistencyTuning, stage: int) -> Tensor:
    """The grid that ECT's mapping makes on its way down from sigma_max; below sigma = 0.001 it goes on for ever."""
    times = [torch.tensor([objective.t_max])]
    while times[-1] > 1e-3:
        times.append(objective.lower(times[-1], stage))
    return torch.cat([torch.zeros(1), *times[-2::-1]])


@pytest.mark.parametrize("objective", [ConsistencyTraining(), ImprovedConsistencyTraining()], ids=["ct", "ict"])
@pytest.mark.parametrize(("count", "slope"), [(11, 0.003733), (18, 0.004208), (151, 0.004903), (1281, 0.004989)])
def test_training_rests_at_other_steps(objective, count: int, slope: float, pairs) -> None:
    """Euler's, down EDM's levels; the flow's own slope is .005000."""
    found = slope_at_the_top(objective, Karras().times(count), pairs)
    assert found == pytest.approx(slope, abs=1.5e-6)
    # To all digits it is the chain that ends at 0 instead of sigma_min.
    sigmas = np.append(Karras().sigmas(count)[1:].numpy()[::-1], 0.0)
    assert found == pytest.approx(euler_slope(sigmas, partial(ve_rate, std=0.4)), rel=1e-7)
    assert found == pytest.approx(ve_consistency_slope(count, 0.4), rel=5e-4)


@pytest.mark.parametrize(("intervals", "slope"), [(64, 0.3899), (256, 0.3974)])
def test_training_on_even_levels_rests_at_other_steps(intervals: int, slope: float, pairs) -> None:
    found = slope_at_the_top(ConsistencyTraining(levels=Even()), Even().times(intervals + 1), pairs)
    assert found == pytest.approx(slope, abs=5e-5)
    assert found == pytest.approx(consistency_training_slope(intervals, 0.4), rel=1e-9)
    assert exact_slope(1.0, 0.0, 0.4) - found > 1e-3


@pytest.mark.parametrize("stage", [2, 5])
def test_tuning_rests_at_other_steps(stage: int, pairs) -> None:
    objective = EasyConsistencyTuning()
    times = levels_below(objective, stage)
    found = slope_at_the_top(objective, times, pairs)
    assert found == pytest.approx(euler_slope(sigma_of(times).numpy()[::-1], partial(ve_rate, std=0.4)), rel=1e-7)
    assert found < 0.005 * (0.99 if stage == 2 else 1)


@pytest.mark.parametrize(("count", "share"), [(18, 0.4), (40, 0.2), (80, 0.1)])
def test_distillation_rests_at_other_steps(count: int, share: float, pairs) -> None:
    """Heun's, whose error is a share of that of Euler's, the smaller the finer the grid."""
    found = slope_at_the_top(ConsistencyDistillation(), Karras().times(count), pairs)
    sigmas = np.append(Karras().sigmas(count)[1:].numpy()[::-1], 0.0)
    assert found == pytest.approx(heun_slope(sigmas, partial(ve_rate, std=0.4)), rel=1e-7)
    assert found == pytest.approx(ve_consistency_slope(count, 0.4, "heun"), rel=5e-3)
    assert abs(found - 0.005) < share * abs(ve_consistency_slope(count, 0.4) - 0.005)


@pytest.mark.parametrize("intervals", [8, 32])
def test_distillation_on_even_levels_rests_at_other_steps(intervals: int, pairs) -> None:
    found = slope_at_the_top(ConsistencyDistillation(levels=Even()), Even().times(intervals + 1), pairs)
    expected = heun_slope(np.linspace(1, 0, intervals + 1), partial(log_growth, std=0.4))
    assert found == pytest.approx(expected, rel=1e-9)
    assert abs(found - 0.4) < 0.2 * abs(consistency_training_slope(intervals, 0.4) - 0.4)


@pytest.mark.parametrize("mistake", ["shares of the legs", "level below asked at t", "first leg too long"])
def test_broken_target_rests_there_too(mistake: str, pairs, monkeypatch) -> None:
    """Negative control."""
    exact = consistency.two_legs

    def broken(u, z, t, m, s, w, condition):
        if mistake == "shares of the legs":
            return exact(u, z, t, m, s, w, condition) + (1 - 2 * m / t)[:, None] * (
                u(z - (t - m)[:, None] * w, m, s, *condition) - w
            )
        if mistake == "level below asked at t":
            return exact(lambda z, m, s, label: u(z, t, s, label), z, t, m, s, w, condition)
        return exact(lambda z_m, m, s, label: u(z_m - (t - m)[:, None] * w, m, s, label), z, t, m, s, w, condition)

    monkeypatch.setattr(consistency, "two_legs", broken)
    found = slope_at_the_top(ConsistencyTraining(), Karras().times(18), pairs)
    assert abs(found / 0.004208 - 1) > 0.02


def test_solver_in_other_coordinates_rests_there_too(pairs, monkeypatch) -> None:
    """Negative control: Heun's step of the linear path is another than that of EDM's levels."""
    expected = slope_at_the_top(ConsistencyDistillation(), Karras().times(18), pairs)
    monkeypatch.setattr(consistency_distillation, "heun_of_noise", consistency_distillation.heun)
    assert abs(slope_at_the_top(ConsistencyDistillation(), Karras().times(18), pairs) / expected - 1) > 1e-3


OBJECTIVES = {
    "cd": ConsistencyDistillation(),
    "ct": ConsistencyTraining(),
    "ict": ImprovedConsistencyTraining(),
    "ect": EasyConsistencyTuning(),
}


def pulls(name: str, pairs, broken=None) -> list[float]:
    """Of the gradient at one level where the map rests but for a bump there: above 0 if it shrinks the bump, of either
    sign. The losses of iCT and ECT pull to a median, which is the mean here.
    """
    objective = OBJECTIVES[name]
    times = levels_below(objective, 2) if isinstance(objective, EasyConsistencyTuning) else Karras().times(18)
    at_rest = resting(objective, times, pairs)
    batch, level = pairs(DATA, 4000), len(times) // 2
    draws = neighbours(times, torch.full((4000,), level - 1))

    def bump(z: Tensor) -> Tensor:
        return torch.sin(3 * z)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        if broken is not None:
            patch.setattr(consistency, "two_legs", broken)
        for sign in (1.0, -1.0):

            def u(z, t, s, label, sign=sign):
                return at_rest(z, t, s, label) + sign * 0.3 * bump(z) * (t == times[level])[:, None]

            answer = objective(Networks(u, u, 0, teacher=teacher), batch, draws, MOMENT)
            error = answer.prediction - answer.target
            found.append(sign * float((answer.weight[:, None] * error * bump(batch.at(draws.t))).mean()))
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
def test_perturbation_is_not_pushed_back(name: str, pairs) -> None:
    """The gradient points against the bump."""
    assert min(pulls(name, pairs)) > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_broken_target_pushes_back_too(name: str, pairs) -> None:
    """Negative control: with the sign of what is left of the identity turned, the gradient points along the bump."""
    exact = consistency.two_legs

    def mirrored(u, z, t, m, s, w, condition):
        return 2 * u(z, t, s, *condition) - exact(u, z, t, m, s, w, condition)

    assert max(pulls(name, pairs, mirrored)) < 0


def error_on_a_mixture(count: int) -> float:
    """RMS error at the highest level of the map that consistency training leaves as it is, by quadrature.

    Its target at one z is an integral over the posterior of x0, a mixture of normal laws, of the map one level below.
    """
    data = GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5])
    weight, mean, std = np.array([0.3, 0.7]), np.array([-1.5, 1.0]), np.array([0.3, 0.5])
    nodes, share = np.polynomial.hermite_e.hermegauss(12)
    times, z = Even().times(count), np.linspace(-5, 5, 201)
    known = {0.0: z * 0}  # u of each level at the places z; that at 0 has no share in any target

    def u(points, t, s, label):
        return torch.from_numpy(CubicSpline(z, known.get(float(t[0]), known[0.0]))(points.numpy()))

    for interval in range(count - 1):
        t = float(times[interval + 1])
        variance = (1 - t) ** 2 * std**2 + t**2
        apart = z[:, None] - (1 - t) * mean
        likelihood = weight * np.exp(-(apart**2) / (2 * variance)) / np.sqrt(variance)
        posterior = likelihood / likelihood.sum(1, keepdims=True)
        centre, spread = mean + (1 - t) * std**2 / variance * apart, std * t / np.sqrt(variance)
        x0 = centre[:, :, None] + spread[:, None] * nodes
        x1 = (z[:, None, None] - (1 - t) * x0) / t
        rows = x0.size
        batch = Batch(
            torch.from_numpy(x0.reshape(-1, 1)),
            torch.from_numpy(x1.reshape(-1, 1)),
            Condition(torch.zeros(rows, dtype=torch.long)),
            torch.zeros(rows, dtype=torch.bool),
        )
        draws = neighbours(times, torch.full((rows,), interval))
        target = ConsistencyTraining(levels=Even())(Networks(u, u, 0), batch, draws, MOMENT).target
        inner = (target.numpy().reshape(x0.shape) * share / share.sum()).sum(2)
        known[t] = (inner * posterior).sum(1)
    inside = np.abs(z) < 2.5
    error = (z - known[1.0]) - data.jump(z[:, None], 1.0, 0.0)[:, 0]
    density = np.exp(-(z[inside] ** 2) / 2)
    return float(np.sqrt((error[inside] ** 2 * density).sum() / density.sum()))


def test_finer_grid_is_no_nearer_on_a_mixture() -> None:
    errors = [error_on_a_mixture(count) for count in (5, 17, 65)]
    assert errors[0] > 1.5 * errors[1]
    assert errors[1] > 1.5 * errors[2]
    assert errors[2] > 0.02
