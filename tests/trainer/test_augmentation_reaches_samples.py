"""A network that is trained on turned pictures is told so, and must be asked for upright ones, by everything after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.export import export
from models.checkpoint import load_checkpoint
from trainer.augment import Augment
from trainer.data.arrays import Split
from trainer.data.dataset import Dataset, open_dataset
from trainer.data.folder import Built, write_dataset
from trainer.loop import train
from trainer.recipe import Recipe

pytestmark = pytest.mark.usefixtures("plain_cards")

Tiny = Callable[..., Recipe]
ON = "data.augment={probability: 0.5}"


def test_samples_are_not_asked_for_upright(tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset]) -> None:
    """No labels mean zeros, which mean that nothing was done; other labels give another answer (negative control)."""
    recipe = tiny("facets/meanflow", ON, "run.steps=3", "run.save_every=3")
    flow_map, config = load_checkpoint(train(recipe, data_for("facets/meanflow"), tmp_path / "run"))
    assert config.augment == Augment.LABELS
    with torch.no_grad():
        for parameter in flow_map.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    z, t = torch.randn(3, *config.shape), torch.full((3,), 0.8)
    label = torch.tensor([0, 1, 2])
    plain = flow_map(z, t, 0 * t, label)
    torch.testing.assert_close(flow_map(z, t, 0 * t, label, None, torch.zeros(3, Augment.LABELS)), plain)
    assert not torch.allclose(flow_map(z, t, 0 * t, label, None, torch.ones(3, Augment.LABELS)), plain)


def test_augmented_checkpoint_does_not_export(tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset]) -> None:
    recipe = tiny("facets/meanflow", ON, "run.steps=2", "run.save_every=2")
    checkpoint = train(recipe, data_for("facets/meanflow"), tmp_path / "run")
    assert export(checkpoint, tmp_path / "bundle").manifest.provenance["parity"]["max_abs_error"] < 1e-4


def test_augmented_run_resumes_elsewhere(
    tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset], stop_after: Any, weights: Any
) -> None:
    recipe, dataset = tiny("facets/meanflow", ON, "data.balance=true"), data_for("facets/meanflow")
    straight = weights(train(recipe, dataset, tmp_path / "straight"))
    train(recipe, dataset, tmp_path / "paused", stop=stop_after(2))
    assert weights(train(recipe, dataset, tmp_path / "paused", resume=True)) == straight
    plain = weights(train(tiny("facets/meanflow"), dataset, tmp_path / "plain"))
    assert plain["ema-0.050.safetensors"] != straight["ema-0.050.safetensors"]


def test_resume_forgets_the_augmentation(tmp_path: Path, tiny: Tiny, data_for: Callable[[str], Dataset]) -> None:
    dataset = data_for("facets/meanflow")
    train(tiny("facets/meanflow", ON, "run.steps=1"), dataset, tmp_path / "run")
    with pytest.raises(ValueError, match=r"data.augment was \[9 labels\] and is \[0 labels\] now"):
        train(tiny("facets/meanflow"), dataset, tmp_path / "run", resume=True)


def test_what_is_no_picture_is_turned(tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"data\.augment is for images"):
        tiny("points/meanflow", ON)
    values = np.random.default_rng(0).normal(size=(16, 4, 8, 8)).astype(np.float32)
    write_dataset(tmp_path / "latents", Built("latents", "image", [], {"train": Split(values, None)}, {}))
    with pytest.raises(ValueError, match=r"data\.augment turns pictures, but data set latents holds latents"):
        train(tiny("facets/meanflow", ON), open_dataset(tmp_path / "latents"), tmp_path / "run")


def test_classes_of_no_labels_are_balanced(tmp_path: Path, tiny: Tiny, points: Path) -> None:
    with pytest.raises(ValueError, match="has no labels, so its classes cannot be balanced"):
        train(tiny("points/meanflow", "data.balance=true"), open_dataset(points), tmp_path / "run")
