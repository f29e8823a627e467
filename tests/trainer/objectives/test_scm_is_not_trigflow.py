"""sCM is written in the linear path's coordinates here; the paper's own, TrigFlow's, must give the same tangent.

TrigFlow: x_tau = cos tau x0 + sin tau sigma_d x1, and a network F with f = cos tau x - sin tau sigma_d F.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.build import MLPArchitecture, build
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.normalised_tangent import NormalisedTangent
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.scm import ContinuousConsistency
from trainer.objectives.parts.target import Batch, Target
from trainer.objectives.parts.times import LogitNormal
from trainer.objectives.scd import ContinuousConsistencyDistillation
from trainer.objectives.sct import ContinuousConsistencyTraining
from trainer.oracle import Gaussian, GaussianMixture

ROWS = 64
DATA = GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5])
PLAIN = {"warmup_steps": 100, "constant": None}


def trigflow(u: Callable, sigma_d: float) -> Callable[[Tensor, Tensor], Tensor]:
    """F(x / sigma_d, tau) of the jump from the same place to the data."""

    def network(scaled: Tensor, tau: Tensor) -> Tensor:
        sigma = sigma_d * torch.tan(tau)
        t = sigma / (1 + sigma)
        z = ((1 - t) / torch.cos(tau))[:, None] * sigma_d * scaled
        data = z - t[:, None] * u(z, t, torch.zeros_like(t), torch.zeros(len(t), dtype=torch.long))
        return (torch.cos(tau)[:, None] * sigma_d * scaled - data) / (sigma_d * torch.sin(tau)[:, None])

    return network


def published(u: Callable, batch: Batch, t: Tensor, sigma_d: float, warmth: float, teacher: Callable | None) -> Tensor:
    """g of algorithm 1, before the normalisation, by automatic differentiation in x and tau."""
    tau = torch.atan2(t, sigma_d * (1 - t))
    cos, sin = torch.cos(tau)[:, None], torch.sin(tau)[:, None]
    x = cos * batch.x0 + sin * sigma_d * batch.x1
    moving = cos * sigma_d * batch.x1 - sin * batch.x0
    if teacher is not None:  # the noise that it sees is E[x1 | z] = z + (1 - t) v, and the data z - t v
        z = x * ((1 - t) / torch.cos(tau))[:, None]
        v = teacher(z, t, batch.condition.label)
        moving = cos * sigma_d * (z + (1 - t)[:, None] * v) - sin * (z - t[:, None] * v)
    network = trigflow(u, sigma_d)
    tangents = (cos * sin * moving / sigma_d, (cos * sin)[:, 0])
    value, rearranged = torch.func.jvp(network, (x / sigma_d, tau), tangents)
    return -cos.square() * (sigma_d * value - moving) - warmth * (cos * sin * x + sigma_d * rearranged)


def network() -> Callable:
    torch.manual_seed(0)
    flow_map = build(MLPArchitecture(width=16, depth=2), (1,), labels=1, span="any").double()
    for weight in flow_map.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return flow_map


def step_of(objective: ContinuousConsistency, answer: Target, t: Tensor) -> Tensor:
    """What the target is away from the prediction, as a distance in F."""
    norm = torch.sqrt(t**2 + objective.sigma_data**2 * (1 - t) ** 2)[:, None]
    return (answer.target - answer.prediction.detach()) * norm / objective.sigma_data


def times(objective: Objective) -> Tensor:
    return objective.draw(ROWS, torch.Generator().manual_seed(0), Moment(2000, 2000)).t


def close(ours: Tensor, theirs: Tensor) -> bool:
    return bool(torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12))


@pytest.mark.parametrize("sigma_d", [0.5, 1.3])
@pytest.mark.parametrize("done", [0, 40, 1000])
@pytest.mark.parametrize("taught", [False, True])
def test_tangent_is_not_the_papers(pairs, ask, sigma_d: float, done: int, taught: bool) -> None:
    batch, u = pairs(DATA, ROWS), network()
    teacher = (lambda z, t, label: DATA.velocity(z, t)) if taught else None
    more = {"sigma_data": sigma_d, "tangent": PLAIN}
    objective: ContinuousConsistency = (
        ContinuousConsistencyDistillation(**more)
        if taught
        else ContinuousConsistencyTraining(flow_matching_steps=0, **more)
    )
    t = times(objective)
    ours = step_of(objective, ask(objective, u, batch, step=done + 1, steps=2000, teacher=teacher), t)
    warmth = min(1.0, done / 100)
    assert close(ours, published(u, batch, t, sigma_d, warmth, teacher))
    # Negative controls: another warm-up, another standard deviation, another sign, the pair for the teacher.
    assert not close(ours, published(u, batch, t, sigma_d, warmth + 0.01, teacher))
    assert not close(ours, -published(u, batch, t, sigma_d, warmth, teacher))
    other = None if taught else (lambda z, t, label: DATA.velocity(z, t))
    assert not close(ours, published(u, batch, t, sigma_d, warmth, other))


def test_loss_is_not_the_papers(pairs, ask) -> None:
    """exp(-w) / (sigma D) ||g / (||g|| + c)||^2 + w in its value, in two dimensions."""
    plane = Gaussian([0.7, -0.2], [0.4, 0.9])
    objective = ContinuousConsistencyTraining(flow_matching_steps=0, tangent={"warmup_steps": 0})
    t, weight = times(objective), torch.tensor(-0.8)

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return torch.sin(2 * z) * (1 + t[:, None])

    answer = ask(objective, u, pairs(plane, ROWS), companion=lambda tau: weight * torch.sin(3 * tau))
    g = published(u, pairs(plane, ROWS), t, 0.5, 1.0, None)
    step = g / (g.norm(dim=1, keepdim=True) + 0.1)
    w = weight * torch.sin(3 * torch.atan2(t, 0.5 * (1 - t)))
    expected = torch.exp(-w) * (1 - t) / t / 2 * step.square().sum(1) + w
    torch.testing.assert_close(answer.losses(), expected)
    torch.testing.assert_close(answer.terms["loss/tangent"], g.square().mean(1))


@pytest.mark.parametrize(("z", "t", "m", "s"), [(1.3, 0.85, 0.7, 0.4), (-0.5, 0.999, 0.7, 0.4), (0.25, 0.5, 0.7, 0.4)])
def test_f_of_a_gaussian(z: float, t: float, m: float, s: float) -> None:
    """Its closed form in TrigFlow: sigma^2 = cos^2 s^2 + sin^2 sigma_d^2, f = m + (s / sigma) (x - cos m)."""
    sigma_d, time = 0.5, torch.tensor([t])
    tau = torch.atan2(time, sigma_d * (1 - time))
    x = (z / (1 - time)) * torch.cos(tau)
    total = (torch.cos(tau).square() * s**2 + torch.sin(tau).square() * sigma_d**2).sqrt()
    f = m + s / total * (x - torch.cos(tau) * m)
    expected = (torch.cos(tau) * x - f) / (sigma_d * torch.sin(tau))
    data = Gaussian(m, s)
    found = trigflow(lambda z, t, s, label: data.average_velocity(z, t, s), sigma_d)(x[:, None] / sigma_d, tau)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.95])
def test_direction_is_not_meanflows(pairs, ask, fixed_times, t: float) -> None:
    """After the warm-up g is MeanFlow's residual of the jump to 0, times (1 - t) N: the same way, row by row."""
    batch, u = pairs(DATA, ROWS), network()
    # s = 0 to within rounding, which `fixed_times` cannot give exactly.
    mean = ask(MeanFlow(times=fixed_times(t, 1e-9), adaptive_power=0.0), u, batch)
    objective = ContinuousConsistencyTraining(
        t=LogitNormal(mean=np.log(t / (1 - t)), std=1e-12), flow_matching_steps=0, tangent=PLAIN
    )
    ours = step_of(objective, ask(objective, u, batch, step=1000, steps=2000), torch.full((ROWS,), t))
    norm = (t**2 + 0.25 * (1 - t) ** 2) ** 0.5
    torch.testing.assert_close(ours, (1 - t) * norm * (mean.target - mean.prediction), rtol=1e-6, atol=1e-7)
    early = step_of(objective, ask(objective, u, batch, step=50, steps=2000), torch.full((ROWS,), t))
    assert not torch.allclose(early, (1 - t) * norm * (mean.target - mean.prediction), rtol=1e-2)


def test_warm_up_begins_after_flow_matching(pairs, ask) -> None:
    """The first steps are flow matching, with s = t; the step after them has a tangent of warmth 0."""
    batch, u = pairs(DATA, ROWS), network()
    objective = ContinuousConsistencyTraining(flow_matching_steps=10, tangent=PLAIN)
    t = times(objective)
    last = ask(objective, u, batch, step=10)
    assert torch.equal(last.target, batch.velocity)
    torch.testing.assert_close(last.prediction, u(batch.at(t), t, t, batch.condition.label))
    first = step_of(objective, ask(objective, u, batch, step=11), t)
    assert close(first, published(u, batch, t, 0.5, 0.0, None))
    later = step_of(objective, ask(objective, u, batch, step=61), t)
    assert close(later, published(u, batch, t, 0.5, 0.5, None))


def test_normalised_mean_is_biased_in_one_dimension(pairs_through, ask, always_at, standard_errors) -> None:
    """Why points turn the normalisation off for sCT: the mean of g / (||g|| + c) is not zero where that of g is."""
    truth, z, t, count = GaussianMixture([0.2, 0.8], [-1.5, 1.0], [0.2, 0.2]), [0.1], 0.6, 4000
    batch = pairs_through(truth, z, t, count)

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return truth.average_velocity(z, t, s, steps=6)

    def distance(constant: float | None) -> float:
        tangent = NormalisedTangent(warmup_steps=0, constant=constant)
        objective = ContinuousConsistencyTraining(t=always_at(t), flow_matching_steps=0, tangent=tangent)
        answer = ask(objective, u, batch)
        return standard_errors(answer.target - answer.prediction, 0.0)

    assert distance(None) < 4
    assert distance(0.1) > 8
