"""The loss of one piece of a batch: what is shared among processes, so that whatever an objective asks of the network,
derivatives included, lies inside."""

from __future__ import annotations

from torch import Tensor, nn

from models.flow_map import FlowMap
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.target import Batch, Networks


class Loss(nn.Module):
    """An objective's loss as a module that holds the network.

    DDP wraps this and not the network: a Jacobian-vector product of a wrapped network fails, and one of the network
    beside its wrapper would skip the averaging of gradients without a word.
    """

    def __init__(self, flow_map: FlowMap, objective: Objective, null_label: int) -> None:
        super().__init__()
        self.flow_map = flow_map
        self.objective = objective
        self.null_label = null_label

    def forward(self, batch: Batch, draws: Draws, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss, a scalar with gradient, and the raw terms of the rows, with the loss among them."""
        networks = Networks(self.flow_map, self.flow_map, self.null_label)
        target = self.objective(networks, batch, draws, step)
        losses = target.losses()
        return losses.mean(), {**target.terms, "loss": losses.detach()}
