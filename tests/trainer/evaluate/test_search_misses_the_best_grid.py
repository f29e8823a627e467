"""The search for a grid finds that of a field in closed form, keeps to what the model knows, and keeps a good one."""

from __future__ import annotations

import math

import pytest

from export.runtime.grids import Grid, Step, flow_grid, gamma_grid, renoise_grid
from trainer.evaluate.gridsearch import Family, Times, check_times, family_of, search


def spread(times: Times, std: float) -> float:
    """The standard deviation that Euler steps give for data N(0, std^2), at most `std`.

    u(z, t) = z (t - (1 - t) std^2) / ((1 - t)^2 std^2 + t^2). For two steps it is m (1 - m) std^2 over that sum at m,
    the largest at m = std / (1 + std).
    """
    z = 1.0
    for t, r in zip((1.0, *times), (*times, 0.0), strict=True):
        z -= (t - r) * z * (t - (1 - t) * std**2) / ((1 - t) ** 2 * std**2 + t**2)
    return z


@pytest.mark.parametrize("std", [0.1, 0.5, 3.0])
def test_best_time_of_two_steps_is_missed(std: float) -> None:
    found = search((0.5,), 1.0, lambda times: abs(std - spread(times, std)))
    assert math.log(found[0] / (1 - found[0])) == pytest.approx(math.log(std), abs=0.2)
    assert spread(found, std) == pytest.approx(std / 2, rel=0.01)  # the most that two Euler steps reach


@pytest.mark.parametrize("steps", [4, 8])
def test_even_times_are_as_good(steps: int) -> None:
    """Data much narrower than the noise: even steps lose most of it, and few calls of the score bring it back."""
    std, calls = 0.1, 0
    even = tuple(1 - i / steps for i in range(1, steps))

    def score(times: Times) -> float:
        nonlocal calls
        calls += 1
        return abs(std - spread(times, std))

    found = search(even, 1.0, score)
    assert score(found) < 0.6 * score(even)
    assert list(found) == sorted(found, reverse=True)
    assert calls <= 13 + 4 * (steps - 1)
    assert search(even, 1.0, score) == found


def test_good_grid_is_left_for_a_worse_one() -> None:
    """The negative control: nothing is better, and where all is alike the given times stay."""
    best = (0.8, 0.6, 0.1)
    assert search(best, 1.0, lambda times: sum(abs(a - b) for a, b in zip(times, best, strict=True))) == best
    assert search(best, 1.0, lambda times: 1.0) == best


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_times_leave_what_the_model_knows(steps: int) -> None:
    asked: list[Times] = []

    def score(times: Times) -> float:
        asked.append(times)
        return -sum(times)  # the higher the better

    even = tuple(0.9 * (1 - i / steps) for i in range(1, steps))
    found = search(even, 0.9, score)
    assert found[0] == pytest.approx(0.9, abs=0.05)
    for times in asked:
        check_times(Family(0.0), times, "any", 0.9)
        check_times(Family(1.0), times, "endpoint", 0.9)
    with pytest.raises(ValueError, match="knows no time between"):
        check_times(Family(0.0), (0.95,), "any", 0.9)


@pytest.mark.parametrize(
    ("grid", "gamma"),
    [(flow_grid(4), 0.0), (renoise_grid([1.0, 0.7, 0.2]), 1.0), (gamma_grid([1.0, 0.7, 0.2], 0.3), 0.3)],
)
def test_grid_comes_back_as_another(grid: Grid, gamma: float) -> None:
    family, times = family_of(grid, "any")
    assert family.gamma == pytest.approx(gamma)
    assert [tuple(step) for step in family.grid(times)] == [pytest.approx(tuple(step)) for step in grid]
    if not gamma:
        assert family.grid(times) == grid


def test_what_has_no_times_is_searched() -> None:
    with pytest.raises(ValueError, match="no times to search"):
        family_of(flow_grid(4), "dyadic")
    with pytest.raises(ValueError, match="no times to search"):
        family_of(flow_grid(1), "any")
    mixed = (Step(1.0, 0.6), Step(0.6, 0.0, 0.7, 0.3), Step(0.3, 0.0))
    with pytest.raises(ValueError, match="another way"):
        family_of(mixed, "any")
