"""A network that begins from a trained one without a guidance input is that one, at every scale, until it learns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from models.build import DiTArchitecture, build
from models.flow_map import FlowMap
from trainer.company import begin_from

ARCHITECTURE = DiTArchitecture(patch=4, width=16, depth=1, heads=2)


def network(guidance: bool, seed: int) -> FlowMap:
    torch.manual_seed(seed)
    made = build(ARCHITECTURE, (1, 8, 8), 3, "any", guidance=guidance, augment=0, t_max=1.0)
    for each in made.parameters():
        torch.nn.init.normal_(each, std=0.3)  # as if it had learned
    return made


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_new_input_changes_what_was_learned(scale: float) -> None:
    trained, fresh = network(guidance=False, seed=0), network(guidance=True, seed=1)
    z, t, s = torch.randn(4, 1, 8, 8), torch.ones(4), torch.full((4,), 0.2)
    labels, guidance = torch.arange(4), torch.full((4,), scale)
    with torch.no_grad():
        wanted = trained.jump(z, t, s, labels)
        assert not torch.equal(fresh.jump(z, t, s, labels, guidance), wanted)  # the negative control
        begin_from(fresh, SimpleNamespace(flow_map=trained))  # type: ignore[arg-type]
        assert torch.equal(fresh.jump(z, t, s, labels, guidance), wanted)
    fresh.jump(z, t, s, labels, guidance).square().sum().backward()
    gradient = fresh.get_parameter("net.conditioning.guidance.mlp.2.weight").grad
    assert gradient is not None
    assert gradient.abs().max() > 0  # it can be learned
