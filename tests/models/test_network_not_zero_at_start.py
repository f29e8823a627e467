"""A fresh network must give u = 0 (adaLN-zero), in z's shape, for every batch and label, the null label included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build
from models.dit import Block, position_encoding
from models.flow_map import FlowMap

CASES = {
    "dit": (DiTArchitecture(patch=2, width=16, depth=2, heads=2), (3, 8, 8)),
    "dit-grey": (DiTArchitecture(patch=4, width=16, depth=1, heads=4), (1, 4, 4)),
    "dit-oblong": (DiTArchitecture(patch=2, width=8, depth=1, heads=1), (3, 4, 6)),
    "unet": (UNetArchitecture(channels=8, multipliers=(1, 2), blocks=1, attention=4), (3, 8, 8)),
    "unet-grey": (UNetArchitecture(channels=12, blocks=1, head_width=4), (1, 4, 4)),
    "unet-oblong": (UNetArchitecture(channels=8, multipliers=(1, 1, 2), blocks=2, attention=0), (4, 4, 12)),
    "mlp": (MLPArchitecture(width=16, depth=2), (1,)),
    "mlp-plane": (MLPArchitecture(width=16, depth=2), (2,)),
}
LABELS = 3


@pytest.fixture(params=CASES)
def fresh(request: pytest.FixtureRequest) -> tuple[FlowMap, tuple[int, ...]]:
    torch.manual_seed(0)
    architecture, shape = CASES[request.param]
    return build(architecture, shape, LABELS, "any"), shape


@pytest.fixture
def shaken(fresh: tuple[FlowMap, tuple[int, ...]]) -> tuple[FlowMap, tuple[int, ...]]:
    """The same with all weights random, as after training."""
    for parameter in fresh[0].parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return fresh


def ask(flow_map: Callable[..., Tensor], shape: tuple[int, ...], rows: int, label: int | None = None) -> Tensor:
    draw = torch.Generator().manual_seed(rows)
    z = torch.randn(rows, *shape, generator=draw)
    t = torch.rand(rows, generator=draw)
    labels = torch.arange(rows) % (LABELS + 1) if label is None else torch.full((rows,), label)
    return flow_map(z, t, t * torch.rand(rows, generator=draw), labels)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_fresh_network_moves_something(fresh: tuple[FlowMap, tuple[int, ...]], rows: int) -> None:
    flow_map, shape = fresh
    velocity = ask(flow_map, shape, rows)
    assert velocity.shape == (rows, *shape)
    assert velocity.dtype == torch.float32
    assert torch.equal(velocity, torch.zeros_like(velocity))


def test_zero_for_good(fresh: tuple[FlowMap, tuple[int, ...]]) -> None:
    """Zero at the start, but with a gradient: something must be able to leave zero."""
    flow_map, shape = fresh
    (ask(flow_map, shape, 4) - 1).square().mean().backward()
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in flow_map.parameters())


def test_shaken_network_keeps_the_shape(shaken: tuple[FlowMap, tuple[int, ...]]) -> None:
    """Negative control of the zero test, and rows do not see each other."""
    flow_map, shape = shaken
    velocity = ask(flow_map, shape, 4)
    assert velocity.shape == (4, *shape)
    assert velocity.abs().min() > 0


def test_label_ignored(shaken: tuple[FlowMap, tuple[int, ...]]) -> None:
    """Every class and the null label, index K, give another answer; K + 1 is no label."""
    flow_map, shape = shaken
    answers = [ask(flow_map, shape, 1, label) for label in range(LABELS + 1)]
    for one in range(LABELS + 1):
        for other in range(one):
            assert not torch.allclose(answers[one], answers[other])
    with pytest.raises(IndexError):
        ask(flow_map, shape, 1, LABELS + 1)


@pytest.mark.parametrize("moved", ["t", "s"])
def test_time_ignored(shaken: tuple[FlowMap, tuple[int, ...]], moved: str) -> None:
    flow_map, shape = shaken
    z, label = torch.randn(1, *shape), torch.zeros(1, dtype=torch.long)
    times = {"t": torch.tensor([0.8]), "s": torch.tensor([0.3])}
    before = flow_map(z, times["t"], times["s"], label)
    times[moved] = times[moved] + 0.1
    assert not torch.allclose(before, flow_map(z, times["t"], times["s"], label))


def test_rows_see_each_other(shaken: tuple[FlowMap, tuple[int, ...]]) -> None:
    """Each row has its own t, s and label: the server puts rows of different requests in one batch."""
    flow_map, shape = shaken
    z = torch.randn(3, *shape)
    t, s, label = torch.tensor([1.0, 0.7, 0.4]), torch.tensor([0.0, 0.7, 0.1]), torch.tensor([0, LABELS, 2])
    together = flow_map(z, t, s, label)
    alone = torch.cat([flow_map(z[i : i + 1], t[i : i + 1], s[i : i + 1], label[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_unlabelled_model_has_only_the_null_label() -> None:
    flow_map = build(MLPArchitecture(width=16, depth=1), (1,), 0, "any")
    assert flow_map.net.conditioning.label.weight.shape == (1, 16)  # type: ignore[union-attr]
    assert ask(flow_map, (1,), 2, 0).shape == (2, 1)


def test_fresh_block_is_the_identity() -> None:
    torch.manual_seed(0)
    block, x, condition = Block(16, 2, 4.0), torch.randn(2, 5, 16), torch.randn(2, 16)
    assert torch.equal(block(x, condition), x)
    torch.nn.init.normal_(block.modulation.weight)
    assert not torch.allclose(block(x, condition), x)


def test_places_look_alike() -> None:
    """Every place of an oblong grid has its own encoding, and its row and its column can be read off it."""
    rows, columns, width = 3, 5, 16
    table = position_encoding(rows, columns, width)
    assert table.shape == (rows * columns, width)
    assert len(torch.unique(table, dim=0)) == rows * columns
    grid = table.reshape(rows, columns, width)
    assert torch.equal(grid[:, :1, : width // 2].expand(-1, columns, -1), grid[..., : width // 2])
    assert torch.equal(grid[:1, :, width // 2 :].expand(rows, -1, -1), grid[..., width // 2 :])


def test_patches_come_back_elsewhere() -> None:
    """A pixel of one patch must not come out in another: fresh blocks are the identity, so u keeps z's places."""
    torch.manual_seed(0)
    flow_map = build(DiTArchitecture(patch=2, width=8, depth=1, heads=1), (1, 4, 6), 0, "any")
    net = flow_map.net
    torch.nn.init.normal_(net.project.weight)  # type: ignore[union-attr, arg-type]
    z = torch.zeros(1, 1, 4, 6)
    t, label = torch.ones(1), torch.zeros(1, dtype=torch.long)
    empty = flow_map(z, t, t, label)
    z[0, 0, 2:4, 4:6] = torch.rand(2, 2)
    changed = (flow_map(z, t, t, label) - empty)[0, 0].abs() > 1e-7
    assert changed[2:4, 4:6].any()
    changed[2:4, 4:6] = False
    assert not changed.any()
