"""Distances between two sets of features: Fréchet's and the kernel distance. Pure functions of arrays, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BLOCK = 2048
"""Rows of a kernel matrix that are in memory at a time."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The mean and the covariance of features: all that a Fréchet distance sees of them."""

    mean: Floats
    """[D]"""
    factor: Floats
    """[R, D], R at most D; its transpose times itself is the covariance."""


def gaussian(features: ArrayLike) -> Gaussian:
    """The Gaussian of features [N, D]; the covariance is over N - 1. Raises ValueError for fewer than two rows."""
    rows = _rows(features, least=2)
    mean = rows.mean(0)
    centred = (rows - mean) / np.sqrt(len(rows) - 1)
    if len(rows) > len(mean):
        centred = np.asarray(np.linalg.qr(centred, mode="r"))
    return Gaussian(mean, centred)


def frechet(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared 2-Wasserstein distance of two Gaussians.

    Dowson and Landau (1982); of Inception's features it is the FID (Heusel et al., arXiv 1706.08500, eq. 6). It is not
    free of bias: the fewer samples, the larger.
    """
    # With C = F^T F, the eigenvalues of C1 C2 are the squares of the singular values of F1 F2^T: no root to take, and
    # nothing lost of a covariance of fewer samples than dimensions.
    shared = np.linalg.svdvals(first.factor @ second.factor.T).sum()
    gap = first.mean - second.mean
    return float(gap @ gap + (first.factor**2).sum() + (second.factor**2).sum() - 2 * shared)


def kernel_distance(x: ArrayLike, y: ArrayLike) -> float:
    """The squared maximum mean discrepancy of two sets [N, D] and [M, D] for the kernel (a.b / D + 1)^3.

    The unbiased estimate over all pairs, which may be below 0; of Inception's features it is the KID (Bińkowski et al.,
    arXiv 1801.01401, section 4). Others average it over random subsets of 1,000: the same expectation, more noise.

    Raises ValueError for fewer than two rows on a side.
    """
    first, second = _rows(x, least=2), _rows(y, least=2)
    return _within(first) + _within(second) - 2 * _kernel_sum(first, second) / (len(first) * len(second))


def _within(rows: Floats) -> float:
    """The mean kernel of two different rows."""
    own = float(((np.einsum("nd,nd->n", rows, rows) / rows.shape[1] + 1) ** 3).sum())
    return (_kernel_sum(rows, rows) - own) / (len(rows) * (len(rows) - 1))


def _kernel_sum(x: Floats, y: Floats) -> float:
    pieces = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))
    return float(sum((((piece @ y.T) / x.shape[1] + 1) ** 3).sum() for piece in pieces))


def _rows(features: ArrayLike, least: int) -> Floats:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < least:
        raise ValueError(f"features are [N, D] with N at least {least}, not {rows.shape}")
    return rows
