"""A compiled step has the loss, the target and the gradients of the eager one, and leaves the weights' names alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.build import DiTArchitecture, build
from models.flow_map import FlowMap
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.target import Batch, Condition
from trainer.objectives.parts.times import TwoTimes
from trainer.step import Loss

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
OBJECTIVES: dict[str, Objective] = {
    "flow-matching": FlowMatching(),
    "joint": MeanFlow(times=TwoTimes(jumps=0.5)),
    "forward, guided": MeanFlow(times=TwoTimes(jumps=0.5), derivative={"backend": "forward"}, guidance={"kappa": 0.4}),
}
ROWS = 8


@pytest.fixture
def flow_map() -> FlowMap:
    torch.manual_seed(0)
    found = build(DiTArchitecture(patch=2, width=16, depth=1, heads=2), (1, 4, 4), labels=2, span="any")
    for weight in found.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return found


def step(flow_map: FlowMap, objective: Objective, compiled: bool) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
    torch.manual_seed(1)
    x0, x1 = torch.randn(2, ROWS, 1, 4, 4).unbind()
    label = torch.randint(0, 3, (ROWS,))
    batch = Batch(x0, x1, Condition(label), label == 2)
    draws = objective.draw(ROWS, torch.Generator().manual_seed(2), Moment(1, 1))
    loss, terms = Loss(flow_map, objective, 2, compiled=compiled)(batch, draws, Moment(1, 1))
    return loss, terms, list(torch.autograd.grad(loss, list(flow_map.parameters())))


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_compiled_step_differs(flow_map: FlowMap, name: str) -> None:
    """With the derivative's term among those of the log; the target is in the row's losses."""
    eager, compiled = (step(flow_map, OBJECTIVES[name], each) for each in (False, True))
    torch.testing.assert_close(compiled, eager, rtol=2e-4, atol=2e-5)


@needs_compiler
@pytest.mark.slow
def test_network_was_not_compiled(flow_map: FlowMap) -> None:
    """Negative control: torch.compile did something, and no derivative went through it."""
    torch._dynamo.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    step(flow_map, OBJECTIVES["joint"], compiled=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1


def test_compiled_names_reach_a_checkpoint(tmp_path: Path, tiny, points: Path, weights, monkeypatch) -> None:
    """Whether it is compiled or not, files and names are the same; here by a compiler that does nothing."""
    called = []

    def compiler(function, **settings):
        called.append(settings)
        return lambda *arguments: function(*arguments)

    plain = train(tiny("points/meanflow", "run.compile=off"), open_dataset(points), tmp_path / "plain")
    assert not called
    monkeypatch.setattr(torch, "compile", compiler)
    compiled = train(tiny("points/meanflow", "run.compile=on"), open_dataset(points), tmp_path / "compiled")
    assert len(called) == 1
    assert weights(compiled) == weights(plain)
    names = Loss(build(DiTArchitecture(), (3, 32, 32), 2, "any"), FlowMatching(), 2, compiled=True).state_dict()
    assert not [name for name in names if "_orig_mod" in name]
