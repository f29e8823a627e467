"""From a recipe with a range of scales to a checkpoint whose network takes them, and shows the default one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from export.runtime.grids import flow_grid
from models.checkpoint import CheckpointConfig, GuidanceInput, load_checkpoint
from models.flow_map import FlowMap
from models.numpy_jump import numpy_jump
from trainer.card import card, samples_image
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import Recipe
from trainer.sampling import draw

Tiny = Callable[..., Recipe]
RANGE = "objective.guidance={range: [1, 4], default: 3}"
FAST = ["optimiser.lr=0.1", "optimiser.warmup_steps=0", "run.steps=4"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny, grey: Path) -> tuple[FlowMap, CheckpointConfig, Path]:
    """A tiny run on pictures of two classes, at a rate that moves the weights far, and its folder."""
    recipe = tiny("facets/meanflow", RANGE, *FAST)
    folder = train(recipe, open_dataset(grey), tmp_path_factory.mktemp("told") / "run")
    return *load_checkpoint(folder), folder


def test_config_forgets_the_range(told: tuple[FlowMap, CheckpointConfig, Path]) -> None:
    flow_map, config, folder = told
    assert config.guidance == GuidanceInput(min=1, max=4, default=3)
    args = (config.shape, flow_grid(1), [0, 1])
    one, four = draw(flow_map, *args, guidance=1.0), draw(flow_map, *args, guidance=4.0)
    assert np.abs(one - four).max() > 1e-4
    text = (folder / "README.md").read_text()
    assert "effective scale 1 to 4, an input; 3 by default and in the pictures" in text


def test_pictures_show_another_scale(told: tuple[FlowMap, CheckpointConfig, Path]) -> None:
    flow_map, config, folder = told

    def at(scale: float) -> bytes:
        return samples_image(
            config.model_copy(update={"guidance": GuidanceInput(min=1, max=4, default=scale)}), flow_map
        )

    assert (folder / "samples.png").read_bytes() == at(3) != at(1)


def test_scale_left_out_is_guessed(told: tuple[FlowMap, CheckpointConfig, Path], tiny: Tiny) -> None:
    flow_map, config, _ = told
    with pytest.raises(ValueError, match="takes a guidance scale"):
        draw(flow_map, config.shape, flow_grid(1), [0])
    single = {"guidance": None, "recipe": tiny("facets/meanflow").model_dump(), "step": 1000}  # where it has begun
    text = card(config.model_copy(update=single), {})
    assert "effective scale 1.67\n" in text  # negative control: a single scale is no input


def test_rows_share_a_scale(told: tuple[FlowMap, CheckpointConfig, Path]) -> None:
    """Requests of different scales share a batch."""
    flow_map, config, _ = told
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, *config.shape)).astype(np.float32)
    t, s, label = np.ones(3, np.float32), np.zeros(3, np.float32), np.array([0, 1, 2])
    scale = np.array([1.0, 2.5, 4.0], np.float32)
    jump = numpy_jump(flow_map)
    together = jump(z, t, s, label, scale)
    for row in range(3):
        one = slice(row, row + 1)
        np.testing.assert_allclose(together[one], jump(z[one], t[one], s[one], label[one], scale[one]), atol=1e-5)
    assert np.abs(together - jump(z, t, s, label, scale[::-1].copy())).max() > 1e-4


@pytest.mark.usefixtures("plain_cards")
def test_resumed_run_draws_other_scales(
    tmp_path: Path, tiny: Tiny, plane: Path, stop_after: Callable, weights: Callable[[Path], Mapping[str, bytes]]
) -> None:
    recipe, dataset = tiny("points/meanflow", RANGE), open_dataset(plane)
    whole = train(recipe, dataset, tmp_path / "whole")
    train(recipe, dataset, tmp_path / "halves", stop=stop_after(4))
    assert weights(train(recipe, dataset, tmp_path / "halves", resume=True)) == weights(whole)
    other = tiny("points/meanflow", "objective.guidance={range: [1, 3], default: 3}")
    assert weights(train(other, dataset, tmp_path / "other")) != weights(whole)


@pytest.mark.usefixtures("plain_cards")
def test_pieces_train_on_other_scales(tmp_path: Path, tiny: Tiny, plane: Path) -> None:
    """A batch in two pieces gives the weights of the whole one, up to the order of sums."""
    dataset = open_dataset(plane)

    def trained(*more: str) -> dict[str, torch.Tensor]:
        folder = train(tiny("points/meanflow", *more, "run.steps=3"), dataset, tmp_path / str(len(more)) / more[-1])
        return load_checkpoint(folder, "model")[0].state_dict()

    whole, pieces = trained(RANGE, "run.accumulate=1"), trained(RANGE, "run.accumulate=2")
    narrower = trained("objective.guidance={range: [1, 2], default: 2}", "run.accumulate=1", "run.seed=0")
    for name, value in whole.items():
        torch.testing.assert_close(value, pieces[name], atol=1e-5, rtol=1e-4)
    assert any(not torch.allclose(value, narrower[name], atol=1e-5, rtol=1e-4) for name, value in whole.items())
