"""What a consistency model refuses, with the reason, and what --init and a step count make of one."""

from __future__ import annotations

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
from trainer.objectives.parts.moment import Moment
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


@pytest.mark.parametrize("name", ["points/ect", "points/sct"])
def test_short_run_ends_in_its_first_phase(name: str) -> None:
    """Half of a run at most is flow matching, and the number that is told is that one."""
    recipe = load_recipe(name, ["run.steps=4"])
    told = settle(recipe, {})[1]
    assert told[
        0
    ] == f"{recipe.objective.method}: the first 2 steps are flow matching; --init CHECKPOINT: a trained " + (
        "network instead"
    )
    generator = torch.Generator().manual_seed(0)
    jumps = [recipe.objective.draw(8, generator, Moment(step, 4)).jumps for step in (1, 2, 3, 4)]
    assert jumps == [0, 0, 8, 8]


@pytest.mark.parametrize(
    ("name", "overrides", "share"),
    [
        ("points/ayf-emd", ["run.steps=100"], "0.2 of 0.99"),
        ("points/sct", ["run.steps=300"], "0.3 of 1"),
        ("points/scd", ["objective.tangent.warmup_steps=99999"], "0.02 of 1"),
    ],
)
def test_warmup_is_cut_off_without_a_word(name: str, overrides: list[str], share: str) -> None:
    """The map would rest on the side of straight lines. The recipes as they are end at their limit."""
    given = {"teacher": Path("teacher")} if load_recipe(name).objective.teacher == "required" else {}
    assert f"the derivative counts for {share} then" in settle(load_recipe(name, overrides), given)[1][-1]
    assert not any("derivative" in line for line in settle(load_recipe(name), given)[1])


@pytest.mark.parametrize("name", ["facets/meanflow", "facets/shortcut"])
def test_guidance_never_begins_without_a_word(name: str) -> None:
    guided = [] if name == "facets/meanflow" else ["objective.guidance={scale: 2, start_step: 1000}"]
    told = settle(load_recipe(name, [*guided, "run.steps=20"]), {})[1]
    assert len(told) == 1
    assert told[0].startswith("guidance begins at step 1,000, after the last, 20: nothing will be guided (objective.gu")
    assert settle(load_recipe(name, guided), {})[1] == []


def test_trained_flow_is_no_denoiser() -> None:
    """A network of one time that was trained by flow matching jumps to D(z, t) = z - t v(z, t) from the first."""
    flow = build(MLPArchitecture(width=16, depth=1), (2,), labels=0, span="velocity")
    for weight in flow.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    tuned = build(MLPArchitecture(width=16, depth=1), (2,), labels=0, span="endpoint", t_max=0.99)
    tuned.load_state_dict(flow.state_dict())
    z, t, zero, label = torch.randn(5, 2), torch.rand(5) * 0.9, torch.zeros(5), torch.zeros(5, dtype=torch.long)
    torch.testing.assert_close(tuned.jump(z, t, zero, label), z - t[:, None] * flow(z, t, t, label))
