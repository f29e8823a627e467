"""Shortcut models learn each length from two of half of it: where that leads, which lengths a batch has, and guidance.

They do not rest at the truth: the finest step is an Euler step, and the longer ones are chains of it.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch, Condition, Networks
from trainer.objectives.shortcut import FinestGuidance, Shortcut
from trainer.oracle import Gaussian
from trainer.oracle.fixed_points import shortcut_slope
from trainer.recipe import load_recipe
from trainer.shard import Shard

DATA = Gaussian(0.7, 0.4)
LENGTHS = [2.0**-k for k in range(7)]


def chain(steps_of_the_finest: int):
    """u of a chain of Euler steps of 1/`steps`: what a Shortcut model with that finest step comes to rest at."""

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor, *more: Tensor) -> Tensor:
        end, d = z, 1 / steps_of_the_finest
        for step in range(steps_of_the_finest):
            time = t - step * d
            walks = per_sample(time > s + d / 2, z)
            end = torch.where(walks, end - d * DATA.velocity(end, time.clamp(min=d)), end)
        return (z - end) / per_sample(t - s, z)

    return u


def lengths_of(t: Tensor, s: Tensor) -> list[float]:
    return (t - s).tolist()


@pytest.fixture
def every_jump() -> Shortcut:
    return Shortcut(bootstrap=0.5, clip=None)


def test_rests_elsewhere_than_the_chain_of_euler_steps(every_jump, pairs, ask) -> None:
    """Chains of Euler steps, and the truth, keep the jumps, so the finest step decides; one plain step does not."""
    batch = pairs(DATA, 2000)

    def misfit(u) -> float:
        answer = ask(every_jump, u, batch)
        return float((answer.target - answer.prediction)[:1000].abs().max())

    assert misfit(chain(128)) < 1e-12
    assert misfit(lambda z, t, s, label: DATA.average_velocity(z, t, s)) < 1e-12  # the semigroup identity
    assert misfit(lambda z, t, s, label: DATA.velocity(z, t)) > 1e-2


@pytest.mark.parametrize(
    ("steps", "slope"), [(1, 0.0), (2, 0.1379), (4, 0.2598), (8, 0.3251), (16, 0.3609), (128, 0.3949)]
)
def test_slope_of_the_fixed_point(steps, slope) -> None:
    """Of the jump from 1 to 0, with the finest step 1/steps: the product of Euler steps, and not the flow's 0.4."""
    z, one = torch.tensor([[1.0], [2.0]]), torch.ones(2)
    found = z - chain(steps)(z, one, 0 * one, None)
    assert (found[1] - found[0]).item() == pytest.approx(slope, abs=5e-5)
    assert shortcut_slope(steps, 0.4) == pytest.approx(slope, abs=5e-5)


def test_finest_rows_learn_something_else_than_euler_steps(every_jump, pairs_through, ask, standard_errors) -> None:
    """At one z the mean of their targets is the velocity, and the two times told are a step of 1/128 apart."""
    batch = pairs_through(DATA, [0.4], 0.5, 6000)
    draws = every_jump.draw(6000, torch.Generator().manual_seed(0), Moment(1, 1))
    fine = draws.t[3000:] == 0.5
    assert lengths_of(draws.t[3000:], draws.s[3000:]) == [1 / 128] * 3000
    answer = ask(every_jump, lambda z, t, s, label: 0 * z, batch)
    assert torch.equal(answer.target[3000:], batch.velocity[3000:])
    assert fine.sum() > 0
    assert standard_errors(answer.target[3000:], DATA.velocity(torch.tensor([0.4]), 0.5)) < 4


def test_truth_at_half_is_not_the_truth_at_whole(truth, every_jump, plug_in, pairs, ask) -> None:
    """With exact half-steps the target is exact (also on a mixture); control: with a wrong middle it is not."""
    batch, u = pairs(truth, 400), plug_in(truth)
    answer = ask(every_jump, u, batch)
    tolerance = 1e-8 if isinstance(truth, Gaussian) else 2e-3
    assert (answer.target - answer.prediction)[:200].abs().max() < tolerance
    skewed = ask(every_jump, lambda z, t, s, label: u(z, t, t - (t - s) / 3, label), batch)
    assert (skewed.target - answer.prediction)[:200].abs().max() > 10 * tolerance


@pytest.mark.parametrize("bump", ["offset", "slope"])
@pytest.mark.parametrize("size", [0.3, -0.3])
def test_gradient_points_away(bump, size, every_jump, plug_in, pairs, ask) -> None:
    """Pushed off the truth on all lengths, finest included, the gradient pushes back."""
    push, u = torch.tensor(size, requires_grad=True), plug_in(DATA)

    def pushed(z, t, s, label):
        return u(z, t, s, label) + push * (torch.ones_like(z) if bump == "offset" else z)

    answer = ask(every_jump, pushed, pairs(DATA, 4000))
    assert not answer.target.requires_grad
    answer.losses().mean().backward()
    assert push.grad.item() * size > 0


@pytest.mark.parametrize("rows", [8, 16, 60, 256, 512])
def test_length_is_left_out(rows) -> None:
    """Equal shares in the long run, at most one row apart in a batch; every t is a multiple of the length."""
    counts: Counter[float] = Counter()
    objective, generator = Shortcut(), torch.Generator().manual_seed(0)
    steps = 700
    for step in range(1, steps + 1):
        draws = objective.draw(rows, generator, Moment(step, steps))
        jumps, finest = lengths_of(draws.t, draws.s)[: draws.jumps], lengths_of(draws.t, draws.s)[draws.jumps :]
        assert len(jumps) == round(rows / 8)
        assert set(finest) <= {1 / 128}
        assert jumps == sorted(jumps)
        assert draws.shortest == jumps.count(1 / 64)
        here = Counter(jumps)
        assert max(here[d] for d in LENGTHS) - min(here[d] for d in LENGTHS) <= 1
        assert torch.equal(draws.t / (draws.t - draws.s), (draws.t / (draws.t - draws.s)).round())
        assert draws.t.max() <= 1
        assert draws.s.min() >= 0
        counts += here
    expected = steps * round(rows / 8) / 7
    assert all(abs(counts[d] - expected) <= 2 for d in LENGTHS)


def test_ends_of_the_grid_are_never_seen() -> None:
    """t = 1 and s = 0 are both on it: the first jump of a sample and the last."""
    draws = Shortcut(bootstrap=0.5).draw(20000, torch.Generator().manual_seed(0), Moment(1, 1))
    fine = slice(draws.jumps, None)
    assert (draws.t[fine].max(), draws.s[fine].min()) == (1, 0)
    assert abs((draws.t[fine] == 1).double().mean() - 1 / 128) < 4 * (1 / 128 / 10000) ** 0.5


def test_averaged_weights_are_not_asked(pairs, ask) -> None:
    """Targets of jumps come from theta-minus; without it from the network itself."""
    batch = pairs(DATA, 64)
    own, lagged = (lambda z, t, s, label: 1 + 0 * z), (lambda z, t, s, label: 3 + 0 * z)
    objective = Shortcut(bootstrap=0.5)
    assert set(ask(objective, own, batch, lagged=lagged).target[:32].flatten().tolist()) == {3.0}
    assert set(ask(objective, own, batch).target[:32].flatten().tolist()) == {1.0}
    assert objective.decay(Moment(1, 1)) == 0.999


def test_clip_bounds_nothing(pairs, ask) -> None:
    """|target| <= 4, and the point between the half-steps; without it neither."""
    batch, seen = pairs(DATA, 64), []

    def far(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        seen.append(z.abs().max().item())
        return -100 + 0 * z

    assert ask(Shortcut(bootstrap=0.5), far, batch).target[:32].unique().tolist() == [-4.0]
    assert max(seen[2:]) <= 4
    assert ask(Shortcut(bootstrap=0.5, clip=None), far, batch).target[:32].unique().tolist() == [-100.0]
    assert max(seen[5:]) > 4


def labelled(batch: Batch) -> Batch:
    return batch._replace(condition=batch.condition.relabelled(torch.ones(len(batch.x0), dtype=torch.long)))


def test_guidance_is_mixed_at_other_lengths(pairs, ask) -> None:
    """Only d = 1/64 is guided, only from its first step on; u is its label here, and the null label 0."""
    batch = labelled(pairs(DATA, 64))
    objective = Shortcut(bootstrap=0.5, guidance=FinestGuidance(scale=1.5, start_step=5))
    u = lambda z, t, s, label: 2.0 * per_sample(label, z) + 0 * z  # noqa: E731
    draws = objective.draw(64, torch.Generator().manual_seed(0), Moment(5, 100))
    guided = (draws.t - draws.s)[:32] == 1 / 64
    assert guided.sum() in (4, 5)
    target = ask(objective, u, batch, step=5).target[:32, 0]
    assert target[guided].unique().tolist() == [3.0]
    assert target[~guided].unique().tolist() == [2.0]
    assert ask(objective, u, batch, step=4).target[:32].unique().tolist() == [2.0]


def test_shard_guides_other_rows() -> None:
    objective, moment = Shortcut(bootstrap=0.5, guidance=FinestGuidance(scale=2.0)), Moment(3, 10)
    whole = objective.draw(64, torch.Generator().manual_seed(0), moment)
    parts = [whole.part(Shard(index, 4)) for index in range(4)]
    assert sum(part.shortest for part in parts) == whole.shortest
    for part in parts:
        assert torch.equal((part.t - part.s)[: part.jumps] == 1 / 64, torch.arange(part.jumps) < part.shortest)
    networks = Networks(lambda z, t, s, label: z * per_sample(label, z), None, 0)
    x = torch.randn(64, 1)
    batch = Batch(x, -x, _label(64), torch.zeros(64, dtype=torch.bool))
    target = objective(networks, batch, whole, moment).target
    for index, part in enumerate(parts):
        shard = Shard(index, 4)
        mine = Batch(shard.rows(x), shard.rows(-x), _label(16), torch.zeros(16, dtype=torch.bool))
        assert torch.equal(objective(networks, mine, part, moment).target, shard.rows(target))


def _label(rows: int) -> Condition:
    return Condition(torch.ones(rows, dtype=torch.long))


REFUSED = {
    "objective.guidance={scale: 1.5}": "guidance mixes in the null label",
    "objective.guidance={scale: 0}": "objective.guidance.scale",
    "run.batch=1": r"run\.batch is 1: of 1 rows .* it takes run\.batch=2 or more",
    "run.sample_steps=[3]": "run.sample_steps has 3, which shortcut cannot do: .* outside the span 'dyadic'",
    "run.sample_steps=[256]": "run.sample_steps has 256, which shortcut cannot do",
}


@pytest.mark.parametrize("override", REFUSED)
def test_nonsense_is_taken(override) -> None:
    with pytest.raises(ValueError, match=REFUSED[override]):
        load_recipe("points/shortcut", ["objective.label_dropout=0", override])


def test_powers_of_two_are_refused() -> None:
    assert load_recipe("points/shortcut", ["run.sample_steps=[1, 2, 16, 128]"]).run.sample_steps == (1, 2, 16, 128)
