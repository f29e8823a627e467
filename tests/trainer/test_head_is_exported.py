"""The head of improved MeanFlow is trained, saved to resume from, and no part of what a checkpoint's readers get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.build import UNetArchitecture, build
from models.checkpoint import load_checkpoint, read_config, read_weights
from models.flow_map import per_sample
from trainer.company import Company
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.objectives.imf import ImprovedMeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch, Condition, Target
from trainer.objectives.parts.times import TwoTimes
from trainer.processes import Processes
from trainer.recipe import Recipe
from trainer.step import Loss
from trainer.training import Training

HEAD = "objective.velocity=head"


@pytest.mark.usefixtures("plain_cards")
def test_checkpoint_holds_a_head(tiny: Callable[..., Recipe], points: Path, tmp_path: Path) -> None:
    """Beside the head nothing differs: the same names of weights, and a config without a word of it."""
    folders = {}
    for velocity in ("boundary", "head"):
        recipe = tiny("points/imf", f"objective.velocity={velocity}")
        folders[velocity] = train(recipe, open_dataset(points), tmp_path / velocity)
    head, plain = (read_weights(folders[name] / "model.safetensors") for name in ("head", "boundary"))
    assert head.keys() == plain.keys()
    configs = [read_config(folder).model_dump(exclude={"recipe"}) for folder in folders.values()]
    assert configs[0] == configs[1]
    flow_map, _ = load_checkpoint(folders["head"])
    assert flow_map.state_dict().keys() == head.keys()
    saved = read_weights(next(folders["head"].rglob("companion.safetensors")))
    assert saved.keys() == {"project.weight", "project.bias"}
    assert all(value.any() for value in saved.values())


@pytest.mark.usefixtures("plain_cards")
def test_resumed_head_is_a_fresh_one(
    tiny: Callable[..., Recipe], points: Path, tmp_path: Path, stop_after, weights
) -> None:
    """A run that is stopped and resumed ends with the same bytes, the head's among them."""
    recipe, data = tiny("points/imf", HEAD), open_dataset(points)
    straight = train(recipe, data, tmp_path / "straight")
    train(recipe, data, tmp_path / "paused", stop=stop_after(3))
    assert weights(train(recipe, data, tmp_path / "paused", resume=True)) == weights(straight)


def test_head_learns_nothing(tiny: Callable[..., Recipe], points: Path) -> None:
    """Its error falls, as the velocity's does."""
    recipe = tiny("points/imf", HEAD, "run.steps=60", "optimiser.lr=1e-2", "objective.times.jumps=0.5")
    training = Training(recipe, open_dataset(points), Processes("cpu"))

    def errors(steps: range) -> float:
        for step in steps:
            training.step(step)
        return float(training.meter.read()["loss/head"])

    first = errors(range(1, 6))
    errors(range(6, 51))
    assert errors(range(51, 61)) < 0.9 * first


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_prediction_and_derivative_have_other_masks(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """V is u and its derivative by the same masks, and what the derivative follows has none."""
    torch.manual_seed(0)
    architecture = UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, head_width=8, dropout=dropout)
    flow_map = build(architecture, (1, 4, 4), labels=2, span="any").double()
    head = flow_map.head().double()
    for weight in (*flow_map.parameters(), *head.parameters()):
        torch.nn.init.normal_(weight, std=0.2)
    objective = ImprovedMeanFlow(velocity="head", times=TwoTimes(jumps=1.0))
    x0, x1 = torch.randn(2, 4, 1, 4, 4, dtype=torch.float64).unbind()
    batch = Batch(x0, x1, Condition(torch.zeros(4, dtype=torch.long)), torch.zeros(4, dtype=torch.bool))
    draws = objective.draw(4, torch.Generator().manual_seed(0), Moment(1, 1))
    draws = type(draws)(draws.t.double(), draws.s.double(), draws.jumps)
    seen: list[Target] = []
    answer = ImprovedMeanFlow.__call__
    monkeypatch.setattr(ImprovedMeanFlow, "__call__", lambda *given: seen.append(answer(*given)) or seen[-1])
    torch.manual_seed(5)
    Loss(flow_map, objective, 2, company=Company(companion=head))(batch, draws, Moment(1, 1))

    z, t, s = batch.at(draws.t), draws.t, draws.s
    flow_map.eval()
    follows = flow_map.both(head, z, t, t, batch.condition.label)[1].detach()
    flow_map.train()

    def masked(shift: float) -> Tensor:
        torch.manual_seed(5)
        with torch.no_grad():
            return flow_map(z + shift * follows, t + shift, s, batch.condition.label)

    derivative = (masked(1e-5) - masked(-1e-5)) / 2e-5
    torch.testing.assert_close(
        seen[0].prediction.detach(), masked(0.0) + per_sample(t - s, z) * derivative, rtol=1e-6, atol=1e-6
    )
