"""alpha-Flow's alpha must fall from 1 to 0 along its sigmoid, between two shares of the run."""

import math
from itertools import pairwise

import pytest
import torch

from trainer.objectives.alpha_flow import AlphaFlow
from trainer.objectives.parts.curriculum import Curriculum
from trainer.objectives.parts.moment import Moment
from trainer.oracle import Gaussian
from trainer.recipe import load_recipe


def course(curriculum: Curriculum, steps: int = 1200) -> list[float]:
    return [curriculum.alpha(Moment(step, steps)) for step in range(1, steps + 1)]


def test_course_of_the_whole_run() -> None:
    """1 - sigmoid(25 (k - 1/2)), off by nothing but the clamp: 1 above .995, 0 below .005."""
    found = course(Curriculum())
    for step in (400, 500, 601, 650, 800):
        share = (step - 1) / 1200
        assert found[step - 1] == pytest.approx(1 - 1 / (1 + math.exp(-25 * (share - 0.5))), rel=1e-12)
    assert found[600] == pytest.approx(0.5)
    assert all(later <= earlier for earlier, later in pairwise(found))
    between = [alpha for alpha in found if 0 < alpha < 1]
    assert found[0] == 1.0
    assert found[-1] == 0.0
    assert 0.005 <= min(between) < 0.0052
    assert 0.9948 < max(between) <= 0.995


def test_course_of_a_part() -> None:
    """The XL model's: from 600k to 1M of 1.2M steps."""
    found = course(Curriculum(start=600 / 1200, end=1000 / 1200))
    assert set(found[:600]) == {1.0}
    assert set(found[1001:]) == {0.0}
    assert found[800] == pytest.approx(0.5)
    assert found[800 + 16] == pytest.approx(1 / (1 + math.exp(25 * 16 / 400)))


def test_a_flat_curriculum_jumps_at_its_ends() -> None:
    """Before `start` alpha is 1 and after `end` 0, also where the sigmoid is not there yet."""
    found = course(Curriculum(start=0.25, end=0.75, gamma=2.0), 100)
    assert found[24] == 1.0
    assert found[25] == pytest.approx(1 / (1 + math.exp(-1)))
    assert found[75] == pytest.approx(1 / (1 + math.exp(1)))
    assert found[76] == 0.0


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.8, 0.2)])
def test_curriculum_that_rises(start: float, end: float) -> None:
    with pytest.raises(ValueError, match=f"start is {start:g}, not before end {end:g}"):
        Curriculum(start=start, end=end)


@pytest.mark.parametrize(("step", "alpha"), [(1, 1.0), (51, 0.5), (100, 0.0)])
def test_objective_is_at_another_moment(step: int, alpha: float, pairs, ask) -> None:
    answer = ask(AlphaFlow(), lambda z, t, s, label: torch.sin(z), pairs(Gaussian(0.7, 0.4), 8), step=step)
    assert answer.terms["alpha"][0].item() == pytest.approx(alpha)


def test_recipe_sets_one_alpha_or_a_curriculum() -> None:
    assert load_recipe("points/alpha-flow", ["objective.alpha=0.5"]).objective.alpha == 0.5  # type: ignore[attr-defined]
    fell = load_recipe("points/alpha-flow", ["objective.alpha={start: 0.5, end: 0.8}"]).objective
    assert fell.alpha == Curriculum(start=0.5, end=0.8)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"objective\.alpha"):
        load_recipe("points/alpha-flow", ["objective.alpha=1.5"])
