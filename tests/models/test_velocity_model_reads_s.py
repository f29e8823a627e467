"""A model of span `velocity` never learned s < t: its jump is one Euler step, u asked at (t, t), whatever s is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.flow_map import FlowMap, Span


class Recorder(nn.Module):
    """Remembers the times it is asked at."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[list[float], list[float]]] = []

    def forward(self, z: Tensor, t: Tensor, s: Tensor, label: Tensor, *told: Tensor | None) -> Tensor:
        self.asked.append((t.tolist(), s.tolist()))
        return z + s[:, None]


T, S = torch.tensor([1.0, 0.75, 0.5]), torch.tensor([0.0, 0.25, 0.5])
Z, LABEL = torch.arange(6.0).reshape(3, 2), torch.zeros(3, dtype=torch.long)


def test_velocity_is_asked_at_s() -> None:
    net = Recorder()
    jumped = FlowMap(net, "raw", "velocity").jump(Z, T, S, LABEL)
    assert net.asked == [(T.tolist(), T.tolist())]
    torch.testing.assert_close(jumped, Z - (T - S)[:, None] * (Z + T[:, None]))


def test_consistency_model_is_told_s() -> None:
    """Of span `endpoint`: a network of one time, as flow matching's is, but its jump ends where it is asked to."""
    net = Recorder()
    jumped = FlowMap(net, "raw", "endpoint").jump(Z, T, S, LABEL)
    assert net.asked == [(T.tolist(), T.tolist())]
    torch.testing.assert_close(jumped, Z - (T - S)[:, None] * (Z + T[:, None]))


@pytest.mark.parametrize("span", ["any", "dyadic"])
def test_other_spans_are_asked_elsewhere(span: Span) -> None:
    """Negative control: the others are asked at (t, s)."""
    net = Recorder()
    jumped = FlowMap(net, "raw", span).jump(Z, T, S, LABEL)
    assert net.asked == [(T.tolist(), S.tolist())]
    torch.testing.assert_close(jumped, Z - (T - S)[:, None] * (Z + S[:, None]))


@pytest.mark.parametrize("span", ["velocity", "any"])
def test_no_jump_moves_z(span: Span) -> None:
    assert torch.equal(FlowMap(Recorder(), "raw", span).jump(Z, T, T, LABEL), Z)
