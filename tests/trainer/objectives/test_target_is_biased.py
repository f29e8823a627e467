"""With the truth for the network, a target must average to the truth, or training leads elsewhere."""

import pytest
import torch

from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.times import TwoTimes, Uniform
from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.expected_loss import flow_matching_loss, meanflow_loss

ROWS = 5000
TIMES = [(0.85, 0.2), (0.6, 0.1), (0.95, 0.9)]
PLACES = {1: [0.4], 2: [0.4, -0.6]}


@pytest.mark.parametrize(("t", "s"), TIMES)
def test_meanflow_target_at_one_place(truth, t, s, plug_in, pairs_through, fixed_times, ask, standard_errors) -> None:
    """E[target | z_t = z] = u(z, t, s)."""
    batch = pairs_through(truth, PLACES[truth.dim], t, ROWS)
    answer = ask(MeanFlow(times=fixed_times(t, s)), plug_in(truth), batch)
    assert standard_errors(answer.target, answer.prediction[0]) < 4
    assert not answer.target.requires_grad


@pytest.mark.parametrize("t", [0.2, 0.6, 0.95])
def test_flow_matching_target_at_one_place(truth, t, plug_in, pairs_through, always_at, ask, standard_errors) -> None:
    """E[target | z_t = z] = v(z, t)."""
    batch = pairs_through(truth, PLACES[truth.dim], t, ROWS)
    answer = ask(FlowMatching(t=always_at(t)), plug_in(truth), batch)
    assert standard_errors(answer.target, answer.prediction[0]) < 4
    torch.testing.assert_close(answer.prediction, truth.velocity(batch.at(torch.full((ROWS,), t)), t))


def test_meanflow_target_everywhere(truth, plug_in, pairs, ask, standard_errors) -> None:
    """Over all z, t and s, the error of the target is orthogonal to what a network could fit."""
    objective, batch = MeanFlow(times=TwoTimes(t=Uniform(), s=Uniform(), jumps=0.6)), pairs(truth, ROWS)
    answer = ask(objective, plug_in(truth), batch)
    draws = objective.draw(ROWS, torch.Generator().manual_seed(0), Moment(1, 1))
    z, t, s = batch.at(draws.t), draws.t[:, None], draws.s[:, None]
    error = answer.target - answer.prediction
    for against in (torch.ones_like(z), z, t * z, (t - s), (t - s) * z, torch.sin(3 * z)):
        assert standard_errors(error * against, 0.0) < 4


BROKEN = {
    "time term dropped": lambda exact, jvp: jvp(0.0, 0.0),
    "t and s swapped in the tangent": lambda exact, jvp: jvp(0.0, 1.0),
    "sign of t - s": lambda exact, jvp: -exact,
    "derivative dropped": lambda exact, jvp: 0 * exact,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_derivative_shows(
    truth, name, spoil_derivative, plug_in, pairs_through, fixed_times, ask, standard_errors
) -> None:
    """Negative control: with each classical mistake the same test is far off."""

    def broken(exact, u, z, t, s, condition, velocity):
        def jvp(along_t, along_s):
            tangent = (velocity, torch.full_like(t, along_t), torch.full_like(s, along_s))
            return torch.func.jvp(lambda z, t, s: u(z, t, s, *condition), (z, t, s), tangent)[1]

        return BROKEN[name](exact, jvp)

    spoil_derivative(broken)
    batch = pairs_through(truth, PLACES[truth.dim], 0.85, ROWS)
    answer = ask(MeanFlow(times=fixed_times(0.85, 0.2)), plug_in(truth), batch)
    assert standard_errors(answer.target, answer.prediction[0]) > 8


@pytest.mark.parametrize(("t", "s"), TIMES)
def test_meanflow_loss_at_the_truth(t, s, plug_in, pairs, fixed_times, ask, standard_errors) -> None:
    """The raw loss that remains is sigma_s^2 std^2 / sigma_t^4."""
    answer = ask(MeanFlow(times=fixed_times(t, s)), plug_in(Gaussian(0.7, 0.4)), pairs(Gaussian(0.7, 0.4), ROWS))
    squares = (answer.prediction - answer.target).square()
    assert standard_errors(squares, meanflow_loss(t, s, 0.4)) < 4
    assert standard_errors(squares, 1.2 * meanflow_loss(t, s, 0.4)) > 4
    assert answer.terms["loss/jump"].mean().item() == pytest.approx(squares.mean().item())


@pytest.mark.parametrize("t", [0.3, 0.85])
def test_flow_matching_loss_at_the_truth(t, plug_in, pairs, always_at, ask, standard_errors) -> None:
    """The raw loss that remains is std^2 / sigma_t^2 a dimension, and it is what is minimised."""
    plane = Gaussian([0.7, -0.2], 0.4)
    answer = ask(FlowMatching(t=always_at(t)), plug_in(plane), pairs(plane, ROWS))
    squares = (answer.prediction - answer.target).square().mean(1)
    assert standard_errors(squares, flow_matching_loss(t, 0.4)) < 4
    assert standard_errors(squares, 1.2 * flow_matching_loss(t, 0.4)) > 4
    assert answer.terms["loss/velocity"].mean().item() == pytest.approx(squares.mean().item())
    assert answer.losses().mean().item() == pytest.approx(squares.mean().item())


def test_meanflow_loss_at_the_truth_of_a_mixture(plug_in, pairs_through, fixed_times, ask, standard_errors) -> None:
    """At one z it is Var(x1 - x0 | z) times the squared slope of the jump, both known for a 1-D mixture."""
    data = GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5])
    for z, t, s in [(0.1, 0.8, 0.2), (-0.9, 0.6, 0.3), (0.5, 0.5, 0.4)]:
        at = torch.tensor([z]).numpy()
        expected = float(data.velocity_variance(at, t) * data.jump_slope(at, t, s)[0] ** 2)
        answer = ask(MeanFlow(times=fixed_times(t, s)), plug_in(data), pairs_through(data, [z], t, ROWS))
        squares = (answer.prediction - answer.target).square()
        assert standard_errors(squares, expected) < 4
        assert standard_errors(squares, 1.3 * expected) > 4


def test_rows_without_a_jump_regress_the_conditional_velocity(plug_in, pairs, fixed_times, ask) -> None:
    """In a mixed batch, exactly x1 - x0, whatever the rows with a jump get."""
    data = Gaussian(0.7, 0.4)
    batch = pairs(data, 100)
    answer = ask(MeanFlow(times=fixed_times(0.85, 0.2, jumps=0.3)), plug_in(data), batch)
    assert torch.equal(answer.target[30:], batch.velocity[30:])
    assert not torch.any(answer.target[:30] == batch.velocity[:30])
