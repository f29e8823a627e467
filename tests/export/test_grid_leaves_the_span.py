"""Grids that a map does not know, or that do not lead from noise to data, are refused with the step that is wrong."""

from __future__ import annotations

import pytest

from export.runtime.grids import Span, Step, check_grid, check_jump, flow_grid, renoise_grid


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 64, 100])
def test_flow_grids_are_right(n: int) -> None:
    grid = flow_grid(n)
    assert (grid[0].t, grid[-1].s, len(grid)) == (1.0, 0.0, n)
    check_grid(grid, "any")
    check_grid(grid, "velocity")


@pytest.mark.parametrize("n", [1, 2, 4, 128])
def test_dyadic_grids_are_right(n: int) -> None:
    check_grid(flow_grid(n), "dyadic")


def test_renoise_grids_are_right() -> None:
    grid = renoise_grid([1.0, 0.6, 0.25])
    assert grid == (Step(1.0, 0.0, 0.4, 0.6), Step(0.6, 0.0, 0.75, 0.25), Step(0.25, 0.0, 1.0, 0.0))
    check_grid(grid, "endpoint")
    check_grid(grid, "any")


def test_a_gamma_step_is_right() -> None:
    # methods of gamma-sampling: jump to r' < r, then scale by (1 - r) / (1 - r') and add gamma r n.
    r, gamma = 0.5, 0.6
    sigma = (1 - gamma**2) ** 0.5 * r / (1 - r)
    inner = sigma / (1 + sigma)
    check_grid([Step(1.0, inner, (1 - r) / (1 - inner), gamma * r), Step(r, 0.0)], "any")


@pytest.mark.parametrize(
    ("grid", "span", "message"),
    [
        (flow_grid(2), "endpoint", r"step 1 of 2 .* outside the span 'endpoint'"),
        (flow_grid(3), "dyadic", r"step 1 of 3 .* outside the span 'dyadic'"),
        (flow_grid(256), "dyadic", r"step 1 of 256"),
        ([Step(1, 0.75), Step(0.75, 0.25), Step(0.25, 0)], "dyadic", r"step 2 of 3 .* t a multiple"),
        ([Step(1, 0.5), Step(0.6, 0)], "any", r"step 2 of 2 .*z is at t=0.5"),
        ([Step(0.9, 0)], "any", r"z is at t=1 here"),
        ([Step(1, 0.5)], "any", r"ends at t=0.5"),
        ([Step(1, 0, 0.4, 0.5), Step(0.6, 0)], "any", r"leads to t=0.6, where the noise must have std 0.6"),
        ([Step(0, 1)], "any", r"not one from a time"),
        ([Step(1, float("nan"))], "any", r"must be finite"),
        ([], "any", r"at least 1 step"),
    ],
)
def test_a_wrong_grid_is_named(grid: list[Step], span: Span, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_grid(grid, span)


def test_times_above_t_max_but_1_are_refused() -> None:
    check_jump(1.0, 0.0, "any", t_max=0.98)
    check_jump(0.98, 0.0, "any", t_max=0.98)
    with pytest.raises(ValueError, match=r"starts at t=0\.99, but the map knows no time between t_max=0\.98 and 1"):
        check_jump(0.99, 0.0, "any", t_max=0.98)


@pytest.mark.parametrize("times", [[], [1.0, 1.0], [0.5, 0.7], [1.2], [1.0, 0.0]])
def test_renoise_times_that_do_not_fall_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match=r"times|at least 1 step"):
        renoise_grid(times)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        flow_grid(0)
