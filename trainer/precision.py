"""In which precision a network is evaluated, and that derivatives never see less than float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]
"""Of the forward pass that has a gradient, and of its backward pass; weights and what the optimiser keeps are float32.

`tf32` rounds the factors of products to 10 bits on CUDA devices and is `fp32` elsewhere. `bf16` runs products in
bfloat16 by autocast: on CUDA devices twice as fast and more; a CPU takes it, but only one with AMX gains by it.
"""


def allow_products(precision: Precision) -> None:
    """Let float32 products of this process be TF32 where `precision` says so, and nowhere else.

    Global in torch, because the backward pass runs outside of any block. torch's own default has TF32 convolutions.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextmanager
def exact_products() -> Iterator[None]:
    """Within it, float32 products are float32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def autocast(precision: Precision, device: str) -> AbstractContextManager[object]:
    """Around one evaluation of a network on a device of the type `device`.

    It is left after each evaluation, which drops the weights' copies in bfloat16: one that was made without gradient
    must not serve an evaluation that has one.
    """
    return torch.autocast(device, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
