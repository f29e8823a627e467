"""Pushed off the truth, the gradient must push back: a wrong sign would drive training apart."""

import pytest
import torch

from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.times import TwoTimes, Uniform

ROWS = 5000

BUMPS = {
    "offset": lambda z, t, s: torch.ones_like(z),
    "slope": lambda z, t, s: z,
    # Grows along the flow as fast as it can: with the sign of t - s flipped the gradient turns round.
    "span": lambda z, t, s: ((t - s) ** 2)[:, None] * torch.ones_like(z),
}


def push(u, bump, size):
    """u := truth + size * bump, and the size as the one parameter to differentiate."""
    size = torch.tensor(size, requires_grad=True)
    return (lambda z, t, s, label: u(z, t, s, label) + size * bump(z, t, s)), size


def gradient(objective, u, bump, size, batch, ask):
    pushed, parameter = push(u, bump, size)
    ask(objective, pushed, batch).losses().mean().backward()
    return parameter.grad.item()


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("name", BUMPS)
def test_meanflow(truth, name, power, plug_in, pairs, ask) -> None:
    objective = MeanFlow(times=TwoTimes(t=Uniform(), s=Uniform(), jumps=1.0), adaptive_power=power)
    batch, u = pairs(truth, ROWS), plug_in(truth)
    for size in (0.5, -0.5):
        assert gradient(objective, u, BUMPS[name], size, batch, ask) * size > 0


@pytest.mark.parametrize("name", ["offset", "slope"])
def test_flow_matching(truth, name, plug_in, pairs, ask) -> None:
    batch, u = pairs(truth, ROWS), plug_in(truth)
    for size in (0.3, -0.3):
        assert gradient(FlowMatching(t=Uniform()), u, BUMPS[name], size, batch, ask) * size > 0


def test_meanflow_gradient_has_the_right_size(truth, plug_in, pairs, fixed_times, ask) -> None:
    """With power 0 it is 2 size E[b (b + (t-s) db/dt)]: for b = (t-s)^2, 2 size 3 (t-s)^4 a dimension."""
    objective = MeanFlow(times=fixed_times(0.9, 0.1), adaptive_power=0.0)
    batch, u = pairs(truth, ROWS), plug_in(truth)
    both = [gradient(objective, u, BUMPS["span"], size, batch, ask) for size in (0.5, -0.5)]
    assert both[0] - both[1] == pytest.approx(2 * 3 * 0.8**4 * truth.dim, rel=1e-6)


def test_no_push_no_gradient(truth, plug_in, pairs, fixed_times, ask) -> None:
    objective = MeanFlow(times=fixed_times(0.9, 0.1), adaptive_power=0.0)
    at_truth, pushed = (
        gradient(objective, plug_in(truth), BUMPS["offset"], size, pairs(truth, ROWS), ask) for size in (0.0, 0.5)
    )
    assert abs(at_truth) < 0.15 * pushed


@pytest.mark.parametrize("mistake", ["sign of t - s", "t and s swapped in the tangent"])
def test_broken_derivative_points_away(truth, mistake, spoil_derivative, plug_in, pairs, fixed_times, ask) -> None:
    """Negative control: with either mistake the gradient pushes further off."""

    def broken(exact, u, z, t, s, condition, velocity):
        if mistake == "sign of t - s":
            return -exact
        tangent = (velocity, torch.zeros_like(t), torch.ones_like(s))
        with torch.no_grad():
            return torch.func.jvp(lambda z, t, s: u(z, t, s, *condition), (z, t, s), tangent)[1]

    spoil_derivative(broken)
    objective = MeanFlow(times=fixed_times(0.9, 0.1), adaptive_power=0.0)
    batch, u = pairs(truth, ROWS), plug_in(truth)
    both = [gradient(objective, u, BUMPS["span"], size, batch, ask) for size in (0.5, -0.5)]
    assert both[0] - both[1] < 0
