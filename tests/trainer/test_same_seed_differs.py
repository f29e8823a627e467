"""Two runs of one recipe and seed on one CPU give the same bytes; nothing but the seed may tell them apart.

Every method on points; on pictures one, because no method knows what it is asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.teachers import teachers_for
from trainer.data.dataset import Dataset
from trainer.loop import train
from trainer.objectives import methods
from trainer.recipe import Recipe

Tiny = Callable[..., Recipe]


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize("name", [f"points/{method}" for method in methods()] + ["facets/meanflow"])
def test_same_seed_other_weights(
    tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset], weights: Any, name: str
) -> None:
    recipe, dataset = tiny(name), data_for(name)
    lenders = teachers_for(recipe, dataset)
    first = train(recipe, dataset, tmp_path / "first", lenders=lenders)
    torch.manual_seed(12345)  # what the process did before must not matter
    torch.randn(7)
    second = train(recipe, dataset, tmp_path / "second", lenders=lenders)
    assert weights(first) == weights(second)
    assert (first / "config.json").read_bytes() == (second / "config.json").read_bytes()


@pytest.mark.usefixtures("plain_cards")
def test_other_seed_same_weights(tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset], weights: Any) -> None:
    """Negative control."""
    dataset = data_for("points/meanflow")
    first = weights(train(tiny("points/meanflow"), dataset, tmp_path / "first"))
    second = weights(train(tiny("points/meanflow", "run.seed=1"), dataset, tmp_path / "second"))
    assert all(first[name] != second[name] for name in first)


def test_saving_disturbs_the_training(
    tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset], weights: Any
) -> None:
    """Samples are drawn from the averaged weights inside the same network: the raw ones must come back, bit by bit."""
    dataset = data_for("facets/meanflow")
    often = train(tiny("facets/meanflow", "run.steps=3", "run.save_every=1"), dataset, tmp_path / "often")
    once = train(tiny("facets/meanflow", "run.steps=3", "run.save_every=100"), dataset, tmp_path / "once")
    assert weights(often) == weights(once)
