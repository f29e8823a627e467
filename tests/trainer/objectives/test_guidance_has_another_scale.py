"""Guidance inside the target must converge to the scale it claims, omega / (1 - kappa), and no other.

A network that is told the scale must converge to the one it is told, row by row.

Two classes, each a Gaussian; without a label, their mixture. The guided flow follows the velocity
scale * v(z | label) + (1 - scale) * v(z), whose average is integrated and put in the network's place.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.objectives.alpha_flow import AlphaFlow
from trainer.objectives.imf import ImprovedMeanFlow
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts import tangent
from trainer.objectives.parts.guidance import Guidance
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.target import Batch, Condition
from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.integrate import average_velocity

WEIGHTS, MEANS, STDS = [0.4, 0.6], [-0.8, 0.7], [0.5, 0.4]
CLASSES = [Gaussian(mean, std) for mean, std in zip(MEANS, STDS)]
ALL = GaussianMixture(WEIGHTS, MEANS, STDS)
NULL = 2
ROWS = 6000

METHODS = {
    "meanflow": MeanFlow,
    "imf": ImprovedMeanFlow,
    "alpha-flow": lambda **settings: AlphaFlow(alpha=0.0, **settings),
}

SETTINGS = {
    "two evaluations": Guidance(omega=1.0, kappa=0.5),
    "null only": Guidance(omega=1.8),
    "paper's large": Guidance(omega=0.2, kappa=0.92),
    "weaker": Guidance(omega=0.3, kappa=0.4),
}


def guided_map(scale: float):
    """Average velocity of the flow guided by `scale`; rows with the null label follow the plain mixture."""

    def velocity_of(data: Gaussian | None):
        if data is None:
            return ALL.velocity
        return lambda z, t: scale * data.velocity(z, t) + (1 - scale) * ALL.velocity(z, t)

    fields = [velocity_of(data) for data in (*CLASSES, None)]

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        rows = [torch.nonzero(label == each)[:, 0] for each in range(len(fields))]
        answers = [average_velocity(field, z[at], t[at], s[at], steps=4) for field, at in zip(fields, rows)]
        return torch.cat(answers)[torch.cat(rows).argsort()]

    return u


def labelled_pairs() -> Batch:
    rng = np.random.default_rng(0)
    label = rng.choice(2, size=ROWS, p=WEIGHTS)
    x0 = np.array(MEANS)[label] + np.array(STDS)[label] * rng.standard_normal(ROWS)
    dropped = rng.random(ROWS) < 0.3
    return Batch(
        torch.from_numpy(x0)[:, None],
        torch.from_numpy(rng.standard_normal((ROWS, 1))),
        Condition(torch.from_numpy(np.where(dropped, NULL, label))),
        torch.from_numpy(dropped),
    )


def largest_error(objective: Objective, scale: float, t: float, ask, standard_errors) -> float:
    """Over the labels: how far the target's mean, and its moment with z, are from the guided truth."""
    batch = labelled_pairs()
    answer = ask(objective, guided_map(scale), batch, null_label=NULL)
    error, z = answer.target - answer.prediction, batch.at(torch.full((ROWS,), t))
    moments = torch.cat([error, error * z, error * torch.sin(2 * z)], 1)
    return max(standard_errors(moments[batch.condition.label == label], 0.0) for label in (0, 1, NULL))


@pytest.mark.parametrize(("t", "s"), [(0.8, 0.2), (0.5, 0.5)])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("method", METHODS)
def test_fixed_point(method, name, t, s, fixed_times, ask, standard_errors) -> None:
    guidance = SETTINGS[name]
    objective = METHODS[method](times=fixed_times(t, s, jumps=0.9 * (s < t)), guidance=guidance)
    assert guidance.scale == pytest.approx(guidance.omega / (1 - guidance.kappa))
    assert largest_error(objective, guidance.scale, t, ask, standard_errors) < 4


@pytest.mark.parametrize("name", ["two evaluations", "paper's large", "weaker"])
def test_other_scales_are_no_fixed_points(name, fixed_times, ask, standard_errors) -> None:
    """Negative control: neither omega alone nor the unguided map."""
    objective = MeanFlow(times=fixed_times(0.5, 0.5, jumps=0.0), guidance=SETTINGS[name])
    for scale in {objective.guidance.omega, 1.0} - {objective.guidance.scale}:
        assert largest_error(objective, scale, 0.5, ask, standard_errors) > 8


def test_tangent_of_the_unguided_pair_is_biased(fixed_times, ask, standard_errors, spoil_derivative) -> None:
    """Negative control: x1 - x0 as the tangent, where the guided velocity is due, leads elsewhere."""
    conditional, sound = labelled_pairs().velocity, tangent.value_and_derivative

    def unguided(exact, u, z, t, s, condition, velocity):
        return sound(u, z, t, s, condition, conditional[: len(z)])[1]

    spoil_derivative(unguided)
    objective = MeanFlow(times=fixed_times(0.8, 0.2), guidance=SETTINGS["two evaluations"])
    assert largest_error(objective, objective.guidance.scale, 0.8, ask, standard_errors) > 8


def test_rows_that_keep_the_plain_velocity(fixed_times, ask) -> None:
    """Dropped labels, times outside the interval, and steps before the start: exactly x1 - x0 at s = t."""
    batch = labelled_pairs()
    at = fixed_times(0.5, 0.5, jumps=0.0)

    def target(step: int = 10, **settings: float) -> Tensor:
        guidance = Guidance(omega=1.0, kappa=0.5, **settings)
        return ask(MeanFlow(times=at, guidance=guidance), guided_map(2.0), batch, step=step, null_label=NULL).target

    guided, plain = target(), batch.velocity
    assert torch.equal(guided[batch.dropped], plain[batch.dropped])
    assert not torch.any(guided[~batch.dropped] == plain[~batch.dropped])
    assert torch.equal(target(t_end=0.4), plain)
    assert torch.equal(target(t_start=0.6), plain)
    assert torch.equal(target(start_step=11), plain)
    assert torch.equal(target(start_step=10), guided)
    assert torch.equal(target(t_start=0.4, t_end=0.6), guided)


def test_guided_velocity_carries_no_gradient(fixed_times, ask) -> None:
    weight = torch.ones((), requires_grad=True)
    inner = guided_map(2.0)
    objective = MeanFlow(times=fixed_times(0.5, 0.5, jumps=0.0), guidance=SETTINGS["two evaluations"])
    answer = ask(objective, lambda *point: weight * inner(*point), labelled_pairs(), null_label=NULL)
    assert answer.prediction.requires_grad
    assert not answer.target.requires_grad
    assert not answer.weight.requires_grad
