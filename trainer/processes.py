"""This process among those that train together: one alone, or as many as torchrun started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn


class Processes:
    """Rank, device and the few things that processes do together, by Accelerate.

    Args:
        device: a torch device; with several processes only its type counts, each takes its own.
    """

    def __init__(self, device: str) -> None:
        self._accelerator = Accelerator(cpu=torch.device(device).type == "cpu", device_placement=False)
        self.count: int = self._accelerator.num_processes
        self.rank: int = self._accelerator.process_index
        self.device: torch.device = self._accelerator.device if self.count > 1 else torch.device(device)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """`module`, whose backward pass averages the gradients over the processes; its weights become the first's."""
        if self.count == 1:
            return module
        shared: nn.Module = self._accelerator.prepare_model(module, device_placement=False)
        return shared

    def apart(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within it, backward passes of a shared module add up gradients on each process without averaging."""
        if self.count == 1:
            return nullcontext()
        context: AbstractContextManager[None] = self._accelerator.no_sync(module)
        return context

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes, on each of them."""
        if self.count == 1:
            return value
        total: Tensor = self._accelerator.reduce(value, "sum")
        return total

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        if self.count == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)], device=self.device)) > 0)

    def wait(self) -> None:
        """Until every process has come here."""
        self._accelerator.wait_for_everyone()

    @contextmanager
    def first_then_the_others(self) -> Iterator[None]:
        """The body runs on the first process, and once it is through, on the others."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def end(self) -> None:
        """Leave the others in order; nothing is done together after it."""
        if self.count > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
