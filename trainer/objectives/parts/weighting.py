"""Weights of a sample's squared error."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.objectives.parts.target import square_norm


def adaptive(error: Tensor, power: float, constant: float) -> Tensor:
    """1 / (||error||^2 + constant)^power, without gradient: [B, ...] -> [B].

    MeanFlow's adaptive weight (arXiv 2505.13447, section 4.3, after ECT, arXiv 2406.14548). The norm is the SUM over
    dimensions; with a mean, `constant` would mean something else.
    """
    return (square_norm(error.detach()) + constant) ** -power


def pseudo_huber(error: Tensor, constant: float) -> Tensor:
    """1 / (2 sqrt(||error||^2 + constant^2)), without gradient: [B, ...] -> [B]; 0 where that is 1 / 0.

    With it ||error||^2 has the gradient of the pseudo-Huber loss sqrt(||error||^2 + constant^2) - constant (iCT, arXiv
    2310.14189, section 3.3), which for constant = 0 is the norm. The norm is of the whole sample, not of each element.
    """
    norm = (square_norm(error.detach()) + constant**2).sqrt()
    return torch.where(norm > 0, 0.5 / norm, 0.0)
