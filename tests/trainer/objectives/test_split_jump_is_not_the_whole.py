"""SplitMeanFlow: the truth stays where it is, all else moves towards it, and the right weights walk the pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.guidance import Guidance
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.times import TwoTimes
from trainer.objectives.split_meanflow import SplitMeanFlow
from trainer.oracle import Gaussian
from trainer.recipe import load_recipe

DATA = Gaussian(0.7, 0.4)
JUMPS = TwoTimes(jumps=1.0)


@pytest.mark.parametrize("cuts", ["random", "even"])
@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_truth_is_moved(truth, pieces, cuts, plug_in, pairs, ask) -> None:
    """Of a flow, jumps in a row are the whole one (also on a mixture). Control: Euler steps in a row are not a step."""
    objective = SplitMeanFlow(times=JUMPS, pieces=pieces, cuts=cuts, whole=0.25)
    batch, u = pairs(truth, 300), plug_in(truth)
    answer = ask(objective, u, batch)
    tolerance = 1e-9 if isinstance(truth, Gaussian) else 2e-3
    assert (answer.target - answer.prediction).abs().max() < tolerance
    euler = ask(objective, lambda z, t, s, label: u(z, t, t, label), batch)
    assert (euler.target - euler.prediction).abs().max() > 10 * tolerance


def test_velocities_are_not_those_of_pairs(plug_in, pairs_through, fixed_times, ask, standard_errors) -> None:
    """Rows with s = t: at one z the mean of the targets is the velocity there."""
    batch = pairs_through(DATA, [0.4], 0.5, 4000)
    answer = ask(SplitMeanFlow(times=fixed_times(0.5, 0.5, jumps=0.0)), plug_in(DATA), batch)
    assert torch.equal(answer.target, batch.velocity)
    assert standard_errors(answer.target, DATA.velocity(torch.tensor([0.4]), 0.5)) < 4


@pytest.mark.parametrize("bump", ["offset", "slope"])
@pytest.mark.parametrize("size", [0.3, -0.3])
def test_gradient_points_away(bump, size, plug_in, pairs, ask) -> None:
    """Pushed off the truth everywhere, the gradient pushes back, since the velocities hold the short jumps."""
    push, u = torch.tensor(size, requires_grad=True), plug_in(DATA)

    def pushed(z, t, s, label):
        return u(z, t, s, label) + push * (torch.ones_like(z) if bump == "offset" else z)

    answer = ask(SplitMeanFlow(times=TwoTimes(jumps=0.5), adaptive_power=0), pushed, pairs(DATA, 4000))
    assert not answer.target.requires_grad
    answer.losses().mean().backward()
    assert push.grad.item() * size > 0


def test_other_weights_walk(pairs, ask) -> None:
    """Averaged weights walk the pieces where there are any, else the network's own, without dropout if it has any."""
    batch = pairs(DATA, 64)
    own, lagged, still = (lambda z, t, s, label, at=at: at + 0 * z for at in (1, 3, 5))
    objective = SplitMeanFlow(times=JUMPS)

    def walked(**more) -> set[float]:
        return set(ask(objective, own, batch, **more).target.round(decimals=9).flatten().tolist())

    assert walked() == {1.0}
    assert walked(still=still) == {5.0}
    assert walked(lagged=lagged, still=still) == {3.0}
    assert SplitMeanFlow().decay(Moment(1, 1)) is None
    assert SplitMeanFlow(target_ema=0.99).decay(Moment(1, 1)) == 0.99


def test_pieces_lie_elsewhere(pairs, ask) -> None:
    """Each begins where the one before it ended, in z and in time; the target is the mean by length."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def u(z, t, s, label):
        seen.append((z, t, s))
        return per_sample(t + s, z) + 0 * z  # of a flow of dz/dt = 2 t, whose jumps are exact

    batch = pairs(DATA, 200)
    answer = ask(SplitMeanFlow(times=JUMPS, pieces=4, whole=0.5), u, batch)
    (_, t, s), *pieces = seen
    assert torch.equal(t[:100], torch.ones(100))
    assert torch.equal(s[:100], torch.zeros(100))
    assert (t[100:] < 1).all()
    assert torch.equal(pieces[0][1], t)
    assert torch.allclose(pieces[-1][2], s)
    for (z, t0, s0), (after, t1, _) in pairwise(pieces):
        assert torch.equal(s0, t1)
        assert (t0 >= s0).all()
        assert torch.allclose(after, z - per_sample((t0 - s0) * (t0 + s0), z))
    assert torch.allclose(answer.target, per_sample(t + s, answer.target) + 0 * answer.target)
    assert (pieces[0][1] - pieces[0][2]).std() > 0.05  # cut at random


def test_even_pieces_are_uneven() -> None:
    draws = SplitMeanFlow(times=JUMPS, pieces=4, cuts="even", whole=1.0).draw(
        3, torch.Generator().manual_seed(0), Moment(1, 1)
    )
    assert draws.path.tolist() == [[1.0, 0.75, 0.5, 0.25, 0.0]] * 3


def test_tie_of_two_times_divides_by_zero(pairs, fixed_times, ask) -> None:
    """`order: min` leaves jumps with s = t, whose pieces have no length."""
    u = lambda z, t, s, label: 2 + 0 * z  # noqa: E731
    answer = ask(SplitMeanFlow(times=fixed_times(0.5, 0.5)), u, pairs(DATA, 16))
    assert answer.target.unique().tolist() == [2.0]
    assert torch.isfinite(answer.losses()).all()


def test_guidance_reaches_the_jumps_twice(pairs, ask) -> None:
    """Only velocities are guided; jumps inherit it. u is its label here, and the null label 0."""
    batch = pairs(DATA, 64)
    batch = batch._replace(condition=batch.condition.relabelled(torch.ones(64, dtype=torch.long)))
    u = lambda z, t, s, label: per_sample(label, z) + 0 * z  # noqa: E731
    objective = SplitMeanFlow(times=TwoTimes(jumps=0.5), guidance=Guidance(omega=1.5, start_step=5))
    guided = ask(objective, u, batch, step=5)
    assert guided.target[:32].unique().tolist() == [1.0]
    assert torch.allclose(guided.target[32:], 1.5 * batch.velocity[32:])
    assert torch.equal(ask(objective, u, batch, step=4).target[32:], batch.velocity[32:])


REFUSED = {
    "objective.times.jumps=0": "objective.times.jumps is 0, so no jump would be learned; that is flow-matching",
    "objective.pieces=1": r"objective\.pieces",
    "objective.target_ema=1": r"objective\.target_ema",
    "objective.guidance={omega: 2}": "guidance mixes in the null label",
}


@pytest.mark.parametrize("override", REFUSED)
def test_nonsense_is_taken(override) -> None:
    with pytest.raises(ValueError, match=REFUSED[override]):
        load_recipe("points/split-meanflow", ["objective.label_dropout=0", override])
