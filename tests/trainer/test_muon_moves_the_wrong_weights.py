"""Muon gets the matrices inside the blocks, AdamW the rest; no parameter is missed or moved twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from trainer.optimiser import Optimisers
from trainer.recipe import Optimiser

DEPTH = 2
OF_MUON = {"attention.qkv.weight", "attention.out.weight", "mlp.0.weight", "mlp.2.weight"}


@pytest.fixture
def dit() -> nn.Module:
    torch.manual_seed(0)
    return build(DiTArchitecture(patch=2, width=8, depth=DEPTH, heads=2), (1, 4, 4), 3, "any")


def names(model: nn.Module, part: torch.optim.Optimizer) -> list[str]:
    of = {id(value): name for name, value in model.named_parameters()}
    return [of[id(value)] for group in part.param_groups for value in group["params"]]


def give_gradients(model: nn.Module) -> None:
    for seed, value in enumerate(model.parameters()):
        value.grad = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))


def test_muon_takes_another_weight(dit: nn.Module) -> None:
    optimisers = Optimisers(dit, Optimiser(name="muon"))
    adamw, muon = optimisers.parts
    assert isinstance(adamw, torch.optim.AdamW)
    assert isinstance(muon, torch.optim.Muon)
    expected = {f"net.blocks.{block}.{name}" for block in range(DEPTH) for name in OF_MUON}
    assert set(names(dit, muon)) == expected
    assert not any("modulation" in name or "embed" in name or "position" in name for name in names(dit, muon))


def test_muon_misses_a_kernel() -> None:
    """A U-Net's kernels are matrices to Muon, but for the first and the last one."""
    unet = build(UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1), (1, 4, 4), 3, "any")
    _, muon = Optimisers(unet, Optimiser(name="muon")).parts
    ends = ("first.weight", "second.weight", "skip.weight", "resample.weight", "qkv.weight", "out.weight")
    expected = {name for name, _ in unet.named_parameters() if name.endswith(ends)}
    assert len(expected) == 2 * 8 + 4 + 2 + 2 * 8
    assert set(names(unet, muon)) == expected
    before = {name: value.detach().clone() for name, value in unet.named_parameters()}
    give_gradients(unet)
    Optimisers(unet, Optimiser(name="muon")).step(0.1)
    assert not any(torch.equal(before[name], value) for name, value in unet.named_parameters())


@pytest.mark.parametrize("name", ["adamw", "radam", "muon"])
def test_parameter_is_missed_or_moved_twice(dit: nn.Module, name: str) -> None:
    optimisers = Optimisers(dit, Optimiser(name=name))  # type: ignore[arg-type]
    everything = sorted(each for part in optimisers.parts for each in names(dit, part))
    assert everything == sorted(name for name, _ in dit.named_parameters())
    assert {id(value) for value in optimisers.parameters} == {id(value) for value in dit.parameters()}
    before = {each: value.detach().clone() for each, value in dit.named_parameters()}
    give_gradients(dit)
    optimisers.step(0.1)
    assert not any(torch.equal(before[each], value) for each, value in dit.named_parameters())
    assert all(value.grad is None for value in dit.parameters())


def test_adamw_alone_has_a_muon(dit: nn.Module) -> None:
    (only,) = Optimisers(dit, Optimiser(name="adamw")).parts
    assert isinstance(only, torch.optim.AdamW)


def test_muon_without_blocks_is_silently_adamw() -> None:
    mlp = build(MLPArchitecture(width=8, depth=1), (2,), 0, "any")
    with pytest.raises(ValueError, match=r"muon is for a network with blocks \(dit, unet\); use adamw"):
        Optimisers(mlp, Optimiser(name="muon"))


def test_rate_reaches_one_part_only(dit: nn.Module) -> None:
    optimisers = Optimisers(dit, Optimiser(name="muon", lr=1.0))
    for rate in (0.5, 0.25):
        give_gradients(dit)
        optimisers.step(rate)
        assert {group["lr"] for part in optimisers.parts for group in part.param_groups} == {rate}


def step_of(dit: nn.Module, scale: float, clip: float | None) -> tuple[Tensor, Tensor]:
    """The norm that a step reports, and the gradient of one weight that the optimiser sees."""
    seen: list[Tensor] = []
    optimisers = Optimisers(dit, Optimiser(name="muon", clip=clip))
    weight = optimisers.parameters[0]
    for part in optimisers.parts:
        part.register_step_pre_hook(lambda *_: seen.append(weight.grad.clone()))  # type: ignore[union-attr]
    give_gradients(dit)
    for value in dit.parameters():
        value.grad *= scale  # type: ignore[operator]
    return optimisers.step(0.0), seen[0]


def test_gradient_is_clipped_in_the_log_or_not_at_all(dit: nn.Module) -> None:
    """The norm is of the whole gradient, over both optimisers, before the clipping."""
    norm, gradient = step_of(dit, 1.0, 1e9)
    give_gradients(dit)
    whole = torch.cat([value.grad.flatten() for value in dit.parameters()]).norm()  # type: ignore[union-attr]
    torch.testing.assert_close(norm, whole)
    large, clipped = step_of(dit, 100.0, 2.0)
    torch.testing.assert_close(large, 100 * norm)
    torch.testing.assert_close(clipped, gradient * 2.0 / norm, rtol=1e-4, atol=1e-7)


def test_clipping_cannot_be_switched_off(dit: nn.Module) -> None:
    """clip: null; the norm is still told."""
    norm, gradient = step_of(dit, 100.0, None)
    _, free = step_of(dit, 100.0, 1e9)
    assert torch.equal(gradient, free)
    assert norm > 100


def test_radam_is_adamw(dit: nn.Module) -> None:
    (only,) = Optimisers(dit, Optimiser(name="radam", weight_decay=0.1)).parts
    assert isinstance(only, torch.optim.RAdam)
    assert only.defaults["decoupled_weight_decay"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_gradient_moves_weights(dit: nn.Module, value: float) -> None:
    optimisers = Optimisers(dit, Optimiser(name="muon"))
    before = [each.detach().clone() for each in dit.parameters()]
    give_gradients(dit)
    next(dit.parameters()).grad.view(-1)[0] = value  # type: ignore[union-attr]
    assert not torch.isfinite(optimisers.step(0.1))
    assert all(torch.equal(old, new) for old, new in zip(before, dit.parameters(), strict=True))
    assert not optimisers.state()


@pytest.mark.parametrize("name", ["adamw", "radam", "muon"])
def test_state_comes_back_another(dit: nn.Module, name: str) -> None:
    settings = Optimiser(name=name)  # type: ignore[arg-type]
    optimisers = Optimisers(dit, settings)
    give_gradients(dit)
    optimisers.step(0.1)
    state = {key: value.clone() for key, value in optimisers.state().items()}
    parameters = sum(1 for _ in dit.parameters())
    of_muon = DEPTH * len(OF_MUON) if name == "muon" else 0
    assert len(state) == 3 * (parameters - of_muon) + of_muon
    other = Optimisers(dit, settings)
    other.load(state)
    assert other.state().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in other.state().items())
