"""A compiled step has the loss, the target and the gradients of the eager one, and leaves the weights' names alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.build import DiTArchitecture, build
from models.flow_map import FlowMap
from trainer.company import Company, Lagged
from trainer.data.dataset import open_dataset
from trainer.loop import train
from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.imf import ImprovedMeanFlow
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Objective
from trainer.objectives.parts.target import Batch, Condition
from trainer.objectives.parts.times import TwoTimes
from trainer.objectives.shortcut import Shortcut
from trainer.step import Loss

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
OBJECTIVES: dict[str, Objective] = {
    "flow-matching": FlowMatching(),
    "forward": MeanFlow(times=TwoTimes(jumps=0.5)),
    "joint": MeanFlow(times=TwoTimes(jumps=0.5), derivative={"backend": "joint"}),
    "averaged targets": Shortcut(bootstrap=0.5),
    "head": ImprovedMeanFlow(times=TwoTimes(jumps=0.5), velocity="head"),
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
    module = Loss(flow_map, objective, 2, company=beside(flow_map, objective), compiled=compiled)
    loss, terms = module(batch, draws, Moment(1, 1))
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    return loss, terms, list(torch.autograd.grad(loss, trained))


def beside(flow_map: FlowMap, objective: Objective) -> Company:
    """What the method has beside its network: a head, or averaged weights, which differ from the network's own."""
    torch.manual_seed(3)
    if objective.target_ema is not None:
        lagged = Lagged(flow_map).flow_map
        for weight in lagged.parameters():
            torch.nn.init.normal_(weight, std=0.2)
        return Company(lagged=lagged)
    if getattr(objective, "velocity", None) != "head":
        return Company()
    head = flow_map.head()
    for weight in head.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return Company(companion=head)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_compiled_step_differs(flow_map: FlowMap, name: str) -> None:
    """With the derivative's term among those of the log; the target is in the row's losses. `joint` keeps the jumps
    eager, so there the other rows alone are compiled."""
    eager, compiled = (step(flow_map, OBJECTIVES[name], each) for each in (False, True))
    torch.testing.assert_close(compiled, eager, rtol=2e-4, atol=2e-5)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(("name", "graphs"), [("joint", 1), ("averaged targets", 2), ("head", 2)])
def test_network_was_not_compiled(flow_map: FlowMap, name: str, graphs: int) -> None:
    """Negative control: torch.compile did something, and no derivative went through it. Targets by other weights, or in
    evaluation mode, are a second graph."""
    torch._dynamo.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    step(flow_map, OBJECTIVES[name], compiled=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + graphs


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
