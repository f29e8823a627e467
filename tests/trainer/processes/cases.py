"""Trainings of three steps, one for every objective on points and on pictures, and some with more in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.trainer.teachers import teachers_for
from trainer.data.dataset import open_dataset
from trainer.objectives import methods
from trainer.processes import Processes
from trainer.recipe import Recipe, parse_recipe
from trainer.shard import Shard
from trainer.training import Training

STEPS = 3
BATCH = 16
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"network": "mlp", "width": 16, "depth": 1},
    "dit": {"network": "dit", "width": 16, "depth": 1, "heads": 2},
    "unet": {"network": "unet", "channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": 4, "head_width": 8},
}
GUIDED = {"method": "meanflow", "guidance": {"omega": 1.5, "kappa": 0.2}}


def case(network: str, objective: dict[str, Any], **more: Any) -> Recipe:
    """A recipe as a file would give it."""
    run = {"steps": 6, "batch": BATCH, "save_every": 3, "log_every": 1, "sample_steps": [1], **more.pop("run", {})}
    optimiser = {"name": "adamw", "warmup_steps": 2, **more.pop("optimiser", {})}
    tree = {
        "kind": "points" if network == "mlp" else "image",
        "model": NETWORKS[network],
        "objective": objective,
        "optimiser": optimiser,
        "run": run,
        **more,
    }
    return parse_recipe(tree, network)


def whole(method: str) -> dict[str, Any]:
    """A method with its defaults; one that begins with flow matching does so for one step, and two are its own."""
    first = {"flow_matching_steps": 1} if "flow_matching_steps" in methods()[method].model_fields else {}
    return {"method": method, **first}


def cases() -> dict[str, Recipe]:
    """By name."""
    every = {f"{name} {network}": case(network, whole(name)) for name in methods() for network in ("mlp", "dit")}
    return {
        **every,
        "unet": case("unet", {"method": "meanflow"}),
        "muon": case("dit", {"method": "meanflow"}, optimiser={"name": "muon"}),
        "guided": case("dit", GUIDED),
        "in pieces": case("dit", GUIDED, run={"accumulate": 2}),
        "augmented": case("dit", {"method": "meanflow"}, data={"augment": {"probability": 0.5}}),
        "adversary": case("dit", {"method": "ctm", "count": 4, "adversary": {"start_step": 2, "width": 8}}),
        "head": case("dit", {"method": "imf", "velocity": "head", "guidance": {"range": [1, 8]}}),
        "taught": case("dit", {"method": "split-meanflow", "times": {"jumps": 1.0}}),
        "few jumps": case("mlp", {"method": "meanflow", "times": {"jumps": 1 / BATCH}}),
    }


def three_steps(recipe: Recipe, data: Path, broken: str = "") -> dict[str, Tensor]:
    """What has moved after three steps, by name: weights, averages, the optimisers' state, and the log.

    Args:
        broken: a mistake to make, as a control: `unshared`, no process hears of another; `beside`, the network that is
            asked is the one that DDP wraps, past the wrapper; `contiguous`, a process takes rows that lie together.
    """
    with mistaken(broken):
        dataset = open_dataset(data)
        training = Training(recipe, dataset, Processes("cpu"), teachers_for(recipe, dataset))
        # The zeros of the last layers would hide most of the network from three steps.
        torch.manual_seed(0)
        for module in (training.flow_map, *training.beside().values()):
            for weight in module.parameters():
                torch.nn.init.normal_(weight, std=0.1)
        if broken != "unshared":
            training.share()
        if broken == "beside":
            training.loss = training.loss.module
        for step in range(1, STEPS + 1):
            training.step(step)
        log = training.meter.read()
    return {
        **{f"weight/{name}": value.detach().clone() for name, value in training.flow_map.named_parameters()},
        **{
            f"{beside}/{name}": value.clone()
            for beside, module in training.beside().items()
            for name, value in module.state_dict().items()
        },
        **{f"ema-{ema.name}/{name}": value.clone() for ema in training.emas for name, value in ema.state.items()},
        **{f"optimiser/{name}": value.clone() for name, value in training.optimisers.state().items()},
        **{f"log/{name}": torch.tensor(log[name]) for name in log if name.startswith(("loss", "gradient"))},
    }


@contextmanager
def mistaken(broken: str) -> Iterator[None]:
    """Within it, shards are contiguous, if that is the mistake to make."""
    if broken != "contiguous":
        yield
        return

    def rows(shard: Shard, value: Tensor) -> Tensor:
        return value.chunk(shard.count)[shard.index]

    with mock.patch.object(Shard, "rows", rows):
        yield
