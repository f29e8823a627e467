"""Two processes must train the network that one trains with the same batch, and hold the same numbers throughout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from .cases import case, cases, three_steps

pytestmark = pytest.mark.timeout(1300)  # a job of its own: see PATIENCE

# Sums in another order, after three steps in float32 with updates of about 1e-3. AdamW divides by the gradient's own
# size, so a weight whose gradient is nearly zero moves by its rounding.
CLOSE = 2e-5


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def far(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.allclose(one[name].float(), other[name].float(), rtol=1e-4, atol=CLOSE)]


@pytest.mark.parametrize("name", cases())
def test_processes_differ(launch: Callable[[str], Any], name: str) -> None:
    """Bit by bit: weights, averages, the optimisers' moments, and the means in the log."""
    (first, second), _ = launch("same")
    assert not differences(first[name], second[name])


@pytest.mark.parametrize("name", cases())
def test_two_differ_from_one(launch: Callable[[str], Any], points: Path, grey: Path, name: str) -> None:
    recipe = cases()[name]
    alone = three_steps(recipe, points if recipe.kind == "points" else grey)
    assert not far(launch("same")[0][0][name], alone)


def test_batches_are_not_the_same_anyway(grey: Path) -> None:
    """Control of the tolerance: with another seed, three steps lead elsewhere."""
    one = three_steps(case("dit", {"method": "meanflow"}), grey)
    assert far(one, three_steps(case("dit", {"method": "meanflow"}, run={"seed": 1}), grey))


@pytest.mark.parametrize("broken", ["unshared", "beside"])
def test_unshared_gradients_pass(launch: Callable[[str], Any], broken: str) -> None:
    """Control: no word between them, or a network that is asked past DDP, which skips the averaging in silence."""
    (first, second), _ = launch("same")
    moved = differences(first[broken], second[broken])
    assert any(name.startswith("weight/") for name in moved)
    assert any(name.startswith("ema-") for name in moved)


def test_contiguous_rows_pass(launch: Callable[[str], Any], grey: Path) -> None:
    """Control: the jumps come first in a batch, so rows that lie together are not an even share of it."""
    alone = three_steps(case("dit", {"method": "meanflow"}), grey)
    assert far(launch("same")[0][0]["contiguous"], alone)
