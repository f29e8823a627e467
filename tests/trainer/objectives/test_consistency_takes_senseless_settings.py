"""What a consistency model refuses, with the reason, and what --init and a step count make of one."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from models.build import MLPArchitecture, build
from trainer.objectives.consistency_distillation import ConsistencyDistillation
from trainer.objectives.consistency_training import ConsistencyTraining
from trainer.objectives.ect import EasyConsistencyTuning
from trainer.objectives.ict import ImprovedConsistencyTraining
from trainer.objectives.parts.levels import Even
from trainer.recipe import load_recipe
from trainer.start import settle

METHODS = [ConsistencyDistillation, ConsistencyTraining, ImprovedConsistencyTraining, EasyConsistencyTuning]


@pytest.mark.parametrize("method", [ImprovedConsistencyTraining, EasyConsistencyTuning])
def test_average_makes_targets(method) -> None:
    with pytest.raises(
        ValidationError, match=r"target_ema is 0\.95, but its target is made with the weights themselves"
    ):
        method(target_ema=0.95)
    assert method().decay(None) is None


@pytest.mark.parametrize("method", [ConsistencyDistillation, ConsistencyTraining])
def test_average_is_refused_where_it_was_published(method) -> None:
    assert method(target_ema=0.95).target_ema == 0.95


def test_distillation_starts_without_a_teacher() -> None:
    with pytest.raises(ValueError, match="cd distils a trained model, and none is given: --teacher"):
        settle(load_recipe("points/cd"), {})


@pytest.mark.parametrize("method", [ConsistencyTraining, ImprovedConsistencyTraining])
def test_grid_shrinks(method) -> None:
    with pytest.raises(ValidationError, match="first is 20, more than last, 10; the grid grows over the run"):
        method(first=20, last=10)


def test_grid_of_one_level() -> None:
    with pytest.raises(ValidationError, match="count"):
        ConsistencyDistillation(count=1)


@pytest.mark.parametrize("method", METHODS)
def test_sampler_leaves_the_levels(method) -> None:
    """Two steps begin at 1 and at sigma = 0.821; 128 even ones would begin above the highest level."""
    first, second = method().grid(2)
    assert first.t == 1.0
    assert second.t == pytest.approx(0.821 / 1.821)
    assert first.arrives == pytest.approx(second.t)
    assert [step.s for step in method().grid(4)] == [0.0] * 4
    with pytest.raises(ValueError, match="knows no time between t_max="):
        method().grid(128)


def test_even_levels_end_below_noise() -> None:
    assert ConsistencyTraining(levels=Even()).t_max == 1.0
    ConsistencyTraining(levels=Even()).grid(128)


def test_first_phase_stays_with_a_checkpoint_to_tune() -> None:
    recipe = load_recipe("points/ect")
    assert recipe.objective.flow_matching_steps > 0
    plain, told = settle(recipe, {})
    assert plain.objective.flow_matching_steps == recipe.objective.flow_matching_steps
    assert "--init" in told[0]
    tuned, told = settle(recipe, {"init": Path("run")})
    assert tuned.objective.flow_matching_steps == 0
    assert not told


def test_trained_flow_is_no_denoiser() -> None:
    """A network of one time that was trained by flow matching jumps to D(z, t) = z - t v(z, t) from the first."""
    flow = build(MLPArchitecture(width=16, depth=1), (2,), labels=0, span="velocity")
    for weight in flow.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    tuned = build(MLPArchitecture(width=16, depth=1), (2,), labels=0, span="endpoint", t_max=0.99)
    tuned.load_state_dict(flow.state_dict())
    z, t, zero, label = torch.randn(5, 2), torch.rand(5) * 0.9, torch.zeros(5), torch.zeros(5, dtype=torch.long)
    torch.testing.assert_close(tuned.jump(z, t, zero, label), z - t[:, None] * flow(z, t, t, label))
