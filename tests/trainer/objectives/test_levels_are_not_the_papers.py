"""Grids of noise levels, how many there are over a run, which are looked at, and how fast averaged weights follow."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from trainer.objectives.consistency_training import ConsistencyTraining
from trainer.objectives.ect import EasyConsistencyTuning
from trainer.objectives.ict import ImprovedConsistencyTraining
from trainer.objectives.parts.coordinates import sigma_between, sigma_of, time_of
from trainer.objectives.parts.levels import Even, Karras, doubling_count, log_normal_mass, square_root_count
from trainer.objectives.parts.moment import Moment
from trainer.oracle.fixed_points import karras_sigmas


def test_karras_levels_are_others() -> None:
    sigmas, times = Karras().sigmas(18), Karras().times(18)
    np.testing.assert_allclose(sigmas.numpy()[::-1], karras_sigmas(18), rtol=1e-12)
    np.testing.assert_allclose(sigma_of(times[1:]), sigmas[1:], rtol=1e-12)
    assert times[0] == 0
    assert times[-1].item() == pytest.approx(80 / 81) == Karras().t_max


def test_even_levels_are_not_even() -> None:
    assert Even().times(5).tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_levels_do_not_rise() -> None:
    with pytest.raises(ValueError, match="sigma_min is 90, not below sigma_max 80"):
        Karras(sigma_min=90)


def test_distance_of_levels_loses_digits() -> None:
    t, m = torch.tensor([0.9, 0.3]), torch.tensor([0.8, 0.0])
    torch.testing.assert_close(sigma_between(m, t), torch.tensor([9.0 - 4.0, 3 / 7]))
    # In float32 the two levels of 1281 next to sigma = 80 have four digits left of their difference.
    near = Karras().times(1281)[-2:]
    exact = sigma_of(near[1]) - sigma_of(near[0])
    assert sigma_between(*near.float()).item() == pytest.approx(exact.item(), rel=5e-3)
    assert sigma_of(time_of(2.5)) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("share", "levels"),
    # ceil(sqrt(share (151^2 - 4) + 4) - 1) + 1
    [(0.0, 2), (1e-4, 3), (0.01, 16), (0.25, 76), (0.5, 107), (1.0, 151)],
)
def test_square_root_schedule(share: float, levels: int) -> None:
    assert square_root_count(share, 2, 150) == levels


def test_doubling_schedule() -> None:
    """iCT, 400,000 steps: eight phases of 50,000 with 10, 20, ..., 1280 intervals."""
    steps = 400_000
    found = [doubling_count(50_000 * phase + 1, steps, 10, 1280) - 1 for phase in range(8)]
    assert found == [10, 20, 40, 80, 160, 320, 640, 1280]
    assert doubling_count(50_000, steps, 10, 1280) == 11  # the last step of the first phase
    assert doubling_count(steps, steps, 10, 1280) == 1281


@pytest.mark.parametrize(("first", "last", "steps"), [(10, 1280, 1), (10, 1280, 5), (3, 100, 77), (4, 4, 10)])
def test_grid_of_a_short_run_passes_its_last(first: int, last: int, steps: int) -> None:
    counts = [doubling_count(step, steps, first, last) - 1 for step in range(1, steps + 1)]
    assert counts == sorted(counts)
    assert counts[0] == first
    assert counts[-1] <= last
    if steps > 10:
        assert counts[-1] == last


def test_mass_of_an_interval_is_not_the_normal_law() -> None:
    sigmas = Karras().sigmas(41)
    mass = log_normal_mass(sigmas, -1.1, 2.0)
    cumulative = norm.cdf(np.log(sigmas.numpy()), -1.1, 2.0)
    np.testing.assert_allclose(mass, np.diff(cumulative) / (cumulative[-1] - cumulative[0]), rtol=1e-9)
    assert mass.sum().item() == pytest.approx(1)
    other = log_normal_mass(sigmas, -1.1, 1.0)  # control
    assert float((mass - other).abs().max()) > 0.01


def test_intervals_are_drawn_by_another_law() -> None:
    """Frequencies within four standard errors, at the finest grid, of which no weight is infinite either."""
    objective, rows, moment = ImprovedConsistencyTraining(), 200_000, Moment(100, 100)
    draws = objective.draw(rows, torch.Generator().manual_seed(0), moment)
    times = objective.levels.times(1281)
    assert bool((draws.m < draws.t).all())
    assert bool(sigma_between(draws.m, draws.t).reciprocal().isfinite().all())
    number = torch.bucketize(draws.t, times, right=False) - 1
    coarse = log_normal_mass(objective.levels.sigmas(1281), objective.mean, objective.std).reshape(16, 80).sum(1)
    found = torch.bincount(number // 80, minlength=16) / rows
    assert float(((found - coarse) / (coarse * (1 - coarse) / rows).sqrt()).abs().max()) < 4
    torch.testing.assert_close(times[number], draws.m)


def test_intervals_of_consistency_training_are_uneven() -> None:
    objective, rows = ConsistencyTraining(), 20_000
    draws = objective.draw(rows, torch.Generator().manual_seed(0), Moment(1, 1000))
    torch.testing.assert_close(draws.t, torch.full((rows,), 80 / 81))  # two levels, one interval
    assert not draws.m.any()
    draws = objective.draw(rows, torch.Generator().manual_seed(0), Moment(11, 1000))
    count = objective.count(Moment(11, 1000))
    found = torch.unique(draws.t, return_counts=True)[1]
    assert len(found) == count - 1
    expected = rows / (count - 1)
    assert float((found - expected).abs().max()) < 4 * math.sqrt(expected)


def test_decay_does_not_follow_the_grid() -> None:
    objective = ConsistencyTraining(target_ema=0.9)
    for step in (1, 300, 1000):
        moment = Moment(step, 1000)
        mu = objective.decay(moment)
        assert mu == pytest.approx(0.9 ** (2 / objective.count(moment)))
    assert objective.decay(Moment(1, 1000)) == pytest.approx(0.9)
    assert ConsistencyTraining(target_ema=None).decay(Moment(1, 1000)) is None


@pytest.mark.parametrize(
    ("sigma", "stage", "lower"),
    # sigma (1 - (1 + 8 / (1 + e^sigma)) / 2^(stage + 1)), and not below 0
    [(80.0, 0, 40.0), (1.0, 0, 0.0), (1.0, 1, 0.2121171), (1.0, 7, 0.9876895), (0.01, 2, 0.0037750), (0.01, 0, 0.0)],
)
def test_mapping_of_ect(sigma: float, stage: int, lower: float) -> None:
    objective = EasyConsistencyTuning()
    found = sigma_of(objective.lower(torch.tensor([time_of(sigma)]), stage))
    assert found.item() == pytest.approx(lower, rel=1e-5, abs=1e-12)


def test_stages_are_uneven() -> None:
    objective = EasyConsistencyTuning(flow_matching_steps=20, stages=4)
    stages = [objective.stage(Moment(step, 100)) for step in range(1, 101)]
    assert stages == [None] * 20 + [0] * 20 + [1] * 20 + [2] * 20 + [3] * 20
    short = [objective.stage(Moment(step, 9)) for step in range(1, 10)]
    assert short == [None] * 4 + [0, 0, 1, 2, 3]


def test_times_of_ect_leave_their_law() -> None:
    """Log-normal noise levels, cut at sigma_max, and a lower one that is below them."""
    objective = EasyConsistencyTuning(flow_matching_steps=0)
    draws = objective.draw(100_000, torch.Generator().manual_seed(0), Moment(100, 100))
    inside = sigma_of(draws.t[draws.t < objective.t_max]).log()
    assert inside.mean().item() == pytest.approx(-1.1, abs=0.04)
    assert inside.std().item() == pytest.approx(2.0, abs=0.04)
    above = (draws.t == objective.t_max).double().mean().item()
    assert above == pytest.approx(norm.sf(math.log(80), -1.1, 2.0), abs=6e-4)
    assert bool((draws.m < draws.t).all())
