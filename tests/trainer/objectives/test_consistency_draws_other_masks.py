"""The two networks of a consistency model's loss drop the same units, also where one has averaged weights."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from models.build import UNetArchitecture, build
from models.flow_map import FlowMap
from trainer.company import Company, Lender
from trainer.objectives.consistency_distillation import ConsistencyDistillation
from trainer.objectives.consistency_training import ConsistencyTraining
from trainer.objectives.ect import EasyConsistencyTuning
from trainer.objectives.ict import ImprovedConsistencyTraining
from trainer.objectives.parts.masks import Masks
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.target import Batch, Condition
from trainer.step import Loss

OBJECTIVES = {
    "cd": ConsistencyDistillation(),
    "ct": ConsistencyTraining(),
    "ict": ImprovedConsistencyTraining(),
    "ect": EasyConsistencyTuning(flow_matching_steps=0),
}
ROWS = 6


@pytest.fixture
def flow_map() -> FlowMap:
    """A U-Net with much dropout, in training, in fp64."""
    torch.manual_seed(0)
    architecture = UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, head_width=8, dropout=0.3)
    flow_map = build(architecture, (1, 4, 4), labels=2, span="endpoint").double()
    for weight in flow_map.parameters():
        nn.init.normal_(weight, std=0.2)
    return flow_map


def masks_of_a_step(objective, flow_map: FlowMap, averaged: bool) -> tuple[int, int]:
    """How many masks were drawn, and how many of them were different ones."""
    seen: list[torch.Tensor] = []
    lagged = copy.deepcopy(flow_map).requires_grad_(False) if averaged else None

    def watch(module, inputs, output) -> None:
        seen.append(output == 0)

    for network in (flow_map, lagged):
        if network is not None:
            for part in network.modules():
                if isinstance(part, nn.Dropout):
                    part.register_forward_hook(watch)
    teacher = Lender(copy.deepcopy(flow_map).eval().requires_grad_(False), SimpleNamespace(guidance=None), {})
    for part in teacher.flow_map.modules():
        part._forward_hooks.clear()
    batch = Batch(
        torch.randn(ROWS, 1, 4, 4),
        torch.randn(ROWS, 1, 4, 4),
        Condition(torch.zeros(ROWS, dtype=torch.long)),
        torch.zeros(ROWS, dtype=torch.bool),
    )
    moment = Moment(50, 100)
    draws = objective.draw(ROWS, torch.Generator().manual_seed(0), moment)
    Loss(flow_map, objective, 2, company=Company(lagged=lagged, teacher=teacher))(batch, draws, moment)
    distinct: list[torch.Tensor] = []
    for mask in seen:
        if not any(mask.shape == other.shape and torch.equal(mask, other) for other in distinct):
            distinct.append(mask)
    return len(seen), len(distinct)


@pytest.mark.parametrize("averaged", [False, True], ids=["own", "averaged"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_masks_are_not_shared(name: str, averaged: bool, flow_map: FlowMap, monkeypatch) -> None:
    drawn, distinct = masks_of_a_step(OBJECTIVES[name], flow_map, averaged)
    assert drawn == 2 * distinct
    assert distinct > 2
    # Control: with nothing to bring the generator back, every mask is its own.
    monkeypatch.setattr(Masks, "_set", lambda self, state: None)
    drawn, distinct = masks_of_a_step(OBJECTIVES[name], flow_map, averaged)
    assert drawn == distinct
