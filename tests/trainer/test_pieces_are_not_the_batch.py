"""A batch worked through in pieces (run.accumulate) gives the gradient, the log and the weights of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint import read_weights
from trainer.data.dataset import Dataset, open_dataset
from trainer.loop import train
from trainer.processes import Processes
from trainer.recipe import Recipe
from trainer.rundir import RunDirectory
from trainer.shard import Shard
from trainer.training import Training

pytestmark = pytest.mark.usefixtures("plain_cards")

Tiny = Callable[..., Recipe]
Data = Callable[[str], Dataset]

# The last layer is zero at the start and so are most gradients: a few steps first. Squared errors keep every row alive.
CASES: dict[str, tuple[str, list[str]]] = {
    "points, meanflow": ("points/meanflow", []),
    "points, flow matching": ("points/flow-matching", []),
    "pictures, flow matching": ("facets/flow-matching", []),
    "pictures, guided meanflow": ("facets/meanflow", ["objective.guidance={omega: 1.0, kappa: 0.4, start_step: 1}"]),
    "pictures, guided shortcut": (
        "facets/shortcut",
        ["objective.bootstrap=0.5", "objective.guidance={scale: 1.5, start_step: 1}"],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("pieces", [2, 4])
def test_pieces_give_other_weights(tmp_path: Path, tiny: Tiny, data_for: Data, case: str, pieces: int) -> None:
    name, overrides = CASES[case]
    runs = {}
    for count in (1, pieces):
        recipe = tiny(name, *overrides, "optimiser.name=adamw", f"run.accumulate={count}")
        runs[count] = train(recipe, data_for(name), tmp_path / str(count))
    whole, parts = (read_weights(runs[count] / "model.safetensors") for count in (1, pieces))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-3, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
    rows = [RunDirectory(runs[count].parent, 1).rows() for count in (1, pieces)]
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        for key in ("loss", "gradient", *(key for key in one if key.startswith("loss/"))):
            assert other[key] == pytest.approx(one[key], rel=1e-3)


def gradient(recipe: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, shards: Any = None) -> torch.Tensor:
    """The whole gradient of the first step, from weights that are all alive."""
    training = Training(recipe, dataset, Processes("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in training.flow_map.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    if shards is not None:
        training.shards = shards
    seen: list[torch.Tensor] = []

    def look(rate: float) -> torch.Tensor:
        seen.append(torch.cat([weight.grad.flatten() for weight in training.flow_map.parameters()]))  # type: ignore[union-attr]
        return seen[0].norm()

    monkeypatch.setattr(training.optimisers, "step", look)
    training.step(1)
    return seen[0]


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_another(tiny: Tiny, data_for: Data, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Within rounding; and negative control: pieces that leave rows out, or are counted twice, are seen."""
    name, overrides = CASES[case]
    recipe, dataset = tiny(name, *overrides), data_for(name)
    whole = gradient(recipe, dataset, monkeypatch)
    parts = gradient(tiny(name, *overrides, "run.accumulate=4"), dataset, monkeypatch)
    assert (parts - whole).norm() < 1e-5 * whole.norm()
    for wrong in ([Shard(0, 2), Shard(0, 2)], [Shard(0, 4), Shard(1, 4), Shard(2, 4)]):
        assert (gradient(recipe, dataset, monkeypatch, wrong) - whole).norm() > 1e-2 * whole.norm()


def test_uneven_pieces_are_taken(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    with pytest.raises(ValueError, match=r"run.batch is 16, .* with 3 pieces each .* it must be a multiple of 3"):
        train(tiny("points/meanflow", "run.accumulate=3"), open_dataset(points), tmp_path / "run")
    assert not (tmp_path / "run").exists()
