"""`--set model.network=...` is enough to train any image recipe with the other network, there and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from models.checkpoint import load_checkpoint
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.recipe import load_recipe
from trainer.recipes import SHIPPED, shipped

IMAGES = [name for name in shipped() if yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())["kind"] == "image"]
BRIEF = ["run.batch=8", "run.steps=3", "run.save_every=3", "run.sample_steps=[1]", "optimiser.warmup_steps=1"]
TINY = {
    "unet": ["model.network=unet", "model.channels=8", "model.multipliers=[1, 2]", "model.blocks=1"],
    "dit": ["model.network=dit", "model.width=16", "model.depth=1", "model.heads=2"],
}


@pytest.mark.usefixtures("plain_cards")
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("name", ["facets/flow-matching", "facets/meanflow"])
def test_recipe_refuses_the_other_network(tmp_path: Path, grey: Path, name: str, optimiser: str) -> None:
    """From the recipe to a U-Net, and from that run's own recipe to a DiT; every weight is finite and some moved."""
    recipe = load_recipe(name, [*TINY["unet"], *BRIEF, f"optimiser.name={optimiser}"])
    flow_map, config = load_checkpoint(train(recipe, open_dataset(grey), tmp_path / "unet"), "model")
    assert config.architecture == recipe.model
    assert flow_map.net.project.weight.abs().max() > 0  # type: ignore[union-attr, operator]
    assert all(torch.isfinite(weight).all() for weight in flow_map.parameters())
    back = load_recipe(str(tmp_path / "unet" / "recipe.yaml"), TINY["dit"])
    _, config = load_checkpoint(train(back, open_dataset(grey), tmp_path / "dit"))
    assert config.architecture.network == "dit"


@pytest.mark.parametrize("name", IMAGES)
def test_switch_forgets_what_both_have(name: str) -> None:
    """The new network has its own defaults, and the recipe's values of what both have."""
    recipe = load_recipe(name)
    other = {"dit": "unet", "unet": "dit"}[recipe.model.network]
    shared = ["model.parametrisation=edm", "model.sigma_data=0.3"]
    same = ["objective.sigma_data=0.3"] if "sigma_data" in type(recipe.objective).model_fields else []
    for overrides in ([*same, *shared, f"model.network={other}"], [f"model.network={other}", *same, *shared]):
        model = load_recipe(name, overrides).model
        assert model.network == other
        assert model.model_fields_set == {"network", "parametrisation", "sigma_data"}
        assert (model.parametrisation, model.sigma_data) == ("edm", 0.3)
    assert load_recipe(name, [f"model.network={recipe.model.network}"]) == recipe


@pytest.mark.parametrize("order", [1, -1])
def test_given_setting_is_forgotten(order: int) -> None:
    """What the person asked for is refused where the network does not have it, whatever the order; never dropped."""
    overrides = ["model.patch=2", "model.network=unet"][::order]
    with pytest.raises(ValueError, match=r"model\.patch: no such key with the other settings of this recipe"):
        load_recipe("facets/meanflow", overrides)


def test_typo_is_forgotten(tmp_path: Path) -> None:
    """A key of no network is a typo of the recipe, and stays one."""
    tree = yaml.safe_load((SHIPPED / "facets" / "meanflow.yaml").read_text())
    tree["model"]["pacth"] = 2
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ValueError, match=r"model\.pacth: no such key; did you mean model\.patch\?"):
        load_recipe(str(path), ["model.network=unet"])


def test_method_cannot_be_switched() -> None:
    """The same for a method and for a law of times."""
    recipe = load_recipe("facets/meanflow", ["objective.method=flow-matching"])
    assert recipe.objective == load_recipe("facets/flow-matching").objective
    law = load_recipe("facets/meanflow", ["objective.times.t.kind=uniform"]).objective.times.t  # type: ignore[union-attr]
    assert law.kind == "uniform"
    with pytest.raises(ValueError, match=r"objective\.guidance"):
        load_recipe("facets/meanflow", ["objective.guidance.omega=2", "objective.method=flow-matching"])


def test_network_of_points_is_taken() -> None:
    with pytest.raises(ValueError, match="network unet does not take data of kind points"):
        load_recipe("points/meanflow", ["model.network=unet"])
    with pytest.raises(ValueError, match="network mlp does not take data of kind image"):
        load_recipe("facets/meanflow", ["model.network=mlp"])


def test_memory_format_of_no_convolutions_is_ignored() -> None:
    with pytest.raises(ValueError, match=r"run\.channels_last is for convolutions, and network dit has none"):
        load_recipe("facets/meanflow", ["run.channels_last=true"])
    assert load_recipe("facets/meanflow", ["model.network=unet", "run.channels_last=true"]).run.channels_last
