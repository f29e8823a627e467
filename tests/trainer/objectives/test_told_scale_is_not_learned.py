"""A network that is told the scale of guidance must come to rest, in each row, at the scale that it is told.

Two classes, each a Gaussian; without a label, their mixture. Several scales share a batch.
"""

from collections.abc import Callable

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
ROWS = 12_000
SCALES = [0.6, 1.0, 1.5, 3.0]
RANGE = Guidance(range=(0.5, 4.0))
METHODS = {
    "meanflow": MeanFlow,
    "imf": ImprovedMeanFlow,
    "alpha-flow": lambda **settings: AlphaFlow(alpha=0.0, **settings),
}


def guided_map(follows: Callable[[Tensor], Tensor] = lambda w: w, until: float = 1.0) -> Callable[..., Tensor]:
    """Average velocity of the flow that each row's scale w guides by `follows(w)` while t <= until.

    Rows with the null label follow the plain mixture whatever they are told.
    """

    def average(data: Gaussian | None, z: Tensor, t: Tensor, s: Tensor, scale: Tensor) -> Tensor:
        if data is None:
            return average_velocity(ALL.velocity, z, t, s, steps=4)

        def guided(z: Tensor, t: Tensor) -> Tensor:
            return scale * data.velocity(z, t) + (1 - scale) * ALL.velocity(z, t)

        if until >= 1:
            return average_velocity(guided, z, t, s, steps=4)
        # Of two parts: plain down to `until`, guided from there; times on one side make the other part empty.
        middle = torch.maximum(torch.minimum(t, torch.full_like(t, until)), s)
        first = average_velocity(data.velocity, z, t, middle, steps=4)
        between = z - (t - middle)[:, None] * first
        second = average_velocity(guided, between, middle, s, steps=4)
        share = torch.where(t > s, (t - middle) / (t - s).clamp(min=1e-300), (t > until).to(t.dtype))[:, None]
        return share * first + (1 - share) * second

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor, guidance: Tensor) -> Tensor:
        rows, scale = [torch.nonzero(label == each)[:, 0] for each in (0, 1, NULL)], follows(guidance)[:, None]
        parts = [average(data, z[at], t[at], s[at], scale[at]) for data, at in zip((*CLASSES, None), rows)]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    return u


def told_pairs() -> Batch:
    rng = np.random.default_rng(0)
    label = rng.choice(2, size=ROWS, p=WEIGHTS)
    x0 = np.array(MEANS)[label] + np.array(STDS)[label] * rng.standard_normal(ROWS)
    dropped = rng.random(ROWS) < 0.3
    return Batch(
        torch.from_numpy(x0)[:, None],
        torch.from_numpy(rng.standard_normal((ROWS, 1))),
        Condition(torch.from_numpy(np.where(dropped, NULL, label)), torch.tensor(SCALES).repeat(ROWS // len(SCALES))),
        torch.from_numpy(dropped),
    )


def errors(objective: Objective, u: Callable, t: float, ask, standard_errors) -> dict[tuple[float, int], float]:
    """By scale and label: how far the target's mean, and its moments with z, are from the map `u`."""
    batch = told_pairs()
    answer = ask(objective, u, batch, null_label=NULL)
    error, z = answer.target - answer.prediction, batch.at(torch.full((ROWS,), t))
    moments = torch.cat([error, error * z, error * torch.sin(2 * z)], 1)
    label, scale = batch.condition
    assert scale is not None
    return {
        (each, of): standard_errors(moments[(scale == each) & (label == of)], 0.0)
        for each in SCALES
        for of in (0, 1, NULL)
    }


@pytest.mark.parametrize(("t", "s"), [(0.8, 0.2), (0.5, 0.5)])
@pytest.mark.parametrize("method", METHODS)
def test_fixed_point_of_every_scale_in_a_batch(method, t, s, fixed_times, ask, standard_errors) -> None:
    objective = METHODS[method](times=fixed_times(t, s, jumps=0.9 * (s < t)), guidance=RANGE)
    found = errors(objective, guided_map(), t, ask, standard_errors)
    assert max(found.values()) < 4, found


WRONG = {
    "plain": torch.ones_like,
    "a neighbour's": lambda w: w.roll(1),
    "2 - 1/w, kappa for the scale": lambda w: 2 - 1 / w,
    "one for all": lambda w: torch.full_like(w, 1.7),
}


@pytest.mark.parametrize("name", WRONG)
def test_map_of_another_scale_rests(name, fixed_times, ask, standard_errors) -> None:
    """Negative control: where the map follows another scale than the one told, the target pulls away from it."""
    follows = WRONG[name]
    at = fixed_times(0.5, 0.5, jumps=0.0)
    found = errors(MeanFlow(times=at, guidance=RANGE), guided_map(follows), 0.5, ask, standard_errors)
    followed = follows(torch.tensor(SCALES)).tolist()
    apart = {scale: abs(other - scale) for scale, other in zip(SCALES, followed, strict=True)}
    for label in (0, 1):
        assert all(found[scale, label] < 4 for scale in SCALES if apart[scale] == 0)
        assert all(found[scale, label] > 6 for scale in SCALES if apart[scale] > 0.6)
    assert max(apart.values()) > 0.6


@pytest.mark.parametrize("mistake", ["tangent of the plain pair", "scale moves along the flow"])
def test_wrong_tangent_rests(mistake, fixed_times, ask, standard_errors, monkeypatch) -> None:
    """Negative control: the derivative follows the guided velocity, with the scale held fixed."""
    exact, plain = tangent.value_and_derivative, told_pairs().velocity

    def wrong(u, z, t, s, condition, velocity):
        if mistake == "tangent of the plain pair":
            return exact(u, z, t, s, condition, plain[: len(z)])
        along = (velocity, torch.ones_like(t), torch.zeros_like(s), torch.ones_like(t))
        point = (z, t, s, condition.guidance)
        return torch.func.jvp(lambda z, t, s, w: u(z, t, s, condition.label, w), point, along)

    monkeypatch.setattr(tangent, "value_and_derivative", wrong)
    objective = MeanFlow(times=fixed_times(0.8, 0.2), guidance=RANGE)
    found = errors(objective, guided_map(), 0.8, ask, standard_errors)
    assert min(found[3.0, label] for label in (0, 1)) > 8


@pytest.mark.parametrize(("t", "s"), [(0.8, 0.2), (0.8, 0.8), (0.4, 0.1), (0.8, 0.6)])
@pytest.mark.parametrize("method", ["meanflow", "imf"])
def test_fixed_point_of_an_interval(method, t, s, fixed_times, ask, standard_errors) -> None:
    """Guided up to t = 0.5: a jump from 0.8 to 0.2 starts on the plain velocity, ends guided, and is told w."""
    guidance = RANGE.model_copy(update={"t_end": 0.5})
    objective = METHODS[method](times=fixed_times(t, s, jumps=0.9 * (s < t)), guidance=guidance)
    found = errors(objective, guided_map(until=0.5), t, ask, standard_errors)
    assert max(found.values()) < 4, found


def test_interval_makes_no_difference(fixed_times, ask, standard_errors) -> None:
    """Negative control: without the interval the target pulls away from the same map."""
    objective = MeanFlow(times=fixed_times(0.8, 0.8, jumps=0.0), guidance=RANGE)
    found = errors(objective, guided_map(until=0.5), 0.8, ask, standard_errors)
    assert min(found[3.0, label] for label in (0, 1)) > 6


def test_rows_that_keep_the_plain_velocity(fixed_times, ask) -> None:
    """A dropped label, the scale 1, times outside the interval, and steps before the start: x1 - x0 at s = t."""
    batch, at = told_pairs(), fixed_times(0.5, 0.5, jumps=0.0)
    _, scale = batch.condition
    one = scale == 1

    def target(step: int = 10, **settings: float) -> Tensor:
        objective = MeanFlow(times=at, guidance=RANGE.model_copy(update=settings))
        return ask(objective, guided_map(), batch, step=step, null_label=NULL).target

    guided, plain = target(), batch.velocity
    assert torch.equal(guided[batch.dropped | one], plain[batch.dropped | one])
    assert not torch.any(guided[~(batch.dropped | one)] == plain[~(batch.dropped | one)])
    assert torch.equal(target(t_end=0.4), plain)
    assert torch.equal(target(start_step=11), plain)
    assert torch.equal(target(start_step=10), guided)


@pytest.mark.parametrize("step", [1, 10])
def test_network_is_told_another_scale(step, fixed_times, ask) -> None:
    """In each evaluation and each row, before the start as well: what the batch says."""
    batch, told, inner = told_pairs(), [], guided_map()

    def spy(z, t, s, label, guidance):
        told.append((len(z), guidance, bool(torch.all(label == NULL))))
        return inner(z, t, s, label, guidance)

    guidance = RANGE.model_copy(update={"start_step": 10})
    ask(MeanFlow(times=fixed_times(0.8, 0.2, jumps=0.5), guidance=guidance), spy, batch, step=step, null_label=NULL)
    assert sum(null for _, _, null in told) == (step == 10)
    assert len(told) > 1
    for rows, scale, _ in told:  # both halves of the batch hold the same scales
        assert torch.equal(scale, batch.condition.guidance[:rows])  # type: ignore[index]


def test_scales_are_given_to_a_single_one(fixed_times, ask) -> None:
    """And none to a range: either would be guided by what the network is not told."""
    told, at = told_pairs(), fixed_times(0.5, 0.5, jumps=0.0)
    untold = told._replace(condition=Condition(told.condition.label))
    for guidance, batch in ((Guidance(kappa=0.5), told), (RANGE, untold)):
        with pytest.raises(ValueError, match="a range of scales needs the rows' own"):
            ask(MeanFlow(times=at, guidance=guidance), lambda z, *_: 0 * z, batch, null_label=NULL)
