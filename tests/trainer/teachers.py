"""Teachers that know nothing: networks of a few hundred random weights, for tests of the machinery around them."""

from __future__ import annotations

import torch

from models.build import AnyArchitecture, DiTArchitecture, MLPArchitecture
from models.checkpoint import CheckpointConfig, build_for
from trainer.company import NOBODY, Lender, Lenders
from trainer.data.dataset import Dataset
from trainer.recipe import Recipe
from trainer.stream import z_shape


def teachers_for(recipe: Recipe, dataset: Dataset) -> Lenders:
    """What the recipe's method must be given on this data, and a weak teacher where it has autoguidance.

    A method that may have a teacher is given one where no row learns from the data, for then it learns from that alone.
    """
    times = getattr(recipe.objective, "times", None)
    alone = recipe.objective.teacher == "optional" and getattr(times, "jumps", 0) == 1
    if recipe.objective.teacher != "required" and not alone:
        return NOBODY
    weak = getattr(recipe.objective, "autoguidance", None) is not None
    return Lenders(random_teacher(dataset), random_teacher(dataset, seed=1) if weak else None)


def random_teacher(dataset: Dataset, seed: int = 0) -> Lender:
    """A velocity of the data's shape and classes; a function of `seed` alone, so that every process has the same."""
    architecture: AnyArchitecture = MLPArchitecture(width=8, depth=1)
    if dataset.kind == "image":
        architecture = DiTArchitecture(patch=4, width=8, depth=1, heads=1)
    config = CheckpointConfig(
        method="flow-matching",
        kind=dataset.kind,
        shape=z_shape(dataset),
        labels=tuple(dataset.classes),
        architecture=architecture,
        span="velocity",
        grids={},
        emas=(),
        step=1,
        recipe={},
        data={"name": "nothing", "sha256": "0" * 64, "licence": "CC0-1.0"},
    )
    flow_map = build_for(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for weight in flow_map.parameters():
        torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return Lender(
        flow_map,
        config,
        {"method": config.method, "step": 1, "weights": "model", "sha256": f"{seed:064x}", "data": config.data},
    )
