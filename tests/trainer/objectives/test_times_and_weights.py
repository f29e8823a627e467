"""Laws of (t, s) that break s <= t, the promised share of jumps, or the adaptive weight's meaning."""

import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from trainer.objectives.flow_matching import FlowMatching
from trainer.objectives.meanflow import MeanFlow
from trainer.objectives.parts.times import LogitNormal, TwoTimes, Uniform
from trainer.objectives.parts.weighting import adaptive

ROWS = 20_000


def draw(law, rows: int = ROWS, seed: int = 0):
    return law.draw(rows, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("order", ["swap", "min"])
@pytest.mark.parametrize("jumps", [0.0, 0.25, 1.0])
def test_times_are_ordered_and_shared_out(order: str, jumps: float) -> None:
    law = TwoTimes(order=order, jumps=jumps)
    t, s = draw(law)
    head = law.count(ROWS)
    assert head == round(jumps * ROWS)
    assert torch.all((s >= 0) & (s <= t) & (t <= 1))
    assert torch.equal(s[head:], t[head:])
    if order == "swap":
        assert torch.all(s[:head] < t[:head])


def test_every_row_count_is_served() -> None:
    for rows in (1, 2, 3, 7):
        t, s = draw(TwoTimes(), rows)
        assert t.shape == s.shape == (rows,)


def quartiles(x: Tensor) -> Tensor:
    return torch.quantile(x, torch.tensor([0.25, 0.5, 0.75]))


def test_logit_normal_has_its_quartiles() -> None:
    t = draw(LogitNormal(mean=-0.4, std=1.2))
    normal = torch.tensor([-0.6744897501960817, 0.0, 0.6744897501960817])
    torch.testing.assert_close(quartiles(t), torch.sigmoid(-0.4 + 1.2 * normal), atol=0.01, rtol=0)


@pytest.mark.parametrize("order", ["swap", "min"])
def test_rows_without_a_jump_keep_the_law_of_t(order: str) -> None:
    t, _ = draw(TwoTimes(t=Uniform(), s=Uniform(), order=order, jumps=0.25))
    torch.testing.assert_close(quartiles(t[ROWS // 4 :]), torch.tensor([0.25, 0.5, 0.75]), atol=0.02, rtol=0)


def test_swapped_times_are_the_order_statistics() -> None:
    """Two uniform draws in order: E t = 2/3 and E s = 1/3."""
    t, s = draw(TwoTimes(t=Uniform(), s=Uniform(), jumps=1.0))
    assert t.mean().item() == pytest.approx(2 / 3, abs=0.01)
    assert s.mean().item() == pytest.approx(1 / 3, abs=0.01)


def test_same_generator_same_times() -> None:
    once, again, other = draw(TwoTimes(), seed=3), draw(TwoTimes(), seed=3), draw(TwoTimes(), seed=4)
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1], again[1])
    assert not torch.equal(once[0], other[0])


def test_adaptive_weight_sums_over_dimensions() -> None:
    """With a mean in its place, c would mean something else for every image size."""
    error = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(adaptive(error, 1.0, 0.5), torch.tensor([1 / 25.5, 1 / 0.5]))
    torch.testing.assert_close(adaptive(error, 0.75, 0.5), torch.tensor([25.5**-0.75, 0.5**-0.75]))
    torch.testing.assert_close(adaptive(error, 0.0, 0.5), torch.ones(2))


def test_adaptive_weight_is_not_differentiated() -> None:
    """loss = |e|^2 / sg(|e|^2 + c): its gradient is 2 e / (|e|^2 + c), not that of a bounded function."""
    error = torch.tensor([[2.0]], requires_grad=True)
    (adaptive(error, 1.0, 0.1) * error.square().sum(1)).sum().backward()
    assert error.grad is not None
    assert error.grad.item() == pytest.approx(2 * 2.0 / 4.1)


SENSELESS = [
    (MeanFlow, {"guidance": {"kappa": 1.0}}, "less than 1"),
    (MeanFlow, {"guidance": {"omega": 0.0}}, "greater than 0"),
    (MeanFlow, {"guidance": {"t_start": 0.8, "t_end": 0.2}}, "no time would be guided"),
    (MeanFlow, {"guidance": {"omega": 2.0}, "label_dropout": 0.0}, "null label"),
    (MeanFlow, {"times": {"jumps": 1.5}}, "less than or equal to 1"),
    (MeanFlow, {"times": {"order": "sorted"}}, "'swap' or 'min'"),
    (MeanFlow, {"times": {"t": {"kind": "logit-normal", "std": 0.0}}}, "greater than 0"),
    (MeanFlow, {"adaptive_constant": 0.0}, "greater than 0"),
    (MeanFlow, {"label_dropout": 1.0}, "less than 1"),
    (MeanFlow, {"ema_teacher": 0.99}, "ema_teacher"),
    (FlowMatching, {"guidance": {"omega": 2.0}}, "guidance"),
    (FlowMatching, {"t": {"kind": "normal"}}, "'uniform', 'logit-normal'"),
]


@pytest.mark.parametrize(("objective", "settings", "reason"), SENSELESS)
def test_senseless_settings_are_refused(objective: type[BaseModel], settings: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        objective.model_validate(settings)


def test_guidance_of_scale_one_needs_no_null_label() -> None:
    assert MeanFlow(label_dropout=0.0).guidance.scale == 1
