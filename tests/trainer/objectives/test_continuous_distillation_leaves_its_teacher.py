"""With a closed form for the teacher, the map that it defines must be where distillation rests, and the only one.

sCD, AYF-EMD and AYF-LMD have a tangent that is a function of z and the times alone, so it must be zero there to within
rounding; sCT's must be zero on average.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer.objectives import methods
from trainer.objectives.ayf_emd import EulerianMapDistillation
from trainer.objectives.ayf_lmd import LagrangianMapDistillation
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.normalised_tangent import NormalisedTangent
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.times import Interval, LogitNormal, Uniform
from trainer.objectives.scd import ContinuousConsistencyDistillation
from trainer.objectives.sct import ContinuousConsistencyTraining
from trainer.oracle import Gaussian

ROWS = 600
WIDE = LogitNormal(mean=0.5, std=1.6)
WARM = NormalisedTangent(warmup_steps=0, constant=None)
NORMALISED = NormalisedTangent(warmup_steps=0)


def distillers(tangent: NormalisedTangent = WARM) -> dict[str, Objective]:
    return {
        "scd": ContinuousConsistencyDistillation(t=WIDE, tangent=tangent),
        "ayf-emd": EulerianMapDistillation(times=Interval(length=Uniform()), tangent=tangent, autoguidance=None),
        "ayf-lmd": LagrangianMapDistillation(times=Interval(length=Uniform()), tangent=tangent, autoguidance=None),
    }


def training(tangent: NormalisedTangent = WARM) -> ContinuousConsistencyTraining:
    return ContinuousConsistencyTraining(t=WIDE, tangent=tangent, flow_matching_steps=0)


def taught_by(data) -> Callable:
    return lambda z, t, label: data.velocity(z, t)


@pytest.mark.parametrize("tangent", [WARM, NORMALISED], ids=["plain", "normalised"])
@pytest.mark.parametrize("name", ["scd", "ayf-emd", "ayf-lmd"])
def test_truth_is_left(truth, name, tangent, plug_in, pairs, ask) -> None:
    """Each row's target is the map itself; a mixture's is integrated to 1e-4, which dividing by c magnifies."""
    answer = ask(distillers(tangent)[name], plug_in(truth), pairs(truth, ROWS), teacher=taught_by(truth))
    tolerance = 1e-8 if isinstance(truth, Gaussian) else 2e-3 if tangent is WARM else 2e-2
    assert (answer.target - answer.prediction).abs().max() < tolerance
    assert not answer.target.requires_grad


def test_sct_target_at_one_place(truth, plug_in, pairs_through, always_at, ask, standard_errors) -> None:
    """E[target | z_t = z] = u(z, t, 0)."""
    for t in (0.3, 0.85):
        objective = ContinuousConsistencyTraining(t=always_at(t), tangent=WARM, flow_matching_steps=0)
        answer = ask(objective, plug_in(truth), pairs_through(truth, [0.4, -0.6][: truth.dim], t, 5000))
        assert standard_errors(answer.target, answer.prediction[0]) < 4


BROKEN = {
    "time term dropped": lambda exact, jvp: jvp(0.0, 0.0),
    "t and s swapped in the tangent": lambda exact, jvp: jvp(0.0, 1.0),
    "sign": lambda exact, jvp: -exact,
    "derivative dropped": lambda exact, jvp: 0 * exact,
}


@pytest.mark.parametrize("mistake", BROKEN)
@pytest.mark.parametrize("name", ["scd", "ayf-emd", "ayf-lmd"])
def test_broken_derivative_shows(mistake, name, spoil_derivative, plug_in, pairs, ask) -> None:
    """Negative control. The Lagrangian derivative has no time term to drop, and its swap is the time's."""
    truth = Gaussian(0.7, 0.4)

    def broken(exact, u, z, t, s, condition, velocity):
        def jvp(along_t, along_s):
            if velocity is None:
                along_t, along_s = (1.0, 0.0) if along_s else (0.0, 0.0)
            moving = torch.zeros_like(z) if velocity is None else velocity
            tangent = (moving, torch.full_like(t, along_t), torch.full_like(s, along_s))
            return torch.func.jvp(lambda z, t, s: u(z, t, s, *condition), (z, t, s), tangent)[1]

        return BROKEN[mistake](exact, jvp)

    spoil_derivative(broken)
    answer = ask(distillers()[name], plug_in(truth), pairs(truth, ROWS), teacher=taught_by(truth))
    assert (answer.target - answer.prediction).square().mean().sqrt() > 0.02


@pytest.mark.parametrize("name", ["scd", "ayf-emd"])
def test_data_in_the_teachers_place_shows(name, plug_in, pairs, ask) -> None:
    """Negative control: along x1 - x0 the tangent is zero on average only. (AYF-LMD asks the teacher off the data.)"""
    truth = Gaussian(0.7, 0.4)
    batch = pairs(truth, ROWS)
    answer = ask(distillers()[name], plug_in(truth), batch, teacher=lambda z, t, label: batch.velocity)
    assert (answer.target - answer.prediction).abs().max() > 0.3


@pytest.mark.parametrize("name", ["ayf-emd", "ayf-lmd"])
def test_limit_below_one_leans_to_straight_lines(name, plug_in, pairs, ask) -> None:
    """By default a hundredth of the derivative is left out: at the truth that is what remains."""
    truth = Gaussian(0.7, 0.4)
    tangent = NormalisedTangent(warmup_steps=0, warmup_limit=0.99, constant=None)
    exact, limited = (
        ask(distillers(each)[name], plug_in(truth), pairs(truth, ROWS), teacher=taught_by(truth))
        for each in (WARM, tangent)
    )
    spans = distillers()[name].draw(ROWS, torch.Generator().manual_seed(0), Moment(1, 1))
    rest = (limited.target - exact.target).abs()[:, 0]
    found = 0.01 * (spans.t - spans.s) * exact.terms["derivative"].sqrt()
    torch.testing.assert_close(rest, found, rtol=1e-6, atol=1e-9)


BUMPS = {
    "offset": lambda z, t, s: torch.ones_like(z),
    "slope": lambda z, t, s: z,
    "span": lambda z, t, s: (t - s)[:, None] ** 2 * torch.ones_like(z),
}


@pytest.mark.parametrize("tangent", [WARM, NORMALISED], ids=["plain", "normalised"])
@pytest.mark.parametrize("bump", BUMPS)
@pytest.mark.parametrize("name", ["scd", "ayf-emd", "ayf-lmd", "sct"])
def test_gradient_points_away(name, bump, tangent, plug_in, pairs, ask) -> None:
    """Pushed off the truth, the map is pushed back."""
    truth = Gaussian(0.7, 0.4)
    objective = {**distillers(tangent), "sct": training(WARM)}[name]
    for size in (0.3, -0.3):
        push = torch.tensor(size, requires_grad=True)

        def u(z, t, s, label, push=push):
            return truth.average_velocity(z, t, s) + push * BUMPS[bump](z, t, s)

        ask(objective, u, pairs(truth, 4000), teacher=taught_by(truth)).losses().mean().backward()
        assert push.grad.item() * size > 0


POWERS = {
    "ayf-emd": [(i, j) for i in range(8) for j in range(8 - i)],
    "ayf-lmd": [(i, j) for i in range(8) for j in range(8 - i)],
    "scd": [(i, 0) for i in range(11)],
    "sct": [(i, 0) for i in range(11)],
}


@pytest.mark.parametrize("name", POWERS)
def test_linear_fit_rests_elsewhere(name, pairs, ask) -> None:
    """For u linear in features z^k t^i s^j the tangent is affine in their coefficients, so rest is a linear solve: a
    jump of slope 0.4 and offset 0.7. Without the derivative it is another one, the control. (AYF-LMD asks the teacher
    where u lands: affine too, since the velocity of a Gaussian is affine in z.)

    The tangent is affine in x1 - x0 too, so that sCT may be given pairs that have its mean, v(z, t).
    """
    data = Gaussian(0.7, 0.4)
    objective = {**distillers(), "sct": training()}[name]
    t = objective.draw(3000, torch.Generator().manual_seed(0), Moment(1, 1)).t
    batch = pairs(data, 3000)
    z, v = batch.at(t), data.velocity(batch.at(t), t)
    batch = batch._replace(x0=z - t[:, None] * v, x1=z + (1 - t)[:, None] * v)
    features = [(k, i, j) for k in (0, 1) for i, j in POWERS[name]]

    def rest(objective: Objective) -> tuple[float, float]:
        def pull(u: Callable) -> tuple[Tensor, Tensor]:
            answer = ask(objective, u, batch, teacher=taught_by(data))
            return answer.prediction, answer.prediction - answer.target

        origin = pull(lambda z, t, s, label: 0 * z)[1]
        found = [pull(lambda z, t, s, label, k=k, i=i, j=j: z**k * (t**i * s**j)[:, None]) for k, i, j in features]
        values = torch.cat([value for value, _ in found], 1)
        pulls = torch.cat([each - origin for _, each in found], 1)
        solution = torch.linalg.lstsq(values.T @ pulls, -values.T @ origin).solution[:, 0]
        u = [sum(float(c) for c, (k, _, j) in zip(solution, features) if (k, j) == (order, 0)) for order in (0, 1)]
        return 1 - u[1], -u[0]

    assert rest(objective) == pytest.approx((0.4, 0.7), abs=0.005)
    straight = objective.model_copy(update={"tangent": NormalisedTangent(warmup_steps=10**9, constant=None)})
    assert abs(rest(straight)[0] - 0.4) > 0.1


def test_emd_is_not_meanflow_on_the_teacher(pairs, ask, fixed_times) -> None:
    """Where data are so narrow that x1 - x0 is the velocity, both have the same residual; see also TrigFlow's test."""
    data = Gaussian(0.7, 0.0)
    batch = pairs(data, ROWS)

    def u(z, t, s, label):
        return torch.sin(z) * (1 + t * s)[:, None]

    emd = distillers()["ayf-emd"]
    draws = emd.draw(ROWS, torch.Generator().manual_seed(0), Moment(1, 1))
    for row in (0, 1, 2):
        t, s = draws.t[row].item(), draws.s[row].item()
        at = ask(emd, u, batch, teacher=taught_by(data))
        mean = ask(MeanFlow(times=fixed_times(t, s), adaptive_power=0.0), u, batch)
        torch.testing.assert_close(at.target[row], mean.target[row])
        torch.testing.assert_close(at.prediction[row], mean.prediction[row])


@pytest.mark.parametrize("name", ["sct", "scd", "ayf-emd", "ayf-lmd"])
def test_averaged_target_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"target_ema is 0\.9"):
        methods()[name](target_ema=0.9)
