"""Where an objective comes to rest, found without training, must be where its theory says.

For u linear in fixed features of (z, t, s), the target is affine in the coefficients, so the point where the
gradient vanishes is one linear solve, built from the objective's own answers to each feature. The target is affine
in x1 - x0 too, so a second batch, with the same z and x1 - x0 mirrored about its mean, removes the sampling noise.
"""

import pytest
import torch
from torch import Tensor

from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch
from trainer.objectives.parts.times import TwoTimes, Uniform
from trainer.oracle import Gaussian

DATA = Gaussian(0.7, 0.4)
ROWS, DEGREE = 5000, 7
POWERS = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
FEATURES = [(k, i, j) for k in (0, 1) for i, j in POWERS]


def feature(k: int, i: int, j: int):
    """z^k t^i s^j as an average velocity."""
    return lambda z, t, s, label: z**k * (t**i * s**j)[:, None]


def mirrored(objective, batch: Batch) -> Batch:
    """The batch with the same z at the times that `ask` will draw, and x1 - x0 mirrored about v(z, t)."""
    t = objective.draw(len(batch.x0), torch.Generator().manual_seed(0), Moment(1, 1)).t
    z = batch.at(t)
    velocity = 2 * DATA.velocity(z, t) - batch.velocity
    return batch._replace(x0=z - t[:, None] * velocity, x1=z + (1 - t)[:, None] * velocity)


def resting_jump(objective, batch: Batch, ask, features=FEATURES) -> tuple[float, float]:
    """Slope and offset of the jump 1 -> 0 at rest: E[prediction_i (prediction - target)] = 0 for each feature i."""
    batches = (batch, mirrored(objective, batch))

    def target(u) -> Tensor:
        return sum(ask(objective, u, each).target for each in batches) / 2

    origin = target(lambda z, t, s, label: 0 * z)
    values = torch.cat([ask(objective, feature(*powers), batch).prediction for powers in features], 1)
    pulls = values - torch.cat([target(feature(*powers)) - origin for powers in features], 1)
    solution = torch.linalg.lstsq(values.T @ pulls, values.T @ origin).solution[:, 0]
    # At (t, s) = (1, 0) only the features without s remain.
    u = [sum(float(c) for c, (k, _, j) in zip(solution, features) if (k, j) == (order, 0)) for order in (0, 1)]
    return 1 - u[1], -u[0]


@pytest.fixture
def meanflow() -> MeanFlow:
    return MeanFlow(times=TwoTimes(t=Uniform(), s=Uniform(), jumps=0.75), adaptive_power=0.0)


def test_meanflow_rests_at_the_exact_jump(meanflow, pairs, ask) -> None:
    slope, offset = resting_jump(meanflow, pairs(DATA, ROWS), ask)
    assert slope == pytest.approx(0.4, abs=0.004)
    assert offset == pytest.approx(0.7, abs=0.004)


def test_flow_matching_step_lands_on_the_mean(pairs, ask) -> None:
    """One Euler step of the exact velocity: slope 0, offset the mean."""
    without_s = [(k, i, 0) for k in (0, 1) for i in range(10)]
    slope, offset = resting_jump(FlowMatching(t=Uniform()), pairs(DATA, ROWS), ask, without_s)
    assert slope == pytest.approx(0.0, abs=0.004)
    assert offset == pytest.approx(0.7, abs=0.004)


@pytest.mark.parametrize("mistake", ["no time term", "t and s swapped", "sign", "no derivative"])
def test_broken_meanflow_rests_elsewhere(mistake, meanflow, pairs, ask, spoil_derivative) -> None:
    """Negative control. Without the derivative it is the claim that x1 - x0 is the truth for a whole jump."""

    def broken(exact, u, z, t, s, condition, velocity):
        if mistake in ("sign", "no derivative"):
            return (-1.0 if mistake == "sign" else 0.0) * exact
        along_s = torch.full_like(s, 0.0 if mistake == "no time term" else 1.0)
        tangent = (velocity, torch.zeros_like(t), along_s)
        return torch.func.jvp(lambda z, t, s: u(z, t, s, *condition), (z, t, s), tangent)[1]

    spoil_derivative(broken)
    slope, offset = resting_jump(meanflow, pairs(DATA, ROWS), ask)
    assert max(abs(slope - 0.4), abs(offset - 0.7)) > 0.05
