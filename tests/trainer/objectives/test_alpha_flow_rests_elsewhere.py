"""alpha-Flow must rest where its chain of Euler steps leads, not at the truth, and become MeanFlow as alpha falls.

At one alpha on N(m, std^2 I) the resting jump has the slope P(t, s) = (1 - (t - m) a_t) P(m, s), m = alpha s +
(1 - alpha) t, whatever the offset: `trainer.oracle.fixed_points.alpha_flow_slope`.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.build import MLPArchitecture, UNetArchitecture, build
from trainer.objectives.alpha_flow import AlphaFlow
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts import tangent
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch, Condition, Networks
from trainer.objectives.parts.times import LogitNormal, TwoTimes, Uniform
from trainer.objectives.shortcut import Shortcut
from trainer.oracle import Gaussian
from trainer.oracle.expected_loss import flow_matching_loss
from trainer.oracle.fixed_points import alpha_flow_slope

DATA = Gaussian(0.7, 0.4)
ROWS = 4000
SLOPES = {0.5: 0.3005, 0.1: 0.3832, 0.01: 0.3984, 0.005: 0.3992}
"""Of the jump from 1 to 0, by alpha; the truth's is 0.4."""


def resting(alpha: float):
    """The average velocity at rest, for rows that all have the same times."""

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor | None = None) -> Tensor:
        at, to = t[0].item(), s[0].item()
        if at == to:
            return DATA.velocity(z, t)
        slope = alpha_flow_slope(alpha, 0.4, at, to)
        jumped = (1 - to) * 0.7 + slope * (z - (1 - at) * 0.7)
        return (z - jumped) / (at - to)

    return u


def certain(data: Gaussian, count: int, t: float) -> Batch:
    """Pairs whose x1 - x0 is the marginal velocity at their z_t: no noise is left in a target."""
    z = torch.from_numpy(np.random.default_rng(0).normal(0.3, 1.0, (count, 1)))
    velocity = data.velocity(z, torch.full((count,), t))
    flags = torch.zeros(count, dtype=torch.bool)
    return Batch(z - t * velocity, z + (1 - t) * velocity, Condition(flags.long()), flags)


@pytest.mark.parametrize("alpha", SLOPES)
def test_jump_at_rest_has_another_slope(alpha: float) -> None:
    u = resting(alpha)
    ends = [float(z - u(torch.tensor([[z]]), torch.ones(1), torch.zeros(1))) for z in (0.0, 1.0)]
    assert ends[1] - ends[0] == pytest.approx(SLOPES[alpha], abs=5e-5)
    assert ends[0] == pytest.approx(0.7)


@pytest.mark.parametrize(("t", "s"), [(0.999, 0.001), (0.85, 0.2), (0.6, 0.5)])
@pytest.mark.parametrize("alpha", SLOPES)
def test_target_at_rest(alpha, t, s, fixed_times, ask, plug_in) -> None:
    """Of pairs without noise it is the prediction itself, to rounding; with the truth (control) it is not."""
    batch, objective = certain(DATA, 50, t), AlphaFlow(alpha=alpha, times=fixed_times(t, s, jumps=1.0))
    answer = ask(objective, resting(alpha), batch)
    torch.testing.assert_close(answer.target, answer.prediction, atol=1e-10, rtol=1e-10)
    truth = ask(objective, plug_in(DATA), batch)
    assert ((truth.target - truth.prediction).abs().max() / alpha) > 1e-3 * alpha


@pytest.mark.parametrize("alpha", [0.5, 0.1])
def test_target_at_rest_averages_to_it(alpha, pairs_through, fixed_times, ask, standard_errors, plug_in) -> None:
    """With their noise too: at one z, over the pairs that lead through it."""
    batch = pairs_through(DATA, [0.4], 0.85, 40_000)
    objective = AlphaFlow(alpha=alpha, times=fixed_times(0.85, 0.2))
    answer = ask(objective, resting(alpha), batch)
    assert standard_errors(answer.target, answer.prediction[0]) < 4
    assert not answer.target.requires_grad
    if alpha == 0.5:
        truth = ask(objective, plug_in(DATA), batch)
        assert standard_errors(truth.target, truth.prediction[0]) > 8


POWERS = [(k, i, j) for k in (0, 1) for i in range(8) for j in range(8 - i)]


def feature(k: int, i: int, j: int):
    """z^k t^i s^j as an average velocity."""
    return lambda z, t, s, label: z**k * (t**i * s**j)[:, None]


def resting_jump(objective: AlphaFlow, batch: Batch, ask) -> tuple[float, float]:
    """Slope and offset of the jump 1 -> 0 where E[prediction_i (prediction - target)] = 0 for each feature i.

    The target is affine in u and in x1 - x0; the latter's mirror image about its mean removes the noise of sampling.
    """
    t = objective.draw(len(batch.x0), torch.Generator().manual_seed(0), Moment(1, 1)).t
    z = batch.at(t)
    velocity = 2 * DATA.velocity(z, t) - batch.velocity
    mirror = batch._replace(x0=z - t[:, None] * velocity, x1=z + (1 - t)[:, None] * velocity)

    def target(u) -> Tensor:
        return sum(ask(objective, u, each).target for each in (batch, mirror)) / 2

    origin = target(lambda z, t, s, label: 0 * z)
    values = torch.cat([ask(objective, feature(*powers), batch).prediction for powers in POWERS], 1)
    pulls = values - torch.cat([target(feature(*powers)) - origin for powers in POWERS], 1)
    solution = torch.linalg.lstsq(values.T @ pulls, values.T @ origin).solution[:, 0]
    u = [sum(float(c) for c, (k, _, j) in zip(solution, POWERS) if (k, j) == (order, 0)) for order in (0, 1)]
    return 1 - u[1], -u[0]


@pytest.mark.parametrize("alpha", [0.5, 0.1])
def test_linear_features_rest_there(alpha, pairs, ask) -> None:
    """Found from the pulls alone, without knowing where; neither alpha rests at the truth."""
    times = TwoTimes(t=Uniform(), s=Uniform(), jumps=0.75)
    slope, offset = resting_jump(AlphaFlow(alpha=alpha, times=times, adaptive_power=0.0), pairs(DATA, ROWS), ask)
    assert slope == pytest.approx(SLOPES[alpha], abs=0.005)
    assert offset == pytest.approx(0.7, abs=0.005)
    assert abs(slope - 0.4) > 0.01


def test_data_is_no_truth_for_a_jump(pairs, ask) -> None:
    """alpha = 1 regresses u(z, t, s) on x1 - x0, as if z_t - z_s were (t - s)(x1 - x0) on the marginal flow too.

    It learns the mean of x1 - x0 instead: u(z1, 1, 0) has the slope 1 in z1, not 1 - std = 0.6, and the jump is blur,
    the mean of the data whatever the noise.
    """
    times = TwoTimes(t=Uniform(), s=Uniform(), jumps=0.75)
    slope, offset = resting_jump(AlphaFlow(alpha=1.0, times=times, adaptive_power=0.0), pairs(DATA, ROWS), ask)
    assert 1 - slope == pytest.approx(1.0, abs=0.005)
    assert offset == pytest.approx(0.7, abs=0.005)


def test_straight_paths_are_not_data(pairs, fixed_times, ask, standard_errors) -> None:
    """Trajectory flow matching, alpha = 1: the target of every row is x1 - x0 itself, and u is asked once for each."""
    batch, asked = pairs(DATA, ROWS), []

    def u(z, t, s, label):
        asked.append(len(z))
        return DATA.velocity(z, t)

    answer = ask(AlphaFlow(alpha=1.0, times=fixed_times(0.85, 0.2, jumps=0.5)), u, batch)
    assert torch.equal(answer.target, batch.velocity)
    assert asked == [ROWS // 2, ROWS // 2]
    assert standard_errors((answer.prediction - answer.target).square(), flow_matching_loss(0.85, 0.4)) < 4


def test_half_way_is_not_shortcut(plug_in) -> None:
    """alpha = 1/2 with the network's own half step for the first leg: the mean of two half steps, Shortcut's target."""
    u, z = plug_in(DATA), torch.linspace(-2, 2, 30)[:, None]
    t, m, s = (torch.full((30,), time) for time in (0.85, 0.525, 0.2))
    own = u(z, t, m, None)
    own_pairs = Batch(z - 0.85 * own, z + 0.15 * own, Condition(torch.zeros(30).long()), torch.zeros(30).bool())
    objective = AlphaFlow(alpha=0.5, times=TwoTimes(jumps=1.0))
    draws = objective.draw(30, torch.Generator().manual_seed(0), Moment(1, 1))
    answer = objective(Networks(u, u, 0), own_pairs, type(draws)(t, s, 30), Moment(1, 1))
    torch.testing.assert_close(answer.target, Shortcut(clip=None).two_halves(u, z, t, s, own_pairs.condition))
    # With an exact first leg the truth is at rest: the semigroup identity.
    torch.testing.assert_close(answer.target, u(z, t, s, None), atol=1e-9, rtol=1e-9)


@pytest.fixture
def network():
    torch.manual_seed(0)
    flow_map = build(MLPArchitecture(width=16, depth=1, parametrisation="edm"), (2,), labels=2, span="any").double()
    for parameter in flow_map.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    label = torch.randint(0, 3, (16,))
    return flow_map, Batch(torch.randn(16, 2), torch.randn(16, 2), Condition(label), label == 2)


def gradient(objective, network, ask) -> Tensor:
    flow_map, batch = network
    flow_map.zero_grad()
    ask(objective, flow_map, batch, null_label=2).losses().mean().backward()
    return torch.cat([weight.grad.flatten() for weight in flow_map.parameters() if weight.grad is not None])


@pytest.mark.parametrize("jumps", [0.5, 1.0])
def test_limit_is_not_meanflow(network, jumps, ask) -> None:
    """As alpha falls, the gradient of the squared error over alpha goes to MeanFlow's, as fast as alpha."""
    times = TwoTimes(t=Uniform(), s=Uniform(), jumps=jumps)
    meanflow = gradient(MeanFlow(times=times, adaptive_power=0.0), network, ask)

    def error(alpha: float) -> float:
        # At p = 0 its weight divides by alpha; it takes the mean over the two dimensions, MeanFlow the sum.
        ours = 2 * gradient(AlphaFlow(times=times, alpha=alpha, adaptive_power=0.0), network, ask)
        return float((ours - meanflow).norm() / meanflow.norm())

    assert error(0.0) < 1e-12
    errors = [error(alpha) for alpha in (0.5, 1e-2, 1e-4, 1e-6)]
    assert errors[0] > 0.05
    assert errors[2] < 0.02 * errors[1]
    assert errors[3] < 1e-5


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_no_jump_is_not_flow_matching(network, alpha, ask) -> None:
    """With s = t everywhere it has flow matching's gradient, bit for bit."""
    law = LogitNormal(mean=-0.4)
    objective = AlphaFlow(alpha=alpha, times=TwoTimes(t=law, order="min", jumps=0.0), adaptive_power=0.0)
    assert torch.equal(gradient(objective, network, ask), gradient(FlowMatching(t=law), network, ask))


@pytest.mark.parametrize("alpha", [0.5, 0.1])
@pytest.mark.parametrize("size", [0.3, -0.3])
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_gradient_points_away(alpha, size, power, pairs, fixed_times, ask) -> None:
    """Pushed off its rest, (t - s)^2 or an offset, it is pushed back."""
    objective = AlphaFlow(alpha=alpha, times=fixed_times(0.9, 0.1), adaptive_power=power)
    batch, u = pairs(DATA, ROWS), resting(alpha)
    for bump in (lambda z, t, s: ((t - s) ** 2)[:, None] + 0 * z, lambda z, t, s: torch.ones_like(z)):
        parameter = torch.tensor(size, requires_grad=True)
        pushed = lambda z, t, s, label: u(z, t, s) + parameter * bump(z, t, s)  # noqa: B023, E731
        ask(objective, pushed, batch).losses().mean().backward()
        assert parameter.grad.item() * size > 0


@pytest.mark.parametrize("alpha", [0.0, 0.02, 1.0])
def test_derivative_is_taken_in_vain(network, alpha, ask, monkeypatch) -> None:
    """Only at alpha = 0, and of the jumps only."""
    rows: list[int] = []
    exact = tangent.value_and_derivative
    monkeypatch.setattr(tangent, "value_and_derivative", lambda u, z, *more: rows.append(len(z)) or exact(u, z, *more))
    gradient(AlphaFlow(alpha=alpha, times=TwoTimes(jumps=0.25)), network, ask)
    assert rows == ([4] if alpha == 0 else [])


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_weight_is_another(network, alpha, ask) -> None:
    """alpha / (mean square + c) for the jumps, 1 / (mean square + c) for the others, of a mean over dimensions."""
    flow_map, batch = network
    answer = ask(AlphaFlow(alpha=alpha, times=TwoTimes(jumps=0.5)), flow_map, batch, null_label=2)
    mean = (answer.prediction - answer.target).detach().square().mean(1)
    factor = torch.tensor([alpha or 1.0] * 8 + [1.0] * 8)
    torch.testing.assert_close(answer.losses(), factor * mean / (mean + 1e-3))
    assert answer.terms["alpha"].tolist() == [alpha] * 16


def test_clip_reaches_data(network, ask) -> None:
    """It bounds what two legs make, and neither the rows with s = t nor MeanFlow's target."""
    flow_map, batch = network
    for alpha in (0.3, 1.0):
        free, clipped = (
            ask(AlphaFlow(alpha=alpha, clip=clip, times=TwoTimes(jumps=0.5)), flow_map, batch, null_label=2).target
            for clip in (None, 0.4)
        )
        assert torch.equal(clipped[:8], free[:8].clamp(-0.4, 0.4))
        assert torch.equal(clipped[8:], batch.velocity[8:])
        assert free[:8].abs().max() > 0.4
    limit = ask(AlphaFlow(alpha=0.0, clip=0.4, times=TwoTimes(jumps=0.5)), flow_map, batch, null_label=2).target
    assert limit[:8].abs().max() > 0.4


def test_masks_of_dropout_differ() -> None:
    """At a small alpha the difference of both evaluations is small, or their masks are not the same."""
    torch.manual_seed(0)
    architecture = UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, head_width=8, dropout=0.3)
    flow_map = build(architecture, (1, 4, 4), labels=2, span="any").double()
    for weight in flow_map.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    batch = Batch(*torch.randn(2, 4, 1, 4, 4), Condition(torch.zeros(4).long()), torch.zeros(4).bool())
    objective = AlphaFlow(alpha=1e-6, times=TwoTimes(jumps=1.0))
    draws = objective.draw(4, torch.Generator().manual_seed(0), Moment(1, 1))
    for dropout, most in ((True, 1e-3), (False, float("inf"))):
        answer = objective(Networks(flow_map, flow_map, 2, dropout), batch, draws, Moment(1, 1))
        error = (answer.prediction - answer.target).abs().max()
        assert error < most
        assert dropout or error > 0.01  # control: told that there is no dropout, they differ


def test_targets_are_made_with_averaged_weights() -> None:
    with pytest.raises(ValueError, match=r"target_ema is 0.99, but its target is made with the weights themselves"):
        AlphaFlow(target_ema=0.99)
