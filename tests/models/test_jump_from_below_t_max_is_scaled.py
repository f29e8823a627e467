"""A map that knows times up to t_max takes z at t = 1 for noise at t_max, and leaves z of all other times as it is."""

import pytest
import torch

from models.flow_map import FlowMap

T_MAX = 0.8


class Watched(torch.nn.Module):
    """u = 0, and what it was asked."""

    def forward(self, z, t, s, label, guidance=None, augment=None) -> torch.Tensor:
        self.seen = z, t
        return torch.zeros_like(z)


@pytest.mark.parametrize(("t", "asked", "scale"), [(0.0, 0.0, 1.0), (0.3, 0.3, 1.0), (0.8, 0.8, 1.0), (1.0, 0.8, 0.8)])
def test_jump_is_asked_elsewhere(t: float, asked: float, scale: float) -> None:
    net = Watched()
    flow_map = FlowMap(net, span="endpoint", t_max=T_MAX)
    z = torch.tensor([[2.0], [-1.0]])
    flow_map.jump(z, torch.full((2,), t), torch.zeros(2), torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(net.seen[0], scale * z)
    torch.testing.assert_close(net.seen[1], torch.full((2,), asked))


def test_jump_to_the_data_is_not_the_identity_at_0() -> None:
    z = torch.randn(3, 2)
    flow_map = FlowMap(Watched(), span="endpoint", t_max=T_MAX)
    assert torch.equal(flow_map.jump(z, torch.zeros(3), torch.zeros(3), torch.zeros(3, dtype=torch.long)), z)
