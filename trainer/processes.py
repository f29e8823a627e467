"""This process among those that train together: one alone, or as many as torchrun started."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import nn

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others, which may be as long as the first takes to score and save."""


class FailedElsewhere(RuntimeError):
    """Another process failed, and tells why; this one has nothing to add."""


class Processes:
    """Rank, device and the few things that processes do together, by Accelerate, which one process alone never imports.

    Args:
        device: a torch device; with several processes only its type counts, each takes its own (see `own_device`).

    Raises:
        ValueError: several processes on a device that cannot be shared among them, or fewer GPUs than processes.
    """

    def __init__(self, device: str) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.count > 1 else 0
        self.device = torch.device(own_device(device))
        self._accelerator = accelerator(self.device.type, self.count) if self.count > 1 else None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """`module`, whose backward pass averages the gradients over the processes; its weights become the first's."""
        if self._accelerator is None:
            return module
        with warnings.catch_warnings():  # torch 2.13 has another name for an option that 2.11 knows by this one
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            shared: nn.Module = self._accelerator.prepare_model(module, device_placement=False)
        return shared

    def apart(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within it, backward passes of a shared module add up gradients on each process without averaging."""
        if self._accelerator is None:
            return nullcontext()
        context: AbstractContextManager[None] = self._accelerator.no_sync(module)
        return context

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return self._least(0 if flag else 1) == 0

    def gather(self, value: T) -> list[T]:
        """Small values of all processes, by rank, on each of them."""
        if self.count == 1:
            return [value]
        values: list[T | None] = [None] * self.count
        dist.all_gather_object(values, value)
        return [found for found in values if found is not None]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work in which the processes do not wait for each other: where it fails on one, it fails on all.

        Without it a process that fails alone leaves the others waiting for its gradients.

        Raises:
            FailedElsewhere: it failed on another process. Of several that fail, the first raises its own error, so that
                a person reads it once.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.count == 1:
                raise
            failure = error
        failed = self._least(self.count if failure is None else self.rank)
        if failure is not None and failed == self.rank:
            raise failure
        if failed < self.count:
            raise FailedElsewhere(f"process {failed} failed, and tells why") from failure

    @contextmanager
    def alike(self) -> Iterator[None]:
        """Work on what is the same on every process, so that it fails on all or on none; raises as `together` does."""
        try:
            yield
        except Exception as error:
            with self.together():
                raise error

    def _least(self, value: int) -> int:
        """The smallest value of all processes. In the host's memory, so that it does not wait for a GPU's work."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value)
        dist.all_reduce(tensor, dist.ReduceOp.MIN)
        return int(tensor)


def own_device(device: str) -> str:
    """The device of this process where `device` is asked for: under torchrun cuda means cuda:LOCAL_RANK.

    Raises:
        ValueError: there is no such GPU, or processes cannot share this kind of device.
    """
    kind = device.partition(":")[0]
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or kind == "cpu":
        return device
    if kind != "cuda":
        raise ValueError(f"several processes train on cpu or cuda, not on {kind}; start one, without torchrun")
    rank, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= there > 0:
        raise ValueError(f"more processes than GPUs: this machine has {there}; torchrun --nproc_per_node {there}")
    return f"cuda:{rank}"


def accelerator(kind: str, count: int) -> Accelerator:
    """The process's one Accelerator, connected to the others; made at the first call.

    Its settings are given in full, so that none of an `accelerate config` or an environment variable changes the
    training, and the number of threads stays as it was.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs

    connected = dist.is_initialized()
    threads = torch.get_num_threads()
    backend = "gloo" if kind == "cpu" else "cuda:nccl,cpu:gloo"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "OMP_NUM_THREADS/MKL_NUM_THREADS unset")
        made = Accelerator(
            cpu=kind == "cpu",
            device_placement=False,
            mixed_precision="no",
            dynamo_backend="no",
            kwargs_handlers=[
                InitProcessGroupKwargs(backend=backend, timeout=PATIENCE),
                # Our buffers are constants, and DDP would send them in every forward pass.
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            ],
        )
    torch.set_num_threads(threads)
    if made.distributed_type not in (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise ValueError(f"accelerate is set to {made.distributed_type}; longjump trains with plain DDP: use torchrun")
    if made.num_processes != count:
        raise ValueError(f"WORLD_SIZE is {count}, but {made.num_processes} processes are connected; use torchrun")
    if not connected:
        atexit.register(dist.destroy_process_group)
    return made


@contextmanager
def contact() -> Iterator[None]:
    """Say a lost connection to another process as what it is.

    Raises:
        ConnectionError: another process ended without a word, by kill -9, say.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise ConnectionError(
                "another training process ended or does not answer; the checkpoints are intact, go on with --resume "
                f"({str(error).splitlines()[0][:200]})"
            ) from error
        raise
