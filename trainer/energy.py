"""The energy distance between two sets of points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of the empirical distributions (Székely and Rizzo, 2013, eq. 2.1).

    It is 0 where both sets are the same points, as often, and positive otherwise. Two sets of N points that come from
    one distribution are E|X - X'| 2/N apart on average, and no set is expected to be nearer: beside a distance belongs
    that floor, measured on two sets of real points.

    Args:
        x: [N, ...] points. y: [M, ...] points of the same shape.

    Returns:
        A distance squared in the sense of a norm, but in the units of the points; float64 arithmetic.

    Raises:
        ValueError: an empty set, other shapes, or a point that is not finite.
    """
    first, second = (np.asarray(each, dtype=np.float64) for each in (x, y))
    if first.shape[1:] != second.shape[1:] or not len(first) or not len(second):
        raise ValueError(f"two sets of points of one shape are needed, not {first.shape} and {second.shape}")
    first, second = first.reshape(len(first), -1), second.reshape(len(second), -1)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a point is not finite")
    between, within = cdist(first, second).mean(), cdist(first, first).mean() + cdist(second, second).mean()
    return float(2 * between - within)
