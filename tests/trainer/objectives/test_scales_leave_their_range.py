"""The scales that a network is told follow their law, row by row of the whole batch, and cost nothing where unused."""

from __future__ import annotations

import pytest
import torch

from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.guidance import Guidance
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws
from trainer.shard import Shard

ROWS = 20_000


def draw(guidance: Guidance, rows: int = ROWS, seed: int = 0) -> Draws:
    return MeanFlow(guidance=guidance).draw(rows, torch.Generator().manual_seed(seed), Moment(1, 1))


@pytest.mark.parametrize("law", ["log-uniform", "uniform"])
def test_scales_have_their_quartiles(law: str) -> None:
    """p(w) ~ 1/w: even in log w. Each law fails the other's quartiles."""
    scale = draw(Guidance(range=(1, 8), law=law)).guidance  # type: ignore[arg-type]
    assert scale is not None
    assert scale.shape == (ROWS,)
    assert scale.min() >= 1
    assert scale.max() <= 8
    shares = torch.tensor([0.25, 0.5, 0.75])
    expected = {"log-uniform": 8**shares, "uniform": 1 + 7 * shares}
    found = torch.quantile(scale, shares)
    for name, quartiles in expected.items():
        assert torch.allclose(found, quartiles, atol=0.15) == (name == law)


def test_range_of_one_scale() -> None:
    assert torch.equal(draw(Guidance(range=(2.5, 2.5)), 5).guidance, torch.full((5,), 2.5))  # type: ignore[arg-type]


def test_single_scale_draws_something() -> None:
    """Neither a tensor nor a number of the generator: what is trained without a range stays as it was."""
    single, several = draw(Guidance(kappa=0.5)), draw(Guidance(range=(1, 4)))
    assert single.guidance is None
    assert torch.equal(single.t, several.t)
    assert torch.equal(single.s, several.s)
    assert FlowMatching().draw(3, torch.Generator(), Moment(1, 1)).guidance is None


def test_shards_draw_their_own() -> None:
    """Processes and pieces see the rows of one draw, so that together they train on the same batch."""
    whole = draw(Guidance(range=(1, 4)), 10)
    assert whole.guidance is not None
    parts = [whole.part(Shard(index, 3)).guidance for index in range(3)]
    for index, part in enumerate(parts):
        assert torch.equal(part, whole.guidance[index::3])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "default"),
    [
        ({"range": (1, 4)}, 2.0),
        ({"range": (1, 8)}, 2.83),
        ({"range": (1, 4), "law": "uniform"}, 2.5),
        ({"range": (1, 4), "default": 1.3}, 1.3),
        ({"range": (1.111, 1.112)}, 1.111),  # two decimals would leave the range
    ],
)
def test_default_leaves_the_range(settings: dict, default: float) -> None:
    told = MeanFlow(guidance=settings).guidance_input  # type: ignore[arg-type]
    assert told is not None
    assert told.default == default
    assert told.min <= told.default <= told.max


def test_network_without_a_range_is_told() -> None:
    assert MeanFlow(guidance=Guidance(kappa=0.5)).guidance_input is None
    assert FlowMatching().guidance_input is None
