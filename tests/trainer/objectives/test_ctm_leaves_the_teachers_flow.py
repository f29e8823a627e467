"""CTM learns the jumps of a teacher's solver: where that leads, where the gradient goes, and which levels are drawn.

It does not rest at the truth but at the chain of Heun steps down its grid, which is second-order accurate.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from models.flow_map import per_sample
from trainer.objectives.ctm import CTM
from trainer.objectives.parts.levels import Even, Karras
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Networks
from trainer.objectives.parts.times import LogitNormal
from trainer.oracle import Gaussian, GaussianMixture
from trainer.oracle.expected_loss import flow_matching_loss
from trainer.oracle.fixed_points import exact_slope, heun_slope, ve_consistency_slope
from trainer.oracle.gaussian import log_growth
from trainer.recipe import load_recipe
from trainer.start import settle

DATA = Gaussian(0.7, 0.4)
GRIDS = {"karras": Karras(), "even": Even()}


def teacher(z: Tensor, t: Tensor, label: Tensor) -> Tensor:
    return DATA.velocity(z, t)


def whole_path(objective: CTM, rows: int = 2) -> Tensor:
    """All levels, from the top to 0."""
    return objective.levels.times(objective.count).flip(0).expand(rows, -1)


def landed(objective: CTM, ask_teacher=teacher) -> Tensor:
    """Where the solver leads z = 1 and z = 2 from the highest level to 0."""
    z, path = torch.tensor([[1.0], [2.0]]), whole_path(objective)
    return z - path[:, :1] * objective.solve(ask_teacher, z, path, torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("kind", GRIDS)
def test_solver_is_not_of_second_order(kind) -> None:
    """With twice the levels a quarter of the error; control: where the second evaluation repeats the first, half."""

    def errors(ask_teacher=None) -> list[float]:
        found = []
        for count in (17, 33, 65):
            objective = CTM(levels=GRIDS[kind], count=count)
            t = torch.full((2,), objective.t_max)
            exact = DATA.jump(torch.tensor([[1.0], [2.0]]), t, 0 * t)
            found.append((landed(objective, ask_teacher() if ask_teacher else teacher) - exact).abs().max().item())
        return found

    def stuck():
        """Answers every second time what it answered before: Euler's method."""
        before: list[Tensor] = []

        def velocity(z: Tensor, t: Tensor, label: Tensor) -> Tensor:
            if before:
                return before.pop()
            before.append(DATA.velocity(z, t))
            return before[0]

        return velocity

    second, first = errors(), errors(stuck if kind == "even" else None)
    assert all(3.4 < coarse / fine < 5.0 for coarse, fine in pairwise(second))
    if kind == "even":  # of the noise, an unchanged velocity is no unchanged noise
        assert all(1.6 < coarse / fine < 2.4 for coarse, fine in pairwise(first))


def test_slope_of_the_solver() -> None:
    """`heun_slope` on the even grid; on EDM's, but for its lowest level 0, the one of consistency distillation."""
    found = landed(CTM(levels=Even(), count=18))
    times = Even().times(18).flip(0).numpy()
    assert (found[1] - found[0]).item() == pytest.approx(heun_slope(times, lambda t: log_growth(t, 0.4)), abs=1e-12)
    found = landed(CTM(count=18))
    in_edm = (found[1] - found[0]).item() * (1 - Karras().t_max)
    assert in_edm == pytest.approx(ve_consistency_slope(18, 0.4, "heun"), rel=2e-3)


def chain(objective: CTM):
    """u of the teacher's Heun steps down the grid, from any level to any."""

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        end, levels = z, objective.levels.times(objective.count).flip(0)
        for top, bottom in pairwise(levels):
            path = torch.stack([top, bottom]).expand(len(z), -1)
            walks = per_sample((top <= t) & (bottom >= s), z)
            end = torch.where(walks, end - (top - bottom) * objective.solve(teacher, end, path, label), end)
        return (z - end) / per_sample(torch.where(t > s, t - s, 1.0), z)

    return u


@pytest.mark.parametrize("kind", GRIDS)
def test_rests_elsewhere_than_at_the_chain_of_heun_steps(kind, pairs, ask) -> None:
    """There all targets are the predictions, whatever h. The truth is off by the solver's error, less with more steps.

    (On the data's side: both are taken there by G-.)
    """
    batch = pairs(DATA, 400)

    def misfit(u, objective: CTM) -> float:
        seen = [ask(objective, u, batch, step=step, teacher=teacher) for step in range(1, 8)]
        return max((each.target - each.prediction).abs().max().item() for each in seen)

    def truth(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return DATA.average_velocity(z, t, s)

    coarse, fine = (CTM(levels=GRIDS[kind], count=count, denoising=0) for count in (9, 33))
    assert misfit(chain(coarse), coarse) < 1e-12
    assert misfit(truth, coarse) > 1e-3
    assert misfit(truth, fine) < misfit(truth, coarse) / 8
    assert misfit(lambda z, t, s, label: DATA.velocity(z, t), fine) > 0.1


def test_no_jump_is_one(pairs, ask) -> None:
    """G(z, t, t) = z: where s is the solver's end the target is the solver's, taken on; where s = 0 nothing is."""
    objective, batch = CTM(levels=Even(), denoising=0), pairs(DATA, 400)
    lead = torch.tensor(0.37)
    answer = ask(objective, lambda z, t, s, label: lead + 0 * z, batch, teacher=teacher)
    draws = objective.draw(400, torch.Generator().manual_seed(0), Moment(1, 100))
    z, t, m, s = batch.at(draws.t), draws.t[:, None], draws.m[:, None], draws.s[:, None]
    ended = z - (t - m) * objective.solve(teacher, z, draws.path, batch.condition.label)
    torch.testing.assert_close(answer.target, ended - m * lead)
    torch.testing.assert_close(answer.prediction, z - t * lead)
    assert (m == s).any()
    assert (s == 0).any()


def test_gradient_goes_elsewhere_than_through_the_input(pairs, ask) -> None:
    """To the network by way of where G- is asked, with G-'s slope there; none to G-'s weights, none to the target."""
    objective, batch = CTM(levels=Even(), denoising=0), pairs(DATA, 50)
    lead, slope = torch.tensor(0.2, requires_grad=True), torch.tensor(0.6)
    answer = ask(
        objective,
        lambda z, t, s, label: lead + 0 * z,
        batch,
        teacher=teacher,
        lagged=lambda z, t, s, label: slope * z,
    )
    assert not answer.target.requires_grad
    (found,) = torch.autograd.grad(answer.prediction.sum(), lead)
    draws = objective.draw(50, torch.Generator().manual_seed(0), Moment(1, 100))
    assert found.item() == pytest.approx(-((draws.t - draws.s) * (1 - 0.6 * draws.s)).sum().item())


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("size", [0.3, -0.3])
@pytest.mark.parametrize("bump", ["offset", "slope", "span"])
def test_gradient_points_away(kind, size, bump, pairs, ask) -> None:
    """Pushed off the truth, by the consistency term alone and by that with denoising."""
    bumps = {
        "offset": lambda z, t, s: torch.ones_like(z),
        "slope": lambda z, t, s: z,
        "span": lambda z, t, s: per_sample(t - s, z) * torch.ones_like(z),
    }
    push = torch.tensor(size, requires_grad=True)

    def pushed(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return DATA.average_velocity(z, t, s) + push * bumps[bump](z, t, s)

    def lagged(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        return DATA.average_velocity(z, t, s)

    for denoising in (0.0, 1.0):
        objective = CTM(levels=GRIDS[kind], denoising=denoising)
        answer = ask(objective, pushed, pairs(DATA, 2000), teacher=teacher, lagged=lagged)
        (found,) = torch.autograd.grad(answer.losses().mean(), push)
        assert found.item() * size > 0


def test_denoising_is_another_loss_than_flow_matching(pairs, ask, standard_errors) -> None:
    """At the truth s^2 / sigma_t^2 a dimension, times N_t^2 / sigma_data^2; at another velocity more."""
    law = LogitNormal(mean=0.4, std=1e-12)
    objective, batch = CTM(denoising_law=law, sigma_data=0.3), pairs(DATA, 4000)
    answer = ask(objective, lambda z, t, s, label: DATA.average_velocity(z, t, s), batch, teacher=teacher)
    t = torch.sigmoid(torch.tensor(0.4))
    expected = flow_matching_loss(t.item(), 0.4) * (t**2 / 0.3**2 + (1 - t) ** 2).item()
    found = answer.also[:2000, None]
    assert standard_errors(found, expected) < 4
    assert standard_errors(found, 1.3 * expected) > 4
    torch.testing.assert_close(answer.terms["loss/denoising"], answer.also)
    assert ask(CTM(denoising=0.25), lambda z, *_: 0 * z, batch, teacher=teacher).also.sum().item() == pytest.approx(
        ask(CTM(), lambda z, *_: 0 * z, batch, teacher=teacher).also.sum().item() / 4
    )


def test_denoised_times_have_another_law() -> None:
    """Half log-normal on sigma, half from the upper 70 % of the grid's levels."""
    draws = CTM().draw(20000, torch.Generator().manual_seed(0), Moment(1, 1))
    first, second = draws.denoised_at[:10000], draws.denoised_at[10000:]
    assert torch.logit(first).mean().item() == pytest.approx(-1.2, abs=0.05)
    assert torch.logit(first).std().item() == pytest.approx(1.2, abs=0.05)
    sigma = (second / (1 - second)) ** (1 / 7)
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    assert sigma.min().item() == pytest.approx(low + 0.3 * (high - low), abs=0.01)
    assert sigma.max().item() == pytest.approx(high, abs=0.01)
    assert sigma.mean().item() == pytest.approx(low + 0.65 * (high - low), abs=0.01)


def test_long_solves_are_as_rare_as_short_ones() -> None:
    """Over a run h is as likely as it is large, 1 to 17; with a largest h below that, 1 to it."""
    for objective, most in ((CTM(), 17), (CTM(solver_steps=4), 4)):
        steps = 1530
        counts = Counter(objective.heun_steps(Moment(step, steps)) for step in range(1, steps + 1))
        assert sorted(counts) == list(range(1, most + 1))
        assert all(abs(counts[h] - steps * 2 * h / (most * (most + 1))) <= 3 for h in counts)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_levels_are_off_the_grid(step) -> None:
    """t: any with h below it, all as likely; the path: its h neighbours; s: any from its end down, all as likely."""
    objective, rows = CTM(), 20000
    moment = Moment(step, 5)
    draws, h = objective.draw(rows, torch.Generator().manual_seed(step), moment), objective.heun_steps(moment)
    levels = objective.levels.times(18).to(draws.t)
    number = {level: place for place, level in enumerate(levels.tolist())}
    top, bottom = (torch.tensor([number[each] for each in values.tolist()]) for values in (draws.t, draws.s))
    path = torch.stack([torch.tensor([number[each] for each in row]) for row in draws.path[:50].tolist()])
    assert path.shape[1] == h + 1
    assert torch.equal(path, top[:50, None] - torch.arange(h + 1))
    chances = top.bincount(minlength=18) / rows
    assert torch.all(chances[:h] == 0)
    assert torch.allclose(chances[h:], torch.tensor(1 / (18 - h)).double(), atol=0.02)
    assert torch.all(bottom <= top - h)
    below = bottom[top == 17].bincount() / (top == 17).sum()
    assert torch.allclose(below, torch.tensor(1 / (18 - h)).double(), atol=0.12)


def test_masks_of_dropout_differ(pairs) -> None:
    """The two ways to s drop the same units, and so do the two from there on, which are of another network."""
    states: list[Tensor] = []

    def u(z: Tensor, t: Tensor, s: Tensor, label: Tensor) -> Tensor:
        states.append(torch.get_rng_state())
        return torch.nn.functional.dropout(z, 0.5)

    objective, moment = CTM(denoising=0), Moment(1, 1)
    draws = objective.draw(8, torch.Generator().manual_seed(0), moment)
    objective(Networks(u, u, 0, dropout=True, lagged=u, teacher=teacher), pairs(DATA, 8), draws, moment)
    assert len(states) == 4
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[2], states[3])
    assert not torch.equal(states[0], states[2])


REFUSED = {
    "objective.target_ema=null": "objective.target_ema",
    "objective.solver_steps=18": "solver_steps is 18, but 12 levels have 11 steps between them",
    "objective.count=1": "objective.count",
    "objective.guidance={}": "objective.guidance: no such key",
}


@pytest.mark.parametrize("override", REFUSED)
def test_nonsense_is_taken(override) -> None:
    with pytest.raises(ValueError, match=REFUSED[override]):
        load_recipe("points/ctm", ["objective.levels={kind: karras}", override])


def test_begins_without_a_teacher() -> None:
    with pytest.raises(ValueError, match="ctm distils a trained model, and none is given: --teacher CHECKPOINT"):
        settle(load_recipe("points/ctm"), {})


def test_exact_flow_has_no_slope_of_its_own() -> None:
    """Control of the numbers above: the flow's own slope is another one."""
    assert heun_slope(Even().times(9).flip(0).numpy(), lambda t: log_growth(t, 0.4)) != pytest.approx(
        exact_slope(1, 0, 0.4), abs=1e-3
    )


def test_grid_of_the_recipe_is_biased() -> None:
    """On a mixture its solver misses the exact map by less than 1 % of the deviation; on EDM's levels by over 5 %."""
    mixture = GaussianMixture([0.3, 0.7], [-1.5, 1.0], [0.3, 0.5])
    z = torch.linspace(-2.5, 2.5, 101)[:, None]
    exact = mixture.jump(z.numpy(), 1.0, 0.0)
    deviation = mixture.sample(np.random.default_rng(0), 20000).std()

    def miss(objective: CTM) -> float:
        path = whole_path(objective, len(z))
        velocity = objective.solve(lambda z, t, label: mixture.velocity(z, t), z, path, torch.zeros(len(z)))
        return float(np.sqrt(np.mean(((z - path[:, :1] * velocity).numpy() - exact) ** 2)) / deviation)

    shipped = load_recipe("points/ctm").objective
    assert isinstance(shipped, CTM)
    assert miss(shipped) < 0.01
    assert miss(shipped.model_copy(update={"levels": Karras()})) > 0.05
