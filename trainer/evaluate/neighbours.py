"""Nearest neighbours among features: how far, which, and what their distances say of quality, variety and copying.

All distances are squared Euclidean ones, computed block by block; those that are 0 but for rounding are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CELLS = 4_000_000
"""Distances in memory at a time."""

ROUNDING = 1e-10
"""Of the squared lengths: a squared distance below that is 0. Equal pictures' float32 features differ by less."""

BALL = 3
"""Neighbours within a ball of precision and recall (Kynkäänniemi et al., arXiv 1904.06991)."""

DENSE_BALL = 5
"""Neighbours within a ball of density and coverage (Naeem et al., arXiv 2002.09797)."""


def distance_blocks(x: ArrayLike, y: ArrayLike) -> Iterator[tuple[slice, Floats]]:
    """Rows of x [N, D] and their squared distances to y [M, D], a block [n, M] at a time."""
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    centre = second.mean(0)  # lengths as short as can be, for the least rounding
    first, second = first - centre, second - centre
    lengths, others = (np.einsum("nd,nd->n", rows, rows) for rows in (first, second))
    step = max(1, CELLS // len(second))
    for start in range(0, len(first), step):
        rows = slice(start, start + step)
        lengthy = lengths[rows, None] + others
        squared = lengthy - 2 * (first[rows] @ second.T)
        squared[squared < ROUNDING * lengthy] = 0
        yield rows, squared


def radii(points: ArrayLike, k: int) -> Floats:
    """Squared distance of each of points [N, D] to its k-th nearest other one. Raises ValueError for N <= k."""
    count = len(np.asarray(points))
    if count <= k:
        raise ValueError(f"balls of {k} neighbours need more than {k} points, not {count}")
    found = np.empty(count)
    for rows, squared in distance_blocks(points, points):
        found[rows] = np.partition(squared, k, axis=1)[:, k]  # the nearest is the point itself
    return found


@dataclass(frozen=True)
class Overlap:
    """How two sets of points cover each other."""

    precision: float
    """Share of samples within a ball of a real one: are they like the data?"""
    recall: float
    """Share of real ones within a ball of a sample: is all of the data there?"""
    density: float
    """Balls of real ones that a sample is in, over k: like precision, but one outlier's ball does not count for all."""
    coverage: float
    """Share of balls of real ones with a sample in them: like recall, but the balls are the data's."""


def overlap(samples: ArrayLike, real: ArrayLike, real_radii: tuple[Floats, Floats] | None = None) -> Overlap:
    """Precision and recall with balls of 3 neighbours, density and coverage with 5; samples [N, D], real [M, D].

    A ball reaches as far as its k-th neighbour and includes it. Two sets of the same size and distribution have a
    density of 1 and a coverage of about 1 - 2^-5 on average; precision and recall are below 1 even then.

    Args:
        samples, real: the points.
        real_radii: `radii` of `real` for BALL and DENSE_BALL, where they are known already.
    """
    ball, dense = real_radii or (radii(real, BALL), radii(real, DENSE_BALL))
    own = radii(samples, BALL)
    inside = balls = 0
    reached, covered = np.zeros(len(ball), bool), np.zeros(len(ball), bool)
    for rows, squared in distance_blocks(samples, real):
        inside += int((squared <= ball).any(1).sum())
        reached |= (squared <= own[rows, None]).any(0)
        within = squared <= dense
        balls += int(within.sum())
        covered |= within.any(0)
    count = len(own)
    return Overlap(inside / count, float(reached.mean()), balls / (DENSE_BALL * count), float(covered.mean()))


def nearest(points: ArrayLike, among: ArrayLike, count: int = 1) -> tuple[NDArray[np.int64], Floats]:
    """The `count` nearest of `among` [M, D] for each of points [N, D], the nearest first: rows and squared distances.

    Both are [N, count], fewer columns where `among` has fewer rows.
    """
    count = min(count, len(np.asarray(among)))
    places = np.empty((len(np.asarray(points)), count), np.int64)
    distances = np.empty(places.shape)
    for rows, squared in distance_blocks(points, among):
        few = np.argpartition(squared, count - 1, axis=1)[:, :count]
        few = np.take_along_axis(few, np.argsort(np.take_along_axis(squared, few, 1), axis=1, kind="stable"), 1)
        places[rows], distances[rows] = few, np.take_along_axis(squared, few, 1)
    return places, distances


@dataclass(frozen=True)
class Copying:
    """Are samples nearer to training pictures than fresh ones are: real ones that were not trained on?"""

    nearer: float
    """Chance that a sample is nearer to its nearest training picture than a fresh one is to its own: 0.5 is none."""
    close: float
    """Share of samples that are as near as the nearest 1 % of fresh ones."""
    close_fresh: float
    """The same share of fresh ones: 0.01, or more where pictures repeat."""


def copying(samples: ArrayLike, fresh: ArrayLike) -> Copying:
    """From distances to the nearest training picture: of samples [N], and of fresh real ones [M]."""
    drawn, known = np.asarray(samples, np.float64), np.sort(np.asarray(fresh, np.float64))
    above = len(known) - np.searchsorted(known, drawn, "right")
    equal = np.searchsorted(known, drawn, "right") - np.searchsorted(known, drawn, "left")
    limit = np.quantile(known, 0.01, method="higher")
    nearer = float((above + equal / 2).mean() / len(known))
    return Copying(nearer, float((drawn <= limit).mean()), float((known <= limit).mean()))
