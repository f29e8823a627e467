"""The loss of one piece of a batch: what is shared among processes, so that whatever an objective asks of the network,
derivatives included, lies inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.flow_map import FlowMap
from models.network import Head
from trainer.adversary import Judge, Judged
from trainer.company import ALONE, Company, Lender
from trainer.objectives.parts.moment import Moment
from trainer.objectives.parts.objective import Draws, Objective
from trainer.objectives.parts.target import Batch, Marginal, Networks, Target, Velocity
from trainer.precision import Precision, autocast


class Loss(nn.Module):
    """An objective's loss, with the adversarial one of its last phase, as a module that holds the network.

    DDP wraps this and not the network: a Jacobian-vector product of a wrapped network fails, and one of the network
    beside its wrapper would skip the averaging of gradients without a word.

    Args:
        company: the networks beside it. Of these the companion is trained, the others have no gradient.
        precision: of the evaluations that are not part of a derivative.
        compiled: whether torch.compile works on those evaluations. Derivatives stay in eager torch.
    """

    def __init__(
        self,
        flow_map: FlowMap,
        objective: Objective,
        null_label: int,
        *,
        company: Company = ALONE,
        precision: Precision = "fp32",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.flow_map = flow_map
        self.objective = objective
        self.null_label = null_label
        self.precision = precision
        self.company = company
        self.companion, self.lagged, self.judge = company.companion, company.lagged, company.judge
        self.judged: Judged | None = None  # what the judge saw in the last call
        self.teachers = nn.ModuleList(
            lender.flow_map for lender in (company.teacher, company.weak_teacher) if lender is not None
        )
        self.dropout = any(isinstance(part, nn.Dropout) and part.p > 0 for part in flow_map.modules())
        # Of a function, not of the module, whose compiled form would put a prefix before the names of the weights. The
        # shapes of a run are few (all rows, the jumps, the others), so each gets code of its own.
        self.compiled = compiled
        self.evaluate = self._quick(flow_map.forward)
        self.evaluate_both = self._quick(flow_map.both) if isinstance(self.companion, Head) else flow_map.both
        self.evaluate_lagged = self._quick(self.lagged.forward) if self.lagged is not None else None
        self._asked: list[tuple[str, int, bool]] = []
        self._flops: dict[tuple[tuple[str, int, bool], ...], int | None] = {}

    def forward(self, batch: Batch, draws: Draws, moment: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss, a scalar with gradient, and the raw terms of the rows, with the loss among them."""
        self._asked = []
        headed = isinstance(self.companion, Head)
        networks = Networks(
            self._u,
            self._exact,
            self.null_label,
            dropout=self.dropout,
            still=self._still if self.dropout else None,
            lagged=self._lagged if self.lagged is not None else None,
            teacher=self._marginal(self.company.teacher),
            walker=self._walker(self.company.teacher),
            weak=self._marginal(self.company.weak_teacher),
            companion=self.companion,
            both=self._both if headed else None,
            head=self._head if headed else None,
        )
        target = self.objective(networks, batch, draws, moment)
        losses, terms = target.losses(), target.terms
        self.judged = None
        if self.judge is not None and self.judge.settings.active(moment.step):
            adversarial, self.judged = self._adversarial(self.judge, target, batch)
            losses = losses + self.judge.settings.weight * adversarial
            terms = {**terms, "loss/adversarial": adversarial.detach()}
        return losses.mean(), {**terms, "loss": losses.detach()}

    def flops(self, batch: Batch, draws: Draws, moment: Moment) -> int | None:
        """Floating-point operations of the last call, which had these arguments, and of its backward pass.

        Of matrix products and convolutions, a multiply-accumulate being 2, with derivatives as they are and attention
        as if it were the plain one. Counted once for all steps that ask the network the same, while eager torch goes
        through it with tensors that have shapes and no content, so that it takes no memory; None for an objective that
        looks at what its tensors hold.
        """
        asked = tuple(self._asked)
        if asked not in self._flops:
            plain = Loss(self.flow_map, self.objective, self.null_label, company=self.company)
            tensors = {
                name: _emptied(value).requires_grad_(value.requires_grad)
                for name, value in (*plain.named_parameters(), *plain.named_buffers())
            }
            weights = [value for value in tensors.values() if value.requires_grad]
            counter = FlopCounterMode(display=False)
            try:
                with sdpa_kernel(SDPBackend.MATH), counter:  # the counter knows attention by its matrix products only
                    value, _ = functional_call(plain, tensors, (_emptied(batch), _emptied(draws), moment))
                    torch.autograd.grad(value, weights, allow_unused=True)
                self._flops[asked] = int(counter.get_total_flops())
            except (NotImplementedError, RuntimeError):  # torch has both for a number asked of a tensor without content
                self._flops[asked] = None
        return self._flops[asked]

    def _adversarial(self, judge: Judge, target: Target, batch: Batch) -> tuple[Tensor, Judged]:
        """The map's loss by the scores of its samples, [B] with gradient, and what was judged."""
        assert target.fake is not None
        self._asked.append(("judge", len(batch.x0), True))
        judged = Judged(batch.x0, target.fake, batch.condition.label)
        return judge(judged), judged._replace(fake=target.fake.detach())

    def _quick(self, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(evaluate, dynamic=False) if self.compiled else evaluate

    def _u(self, z: Tensor, *more: Tensor) -> Tensor:
        return self._evaluated("u", self.evaluate, z, *more)

    def _lagged(self, z: Tensor, *more: Tensor) -> Tensor:
        assert self.lagged is not None
        assert self.evaluate_lagged is not None
        if self.dropout:  # compiled, or in half precision, its masks would not be those of `exact`
            self._asked.append(("lagged", len(z), torch.is_grad_enabled()))
            value: Tensor = self.lagged(z, *more)
            return value
        return self._evaluated("lagged", self.evaluate_lagged, z, *more)

    def _marginal(self, lender: Lender | None) -> Marginal | None:
        """The velocity of a teacher."""
        walker = self._walker(lender)
        return None if walker is None else lambda z, t, label: walker(z, t, t, label)

    def _walker(self, lender: Lender | None) -> Velocity | None:
        """A teacher's average velocity; of one that is told a scale of guidance, at its default. It is not told of
        augmentation."""
        if lender is None:
            return None
        flow_map, guidance = lender.flow_map, lender.config.guidance

        def average(z: Tensor, t: Tensor, s: Tensor, label: Tensor, *_: Tensor | None) -> Tensor:
            told = () if guidance is None else (torch.full_like(t, guidance.default),)
            until = t if flow_map.span == "velocity" else s  # an Euler step
            with torch.no_grad():
                return self._evaluated("teacher", flow_map.forward, z, t, until, label, *told)

        return average

    def _evaluated(self, name: str, evaluate: Callable[..., Tensor], z: Tensor, *more: Tensor) -> Tensor:
        self._asked.append((name, len(z), torch.is_grad_enabled()))
        with autocast(self.precision, z.device.type):
            value = evaluate(z, *more)
        return value.to(z.dtype)

    def _still(self, z: Tensor, *more: Tensor) -> Tensor:
        with self._undropped():
            return self._u(z, *more)

    @contextmanager
    def _undropped(self) -> Iterator[None]:
        before = self.flow_map.training
        self.flow_map.eval()
        try:
            yield
        finally:
            self.flow_map.train(before)

    def _both(self, z: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        self._asked.append(("both", len(z), torch.is_grad_enabled()))
        if self.dropout and self.flow_map.training:  # in compiled code the derivative's masks would be others
            return self.flow_map.both(self._the_head, z, *more)
        with autocast(self.precision, z.device.type):
            average, velocity = self.evaluate_both(self._the_head, z, *more)
        return average.to(z.dtype), velocity.to(z.dtype)

    def _head(self, z: Tensor, *more: Tensor) -> Tensor:
        with self._undropped():
            return self._both(z, *more)[1]

    @property
    def _the_head(self) -> Head:
        assert isinstance(self.companion, Head)
        return self.companion

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
