"""Weights of a sample's squared error."""

from __future__ import annotations

from torch import Tensor

from trainer.objectives.parts.target import square_norm


def adaptive(error: Tensor, power: float, constant: float) -> Tensor:
    """1 / (||error||^2 + constant)^power, without gradient: [B, ...] -> [B].

    MeanFlow's adaptive weight (arXiv 2505.13447, section 4.3, after ECT, arXiv 2406.14548). The norm is the SUM over
    dimensions; with a mean, `constant` would mean something else.
    """
    return (square_norm(error.detach()) + constant) ** -power
