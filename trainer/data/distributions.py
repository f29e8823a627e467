"""Distributions of points, the ones the closed forms of the oracle know and the usual toys in the plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COMPASS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")


@dataclass(frozen=True)
class Distribution:
    """What is sampled: `draw(rng, n)` -> (x float64 [n, D], component int64 [n]).

    `classes` names the components, () when the points carry no labels; `parameters` go to data.json, so that
    a model can be compared with the truth later.
    """

    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    classes: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)


def gaussians(
    means: list[list[float]], stds: list[float], weights: list[float], classes: tuple[str, ...] = ()
) -> Distribution:
    """sum_k weights[k] N(means[k], stds[k]^2 I); one std may serve all, no weights mean equal ones.

    Raises ValueError for lists that do not fit together.
    """
    stds = stds * len(means) if len(stds) == 1 else stds
    weights = weights or [1.0] * len(means)
    if not len(means) == len(stds) == len(weights):
        raise ValueError(
            f"{len(means)} --mean, {len(stds)} --std and {len(weights)} --weight; give one of each per "
            f"component (or one --std for all, or no --weight)"
        )
    if len({len(mean) for mean in means}) != 1:
        counts = ", ".join(str(len(mean)) for mean in means)
        raise ValueError(f"the --mean have {counts} coordinates; all need the same number")
    check_numbers("--mean", [number for mean in means for number in mean])
    check_numbers("--std", stds, above=0)
    check_numbers("--weight", weights, above=0)
    centres, spreads, shares = np.array(means), np.array(stds), np.array(weights) / np.sum(weights)

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        component = rng.choice(len(shares), size=n, p=shares)
        noise = rng.standard_normal((n, centres.shape[1]))
        return centres[component] + spreads[component, None] * noise, component

    return Distribution(draw, classes, {"mean": means, "std": stds, "weight": shares.tolist()})


def eight_gaussians(radius: float = 2.0, std: float = 0.2) -> Distribution:
    """Equal Gaussians at the eight directions of a compass, labelled with them."""
    angles = np.arange(8) * np.pi / 4
    means = (radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).tolist()
    return gaussians(means, [std], [], COMPASS)


def checkerboard() -> Distribution:
    """Uniform on the squares (column, row) with an even sum, of a 4 x 4 board on [-2, 2]^2."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        square = rng.integers(8, size=n)
        row = square // 2
        column = 2 * (square % 2) + row % 2
        return np.stack([column, row], axis=1) - 2 + rng.random((n, 2)), square

    return Distribution(draw, parameters={"low": -2, "high": 2, "squares": 8})


def two_moons(std: float = 0.1) -> Distribution:
    """Two interleaving half circles of radius 1, around (0, 0) and (1, 0.5), plus Gaussian noise."""
    check_numbers("--std", [std], above=0)

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        moon = rng.integers(2, size=n)
        angle = np.pi * rng.random(n)
        sign = 1 - 2 * moon
        centre = np.array([[0.0, 0.0], [1.0, 0.5]])[moon]
        arc = np.stack([sign * np.cos(angle), sign * np.sin(angle)], axis=1)
        return centre + arc + std * rng.standard_normal((n, 2)), moon

    return Distribution(draw, ("upper", "lower"), {"std": std})


def check_numbers(option: str, values: list[Any], above: float | None = None) -> None:
    """Raise ValueError, naming the option, unless all values are finite (and larger than `above`)."""
    for value in values:
        if not math.isfinite(value) or (above is not None and value <= above):
            bound = "" if above is None else f" and larger than {above:g}"
            raise ValueError(f"{option} is {value}; it must be finite{bound}")
