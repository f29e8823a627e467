"""The warm-up and the normalisation of a tangent, and the law of AYF's intervals."""

import pytest
import torch

from trainer.objectives.ayf_emd import EulerianMapDistillation
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.normalised_tangent import NormalisedTangent
from trainer.objectives.parts.times import Interval
from trainer.oracle import Gaussian

FIRST = torch.tensor([[3.0, 0.0], [0.0, 0.3]], dtype=torch.float64)
SECOND = torch.tensor([[0.0, 4.0], [0.4, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("done", "expected"), [(0, 0.0), (1, 0.0001), (5000, 0.5), (9900, 0.99), (10_000, 0.99), (10**6, 0.99)]
)
def test_warmth(done: int, expected: float) -> None:
    """min(0.99, k / 10000); sCM's ends at 1."""
    assert NormalisedTangent(warmup_limit=0.99).warmth(done) == pytest.approx(expected)
    assert NormalisedTangent().warmth(done) == pytest.approx(min(1.0, done / 10_000))
    assert NormalisedTangent(warmup_steps=0, warmup_limit=0.99).warmth(done) == 0.99


def test_only_the_second_part_is_warmed_up() -> None:
    g, same = NormalisedTangent(warmup_steps=4, constant=None)(FIRST, SECOND, 1)
    torch.testing.assert_close(g, FIRST + SECOND / 4)
    assert same is g


def test_norm_is_of_the_whole_sample() -> None:
    """Norms 5 and 0.5: 5 / 5.1 and 0.5 / 0.6 remain; of a mean over two dimensions, 5 / (5 / sqrt(2) + 0.1)."""
    _, whole = NormalisedTangent(warmup_steps=0)(FIRST, SECOND, 1)
    torch.testing.assert_close(whole.norm(dim=1), torch.tensor([5 / 5.1, 0.5 / 0.6]))
    _, mean = NormalisedTangent(warmup_steps=0, per_dimension=True)(FIRST, SECOND, 1)
    torch.testing.assert_close(mean.norm(dim=1), torch.tensor([5 / (5 / 2**0.5 + 0.1), 0.5 / (0.5 / 2**0.5 + 0.1)]))


def test_zero_stays_zero_and_without_gradient() -> None:
    first = torch.zeros(2, 3, requires_grad=True)
    for each in NormalisedTangent()(first, first, 1):
        assert torch.equal(each, torch.zeros(2, 3))
        assert not each.requires_grad


def test_large_tangents_are_bounded(pairs, ask) -> None:
    """However wrong the map is, no row of AYF's target is further than 1 from it."""
    data = Gaussian([0.7, 0.1], 0.4)
    objective = EulerianMapDistillation(autoguidance=None)
    answer = ask(
        objective, lambda z, t, s, label: 1e4 * z, pairs(data, 50), teacher=lambda z, t, label: data.velocity(z, t)
    )
    step = (answer.target - answer.prediction).norm(dim=1)
    assert (step < 1).all()
    assert (step > 0.99).all()


def test_interval_law() -> None:
    """The length is sigmoid(N(-0.8, 1)), and where it lies is even; s <= t within [0, 1]."""
    t, s = Interval().draw(40_000, torch.Generator().manual_seed(0))
    assert ((s >= 0) & (s <= t) & (t <= 1)).all()
    logit = torch.logit(t - s)
    assert logit.mean().item() == pytest.approx(-0.8, abs=0.02)
    assert logit.std().item() == pytest.approx(1.0, abs=0.02)
    place = s / (1 - (t - s))
    assert place.mean().item() == pytest.approx(0.5, abs=0.01)
    assert place.var().item() == pytest.approx(1 / 12, abs=0.002)


def test_every_row_is_a_jump() -> None:
    draws = EulerianMapDistillation().draw(8, torch.Generator().manual_seed(0), Moment(1, 1))
    assert draws.jumps == 8
    assert draws.guidance is not None
    assert ((draws.guidance >= 1) & (draws.guidance <= 3)).all()
