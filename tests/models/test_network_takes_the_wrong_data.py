"""An architecture that cannot take the data is refused when it is built, in words about the data."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from models.build import DiTArchitecture, MLPArchitecture, UNetArchitecture, build


@pytest.mark.parametrize(
    ("architecture", "shape", "message"),
    [
        (DiTArchitecture(), (2,), r"network dit needs images .*; the data has shape \(2,\); use network mlp"),
        (UNetArchitecture(), (2,), r"network unet needs images .*; the data has shape \(2,\); use network mlp"),
        (MLPArchitecture(), (3, 8, 8), r"mlp needs points .*; the data has shape \(3, 8, 8\); use network dit or unet"),
        (UNetArchitecture(multipliers=(1, 2, 2)), (3, 30, 32), "U-Net of 3 levels .* multiples of 4, not 30x32"),
        (UNetArchitecture(channels=48), (3, 8, 8), r"U-Net width 48 must be a multiple of head_width \(32\)"),
        (DiTArchitecture(patch=4), (3, 30, 32), "multiples of 4, not 30x32"),
        (DiTArchitecture(width=20, heads=3), (3, 8, 8), r"width 20 must be a multiple of heads \(3\)"),
        (DiTArchitecture(width=6, heads=3), (3, 8, 8), "width 6 must be a multiple of .* and of 4"),
    ],
)
def test_wrong_shape_is_built(architecture: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(architecture, shape, 2, "any")


@pytest.mark.parametrize(
    "wrong", [{"depth": 0}, {"width": -4}, {"sigma_data": 0}, {"parametrisation": "vp"}, {"dept": 2}]
)
def test_senseless_architecture_is_accepted(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DiTArchitecture(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0},
        {"blocks": 0},
        {"multipliers": ()},
        {"multipliers": (1, 0)},
        {"dropout": 1},
        {"attention": -8},
        {"head_width": 0},
        {"patch": 4},
    ],
)
def test_senseless_ladder_is_accepted(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UNetArchitecture(**wrong)
