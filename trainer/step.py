"""The loss of one piece of a batch: what is shared among processes, so that whatever an objective asks of the network,
derivatives included, lies inside."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.flow_map import FlowMap
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.target import Batch, Networks
from trainer.precision import Precision, autocast


class Loss(nn.Module):
    """An objective's loss as a module that holds the network.

    DDP wraps this and not the network: a Jacobian-vector product of a wrapped network fails, and one of the network
    beside its wrapper would skip the averaging of gradients without a word.

    Args:
        precision: of the evaluations that are not part of a derivative.
        compiled: whether torch.compile works on those evaluations. Derivatives stay in eager torch.
    """

    def __init__(
        self,
        flow_map: FlowMap,
        objective: Objective,
        null_label: int,
        *,
        precision: Precision = "fp32",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.flow_map = flow_map
        self.objective = objective
        self.null_label = null_label
        self.precision = precision
        self.dropout = any(isinstance(part, nn.Dropout) and part.p > 0 for part in flow_map.modules())
        # Of a function, not of the module, whose compiled form would put a prefix before the names of the weights. The
        # shapes of a run are few (all rows, the jumps, the others), so each gets code of its own.
        self.evaluate = torch.compile(flow_map.forward, dynamic=False) if compiled else flow_map.forward
        self._asked: list[tuple[str, int, bool]] = []
        self._flops: dict[tuple[tuple[str, int, bool], ...], int | None] = {}

    def forward(self, batch: Batch, draws: Draws, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss, a scalar with gradient, and the raw terms of the rows, with the loss among them."""
        self._asked = []
        still = self._still if self.dropout else None
        networks = Networks(self._u, self._exact, self.null_label, self.dropout, still)
        target = self.objective(networks, batch, draws, step)
        losses = target.losses()
        return losses.mean(), {**target.terms, "loss": losses.detach()}

    def flops(self, batch: Batch, draws: Draws, step: int) -> int | None:
        """Floating-point operations of the last call, which had these arguments, and of its backward pass.

        Of matrix products and convolutions, a multiply-accumulate being 2, with derivatives as they are and attention
        as if it were the plain one. Counted once for all steps that ask the network the same, while eager torch goes
        through it with tensors that have shapes and no content, so that it takes no memory; None for an objective that
        looks at what its tensors hold.
        """
        asked = tuple(self._asked)
        if asked not in self._flops:
            plain = Loss(self.flow_map, self.objective, self.null_label)
            tensors = {
                name: _emptied(value).requires_grad_(value.requires_grad)
                for name, value in (*plain.named_parameters(), *plain.named_buffers())
            }
            weights = [value for value in tensors.values() if value.requires_grad]
            counter = FlopCounterMode(display=False)
            try:
                with sdpa_kernel(SDPBackend.MATH), counter:  # the counter knows attention by its matrix products only
                    value, _ = functional_call(plain, tensors, (_emptied(batch), _emptied(draws), step))
                    torch.autograd.grad(value, weights, allow_unused=True)
                self._flops[asked] = int(counter.get_total_flops())
            except (NotImplementedError, RuntimeError):  # torch has both for a number asked of a tensor without content
                self._flops[asked] = None
        return self._flops[asked]

    def _u(self, z: Tensor, *more: Tensor) -> Tensor:
        self._asked.append(("u", len(z), torch.is_grad_enabled()))
        with autocast(self.precision, z.device.type):
            value: Tensor = self.evaluate(z, *more)
        return value.to(z.dtype)

    def _still(self, z: Tensor, *more: Tensor) -> Tensor:
        before = self.flow_map.training
        self.flow_map.eval()
        try:
            return self._u(z, *more)
        finally:
            self.flow_map.train(before)

    def _exact(self, z: Tensor, *more: Tensor) -> Tensor:
        self._asked.append(("exact", len(z), torch.is_grad_enabled()))
        value: Tensor = self.flow_map(z, *more)
        return value


def _emptied(value: Any) -> Any:
    """A tensor's shape and type without its content; of a group, the same of all in it."""
    if isinstance(value, Tensor):
        return torch.empty_like(value, device="meta")
    if isinstance(value, tuple):  # Batch
        return type(value)(*map(_emptied, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = {field.name: _emptied(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **inside)
    return value
