"""A range of guidance scales that says two things, or nothing, is refused in one line that says what would be right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe, load_recipe, parse_recipe

GROUP = "points/meanflow: objective.guidance"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["range=[4, 1]"], f"{GROUP}: range is [4, 1]: the smaller scale comes first"),
        (["range=[0, 4]"], f"{GROUP}.range.0: Input should be greater than 0, not 0"),
        (["range=[-1, 4]"], f"{GROUP}.range.0: Input should be greater than 0, not -1"),
        (["range=[1, .inf]"], f"{GROUP}.range.1: Input should be a finite number, not inf"),
        (["range=[1, .nan]"], f"{GROUP}.range.1: Input should be "),
        (["range=[1]"], f"{GROUP}.range.1: required"),
        (["range=4"], f"{GROUP}.range: Input should be a valid tuple, not 4"),
        (["range=[1, 4]", "default=5"], f"{GROUP}: default is 5, outside the range 1 to 4"),
        (["range=[1, 4]", "default=0.5"], f"{GROUP}: default is 0.5, outside the range 1 to 4"),
        (["range=[1, 4]", "law=normal"], f"{GROUP}.law: Input should be 'log-uniform' or 'uniform', not 'normal'"),
        (["default=2"], f"{GROUP}: law and default belong to a range of scales; give range too, [1, 4] say"),
        (["law=uniform"], f"{GROUP}: law and default belong to a range of scales"),
        (["range=[1, 4]", "omega=2"], f"{GROUP}: range trains all scales from 1 to 4, omega and kappa a single one"),
        (["range=[1, 4]", "kappa=0.5"], "--set 'objective.guidance={range: [1, 4]}'"),
    ],
)
def test_senseless_range_is_taken(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r"objective\.guidance") as caught:
        load_recipe("points/meanflow", [f"objective.guidance.{override}" for override in overrides])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_untrained_null_label_is_taken() -> None:
    with pytest.raises(ValueError, match="guidance mixes in the null label, which only label_dropout above 0 trains"):
        load_recipe("points/meanflow", ["objective.guidance.range=[1, 4]", "objective.label_dropout=0"])
    load_recipe("points/meanflow", ["objective.guidance.range=[1, 1]", "objective.label_dropout=0"])


@pytest.mark.parametrize("name", ["points/meanflow", "facets/meanflow"])
def test_one_override_is_not_enough(name: str) -> None:
    """Also where the recipe has a single scale of its own; and the resolved recipe can be read again."""
    recipe = load_recipe(name, ["objective.guidance={range: [1, 4], start_step: 1000}"])
    told = recipe.objective.guidance_input
    assert told is not None
    assert (told.min, told.default, told.max) == (1, 2, 4)
    assert parse_recipe(recipe.model_dump(mode="json"), "again") == recipe


def test_flow_matching_takes_guidance() -> None:
    with pytest.raises(ValueError, match=r"objective\.guidance: no such key with the other settings"):
        load_recipe("points/flow-matching", ["objective.guidance={range: [1, 4]}"])


def test_range_without_labels_starts(tmp_path: Path, tiny: Callable[..., Recipe], points: Path) -> None:
    recipe = tiny("points/meanflow", "objective.guidance.range=[1, 4]")
    message = "objective.guidance has the scale 1 to 4, but data set points has no labels to guide towards"
    with pytest.raises(ValueError, match=message):
        train(recipe, open_dataset(points), tmp_path / "run")
    assert not (tmp_path / "run").exists()
