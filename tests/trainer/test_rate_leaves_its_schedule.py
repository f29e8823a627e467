"""The learning rate of every schedule at every step: warm-up, shape, fall; never zero, never above the highest."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trainer.recipe import Optimiser, load_recipe


def rates(steps: int, **settings: Any) -> list[float]:
    optimiser = Optimiser(**settings)
    return [optimiser.rate(step, steps) for step in range(1, steps + 1)]


def test_constant_moves() -> None:
    """Up in a line over the warm-up, level, down in a line over the last steps; 0 means none."""
    found = rates(10, lr=0.8, warmup_steps=4, decay_steps=2)
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.4])
    assert set(rates(10, lr=0.8, warmup_steps=0)) == {0.8}


def test_cosine_is_another_curve() -> None:
    """Half a cosine from the end of the warm-up: full at first, half in the middle, next to nothing at the end."""
    found = rates(102, lr=0.8, warmup_steps=2, schedule="cosine")
    assert found[:3] == pytest.approx([0.4, 0.8, 0.8])
    assert found[52] == pytest.approx(0.4)
    assert found[101] == pytest.approx(0.4 * (1 + math.cos(math.pi * 0.99)))
    assert found[2:] == sorted(found[2:], reverse=True)


def test_inverse_root_starts_elsewhere() -> None:
    """Full up to the reference step, half at four times it; it falls to zero only where a decay is asked for."""
    found = rates(400, lr=0.8, warmup_steps=0, schedule="inverse-sqrt", reference_step=100)
    assert set(found[:100]) == {0.8}
    assert found[399] == pytest.approx(0.4)
    decayed = rates(400, lr=0.8, warmup_steps=0, schedule="inverse-sqrt", reference_step=100, decay_steps=10)
    assert decayed[:390] == found[:390]
    assert decayed[399] == pytest.approx(0.04)


def test_longer_run_has_another_past() -> None:
    """An inverse root does not know how long the run is; a cosine does (negative control)."""
    root: dict[str, Any] = {"schedule": "inverse-sqrt", "reference_step": 5, "warmup_steps": 3}
    assert rates(20, **root) == rates(40, **root)[:20]
    assert rates(20, schedule="cosine", warmup_steps=3) != rates(40, schedule="cosine", warmup_steps=3)[:20]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "inverse-sqrt"])
@pytest.mark.parametrize("warmup", [0, 1, 6, 8, 20])
@pytest.mark.parametrize("decay", [0, 1, 6, 20])
def test_rate_is_zero_somewhere(schedule: str, warmup: int, decay: int) -> None:
    """Neither the first nor the last step may be wasted, even where warm-up and decay meet or outlast the run."""
    more: dict[str, Any] = {"reference_step": 3} if schedule == "inverse-sqrt" else {}
    found = rates(8, lr=1.0, schedule=schedule, warmup_steps=warmup, decay_steps=decay, **more)
    assert min(found) > 0
    assert max(found) <= 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule=inverse-sqrt"], "optimiser: schedule inverse-sqrt needs reference_step, the last step at the full"),
        (["reference_step=5"], "optimiser: reference_step is of schedule inverse-sqrt; the schedule is constant"),
        (["schedule=linear"], "optimiser.schedule"),
        (["schedule=cosin"], "not 'cosin'"),
        (["schedule=inverse-sqrt", "reference_step=0"], "optimiser.reference_step"),
    ],
)
def test_schedule_without_sense_is_taken(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is the test
        load_recipe("points/meanflow", [f"optimiser.{each}" for each in overrides])
    assert message in str(caught.value)
