"""Muon in single precision where the processor has no fast bfloat16.

torch.optim.Muon orthogonalises in bfloat16. A CPU without instructions for that emulates it, and takes many times as
long as in single precision; one that has them gains little, since this is a small part of a step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class SingleMuon(torch.optim.Muon):
    """torch.optim.Muon whose Newton-Schulz iteration (Jordan, 2024) is in the weights' own precision.

    Its rate is matched to AdamW's update (`match_rms_adamw`; Liu et al., 2502.16982). The state is torch.optim.Muon's:
    either goes on where the other was.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move the weights that have a gradient.

        Raises:
            ValueError: there is a `closure`; the gradients must be there already.
        """
        if closure is not None:
            raise ValueError("this optimiser takes gradients that are there, not a closure that computes them")
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                average = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
                update = weight.grad.lerp(average, momentum) if group["nesterov"] else average
                update = orthogonalise(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                weight.mul_(1 - rate * group["weight_decay"])
                weight.add_(update, alpha=-rate * 0.2 * math.sqrt(max(weight.shape)))


def orthogonalise(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About U V^T of a matrix U S V^T, [rows, columns]: its singular values end between 0.7 and 1.2 or so.

    Each step maps a singular value x to a x + b x^3 + c x^5, with (a, b, c) the coefficients.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    moved = matrix.T if tall else matrix
    moved = moved / moved.norm().clamp(min=eps)
    for _ in range(steps):
        gram = moved @ moved.T
        moved = torch.addmm(moved, torch.addmm(gram, gram, gram, beta=b, alpha=c), moved, beta=a)
    return moved.T if tall else moved
