"""On a CPU Muon orthogonalises in single precision; but for that it is torch's, and goes on where that was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.muon import SingleMuon, orthogonalise
from trainer.optimiser import Optimisers

SHAPES = [(8, 8), (24, 8), (8, 32)]
ROUNDING = 0.01
"""Of bfloat16's eight bits, in weights that have gone five steps of about 0.1."""


def weights(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def give_gradients(of: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for each in of:
        each.grad = torch.randn(each.shape, generator=generator)


def walk(optimiser: torch.optim.Optimizer, of: list[nn.Parameter], steps: range) -> list[Tensor]:
    """Every weight after each step, in one list."""
    seen = []
    for seed in steps:
        give_gradients(of, seed)
        optimiser.step()
        seen += [each.detach().clone() for each in of]
    return seen


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference."""
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def torchs(of: list[nn.Parameter], **changed: object) -> torch.optim.Muon:
    return torch.optim.Muon(of, **{"lr": 0.1, "weight_decay": 0.2, "adjust_lr_fn": "match_rms_adamw", **changed})  # type: ignore[arg-type]


def test_weights_go_elsewhere_than_with_torchs_muon() -> None:
    ours, theirs, control = weights(), weights(), weights()
    walked = walk(SingleMuon(ours, lr=0.1, weight_decay=0.2), ours, range(5))
    assert apart(walked, walk(torchs(theirs), theirs, range(5))) < ROUNDING
    assert apart(walked, walk(torchs(control, momentum=0.8), control, range(5))) > 4 * ROUNDING


def test_update_is_not_orthogonal() -> None:
    for shape in SHAPES:
        update = orthogonalise(
            torch.randn(shape, generator=torch.Generator().manual_seed(1)), (3.4445, -4.775, 2.0315), 5, 1e-7
        )
        assert update.shape == shape
        values = torch.linalg.svdvals(update)
        assert values.min() > 0.6
        assert values.max() < 1.25


def test_no_gradient_is_a_gradient() -> None:
    """Of zeros nothing can be made; and a weight without one stays, whatever the decay."""
    for changed in (torch.zeros(8, 8), None):
        (weight, *_) = of = weights()
        before = weight.detach().clone()
        weight.grad = changed
        SingleMuon(of, lr=0.1, weight_decay=0.0 if changed is not None else 0.5).step()
        assert torch.equal(weight, before)


@pytest.mark.parametrize("torchs_first", [True, False])
def test_run_cannot_go_on_elsewhere(torchs_first: bool) -> None:
    """A checkpoint of a GPU is taken up on a CPU, and the other way round."""
    whole, half = weights(), weights()
    walked = walk(torchs(whole), whole, range(4))
    first, second = torchs(half), SingleMuon(half, lr=0.1, weight_decay=0.2)
    if not torchs_first:
        first, second = second, first  # type: ignore[assignment]
    walk(first, half, range(2))
    second.load_state_dict({**second.state_dict(), "state": first.state_dict()["state"]})
    assert apart(walk(second, half, range(2, 4)), walked[2 * len(SHAPES) :]) < ROUNDING


def test_bfloat16_is_emulated_on_a_cpu() -> None:
    """Optimisers chooses by where the weights are."""
    from models.build import DiTArchitecture, build
    from trainer.recipe import Optimiser

    dit = build(DiTArchitecture(patch=2, width=8, depth=1, heads=2), (1, 4, 4), 3, "any")
    assert isinstance(Optimisers(dit, Optimiser(name="muon")).parts[1], SingleMuon)
    elsewhere = build(DiTArchitecture(patch=2, width=8, depth=1, heads=2), (1, 4, 4), 3, "any").to("meta")
    assert type(Optimisers(elsewhere, Optimiser(name="muon")).parts[1]) is torch.optim.Muon
