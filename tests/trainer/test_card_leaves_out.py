"""The model card and the pictures beside it: licence, credits and what was trained, for every kind of data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.checkpoint import load_checkpoint, read_config
from trainer.card import card, curves, samples_plot
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory

Tiny = Callable[..., Recipe]


@pytest.fixture(scope="module")
def grey_run(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny, grey: Path) -> Path:
    """The checkpoint of a tiny run on grey pictures of two classes."""
    return train(tiny("facets/meanflow", "run.steps=4"), open_dataset(grey), tmp_path_factory.mktemp("grey") / "run")


def test_licence_or_credits_are_left_out(grey_run: Path, grey: Path) -> None:
    text = (grey_run / "README.md").read_text()
    assert text.startswith("# trees: meanflow\n")
    for fact in (
        "4 steps of batch 8",
        "1 x 8 x 8 (image)",
        "span `any`",
        "classes (2): ash, birch",
        "40 training samples, licence CC0-1.0",
        open_dataset(grey).sha256,
        "0.050, 0.100",
        "## Credits",
        "| ash | Trees | A. Fraxinus | CC0-1.0 |",
        "One network evaluation makes a sample",
        "1 and 2 steps from the same noise",
        "Last logged: step 4, lr ",
    ):
        assert fact in text


def test_pictures_and_numbers_are_left_out(grey_run: Path, pixels: Any) -> None:
    """Grey data: the grid is RGB with equal channels. metrics.json is the log's row of the checkpoint's own step."""
    grid = pixels((grey_run / "samples.png").read_bytes())
    assert grid.shape == (2 * 8, 12 * 8 + 8 + 12 * 8, 3)
    assert np.array_equal(grid[..., 0], grid[..., 2])
    assert pixels((grey_run / "curves.png").read_bytes()).size > 0
    metrics = json.loads((grey_run / "metrics.json").read_text())
    assert metrics == RunDirectory(grey_run.parent, 1).rows()[-1]
    assert metrics["step"] == read_config(grey_run).step == 4


@pytest.mark.parametrize("name", ["points/meanflow", "points/flow-matching"])
@pytest.mark.parametrize("labelled", [False, True])
def test_points_have_no_card(
    tmp_path: Path, tiny: Tiny, points: Path, plane: Path, pixels: Any, name: str, labelled: bool
) -> None:
    """A bare npz, with labels or without: no licence is known, and the card says so."""
    dataset = open_dataset(plane if labelled else points)
    folder = train(tiny(name, "run.steps=2"), dataset, tmp_path / "run")
    text = (folder / "README.md").read_text()
    assert "licence unknown" in text
    assert "## Credits" not in text
    assert ("classes (3): 0, 1, 2" if labelled else "classes (0): none") in text
    assert ("One network evaluation makes a sample" in text) == (name == "points/meanflow")
    assert pixels((folder / "samples.png").read_bytes()).size > 0
    flow_map, config = load_checkpoint(folder)
    assert config.labels == (("0", "1", "2") if labelled else ())
    assert flow_map.net.conditioning.label.weight.shape[0] == len(config.labels) + 1  # type: ignore[union-attr]


def test_unlabelled_pictures_have_no_grid(tmp_path: Path, tiny: Tiny, pixels: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images)
    folder = train(
        tiny("facets/meanflow", "run.steps=1", "objective.guidance={}"),
        open_dataset(tmp_path / "mine.npz"),
        tmp_path / "run",
    )
    assert pixels((folder / "samples.png").read_bytes()).shape == (8 * 8, 12 * 8 + 8 + 12 * 8, 3)
    assert "classes (0): none" in (folder / "README.md").read_text()


def test_config_leaves_out_the_recipe_or_the_data(grey_run: Path, grey: Path, tiny: Tiny) -> None:
    config = read_config(grey_run)
    dataset = open_dataset(grey)
    assert config.recipe == tiny("facets/meanflow", "run.steps=4").model_dump(mode="json")
    assert config.data == {**dataset.info, "sha256": dataset.sha256}
    assert config.method == "meanflow"
    assert config.labels == ("ash", "birch")
    assert config.grids == {"1": [(1.0, 0.0, 1.0, 0.0)], "2": [(1.0, 0.5, 1.0, 0.0), (0.5, 0.0, 1.0, 0.0)]}


@pytest.mark.usefixtures("plain_cards")
def test_credits_of_another_form_stop_the_run(tmp_path: Path, tiny: Tiny, grey: Path) -> None:
    """data.json may be the user's own: after a thousand steps is no time to find its credits malformed."""
    config = read_config(train(tiny("facets/meanflow", "run.steps=1"), open_dataset(grey), tmp_path / "run"))
    named = {"ash": "A. Fraxinus"}
    for credits in (["a list"], "a text", named, {"ash": {"who": 1}}, None, {}):
        text = card(config.model_copy(update={"data": {**config.data, "credits": credits}}), {})
        assert "licence CC0-1.0" in text
        assert ("| ash | A. Fraxinus |" in text) == (credits == named)


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize(
    ("guidance", "said"),
    [
        ({"omega": 1.0, "kappa": 0.4}, "effective scale 1.67"),
        ({"omega": 0.2, "kappa": 0.8}, None),  # 0.2 / (1 - 0.8) is not 1 in floats, and training took it for 1
        ({"kappa": 0.4, "start_step": 2}, None),  # had not begun at step 1
        ({}, None),
    ],
)
def test_card_claims_another_guidance(
    tmp_path: Path, tiny: Tiny, grey: Path, guidance: dict[str, float], said: str | None
) -> None:
    config = read_config(train(tiny("facets/meanflow", "run.steps=1"), open_dataset(grey), tmp_path / "run"))
    objective = {**config.recipe["objective"], "guidance": guidance}
    text = card(config.model_copy(update={"recipe": {**config.recipe, "objective": objective}}), {})
    assert (said in text) if said else ("guidance" not in text)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "log",
    [
        [],
        [{"step": 1, "loss/jump": 0.0, "gradient": 1.0}],
        [{"step": step, "loss/jump": 1 / step, "derivative": step - 1.0} for step in range(1, 5)],
    ],
    ids=["empty", "zero", "some"],
)
def test_curves_of_little_stop_the_run(log: list[dict[str, Any]], pixels: Any) -> None:
    assert pixels(curves(log)).size > 0


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.filterwarnings("error")
def test_plot_of_a_diverging_map_stops_the_run(tmp_path: Path, tiny: Tiny, points: Path, pixels: Any) -> None:
    """The next step's loss says that it diverges, in better words than a histogram."""
    folder = train(tiny("points/meanflow", "run.steps=1"), open_dataset(points), tmp_path / "run")
    flow_map, config = load_checkpoint(folder)
    for value in (float("nan"), float("inf"), 1e30):
        flow_map.net.project.bias.data.fill_(value)  # type: ignore[union-attr, operator]
        assert pixels(samples_plot(config, flow_map)).size > 0


def test_origin_is_left_out(grey_run: Path) -> None:
    """What a model was distilled from and began with, what those were trained on, and what they came from in turn."""
    lent = {"method": "flow-matching", "step": 2000, "weights": "0.050", "sha256": "ab" * 32}
    first = {**lent, "method": "ect", "data": {"name": "oaks", "licence": "CC-BY-NC-4.0"}}
    teacher = {**lent, "data": {"name": "elms", "licence": "CC-BY-4.0"}, "origin": {"init": first}, "guided": "1.67"}
    config = read_config(grey_run).model_copy(update={"origin": {"teacher": teacher, "init": lent}})
    lines = card(config, {}).splitlines()
    source = f"(step 2,000, weights 0.050, SHA-256 {'ab' * 32}) that was trained on"
    at = lines.index(f"- distilled from a model by flow-matching {source} elms, licence CC-BY-4.0, guided by 1.67")
    assert lines[at + 1 : at + 3] == [
        f"  - began with the weights of a model by ect {source} oaks, licence CC-BY-NC-4.0",
        f"- began with the weights of a model by flow-matching {source} unknown data, licence unknown",
    ]
