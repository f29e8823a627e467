"""Augmentation: each transform in its direction, labels that say what was done, the same rows in any process."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.augment import SCALE, SHIFT, Augment, Parameters, apply
from trainer.shard import Shard

NAMES = ("x_flip", "y_flip", "scaling", "rotation", "axis", "anisotropy", "x_shift", "y_shift")


def parameters(rows: int = 1, **given: float) -> Parameters:
    return Parameters(**{name: torch.full((rows,), float(given.get(name, 0))) for name in NAMES})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(x: float, y: float, height: int = 33, width: int = 33, spread: float = 1.5) -> Tensor:
    """A bright spot [1, 1, H, W] at (x, y) pixels from the middle, x to the right, y down."""
    rows = torch.arange(height)[:, None] - (height - 1) / 2 - y
    columns = torch.arange(width)[None, :] - (width - 1) / 2 - x
    return torch.exp(-(rows**2 + columns**2) / (2 * spread**2))[None, None]


def centre(picture: Tensor) -> tuple[float, float]:
    """Where the spot is, as in `blob`."""
    weights = picture[0, 0] / picture[0, 0].sum()
    height, width = weights.shape
    y = (weights.sum(1) * (torch.arange(height) - (height - 1) / 2)).sum()
    x = (weights.sum(0) * (torch.arange(width) - (width - 1) / 2)).sum()
    return float(x), float(y)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (6, 2)),
        ({"x_flip": 1}, (-6, 2)),
        ({"y_flip": 1}, (6, -2)),
        ({"scaling": 2}, (6 * SCALE**2, 2 * SCALE**2)),
        ({"scaling": -1}, (6 / SCALE, 2 / SCALE)),
        ({"rotation": math.pi / 2}, (-2, 6)),
        ({"rotation": -math.pi / 2}, (2, -6)),
        ({"anisotropy": 1}, (6 * SCALE, 2 / SCALE)),
        ({"anisotropy": 1, "axis": math.pi / 2}, (6 / SCALE, 2 * SCALE)),
        ({"anisotropy": 1, "axis": math.pi / 4}, (4 * SCALE + 2 / SCALE, 4 * SCALE - 2 / SCALE)),
        ({"axis": 1.0}, (6, 2)),
        ({"x_shift": 1}, (6 + 33 * SHIFT, 2)),
        ({"y_shift": -1}, (6, 2 - 33 * SHIFT)),
        # In the stated order: flips, scaling, rotation, anisotropy, translation.
        ({"x_flip": 1, "rotation": math.pi / 2}, (-2, -6)),
        ({"rotation": math.pi / 2, "anisotropy": 1}, (-2 * SCALE, 6 / SCALE)),
        ({"rotation": math.pi / 2, "x_shift": 1}, (-2 + 33 * SHIFT, 6)),
        ({"scaling": 1, "y_shift": 1}, (6 * SCALE, 2 * SCALE + 33 * SHIFT)),
    ],
)
def test_another_direction(given: dict[str, float], expected: tuple[float, float]) -> None:
    moved, _ = apply(blob(6, 2), parameters(**given))
    assert centre(moved) == pytest.approx(expected, abs=0.03)
    if given and expected != (6, 2):
        opposite = (2 * 6 - expected[0], 2 * 2 - expected[1])
        assert centre(moved) != pytest.approx(opposite, abs=0.3), "the control: the other direction is told apart"


def test_oblong_pictures_are_sheared() -> None:
    """A turned spot stays round and goes as far in a wide picture as in a square one; shifts are shares of a side."""
    moved, _ = apply(blob(6, 2, 33, 65), parameters(rotation=math.pi / 2))
    middle = moved[..., 16:49]  # beside it the reflection comes into view
    assert centre(middle) == pytest.approx((-2, 6), abs=0.03)
    assert torch.allclose(middle, blob(-2, 6), atol=1e-4)
    moved, _ = apply(blob(0, 0, 33, 65), parameters(x_shift=1, y_shift=1))
    assert centre(moved) == pytest.approx((65 * SHIFT, 33 * SHIFT), abs=0.03)


def test_untouched_rows_change() -> None:
    """To the bit, among rows that are transformed; flips alone are exact too."""
    x0 = torch.randn(5, 3, 16, 12, generator=generator())
    given = parameters(5)
    given.rotation[1] = 0.3
    given.x_flip[2] = 1
    given.y_flip[3] = 1
    given.x_flip[3] = 1
    moved, labels = apply(x0, given)
    assert torch.equal(moved[0], x0[0])
    assert torch.equal(moved[4], x0[4])
    assert torch.equal(moved[2], x0[2].flip(2))
    assert torch.equal(moved[3], x0[3].flip(1, 2))
    assert not torch.equal(moved[1], x0[1])
    assert (labels != 0).any(1).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("name", ["x_flip", "y_flip", "scaling", "rotation", "anisotropy", "x_shift", "y_shift"])
def test_labels_say_nothing(name: str) -> None:
    _, labels = apply(blob(6, 2), parameters(**{name: 1}))
    assert labels.shape == (1, Augment.LABELS)
    assert (labels != 0).any()
    others = {
        tuple(apply(blob(6, 2), parameters(**{other: 1}))[1][0].tolist())
        for other in NAMES
        if other not in (name, "axis")
    }
    assert tuple(labels[0].tolist()) not in others


def test_labels_lie() -> None:
    """As the paper has them, in its order."""
    given = dict(zip(NAMES, (1, 0, 0.5, 0.3, 0.2, 2.0, -1.0, 0.25), strict=True))
    expected = [1, 0, 0.5, math.cos(0.3) - 1, math.sin(0.3), 2 * math.cos(0.2), 2 * math.sin(0.2), -1, 0.25]
    torch.testing.assert_close(apply(blob(0, 0), parameters(**given))[1], torch.tensor([expected]))


def test_labels_are_zero_for_touched_rows() -> None:
    """Drawn: labels are zero exactly where the picture is the same."""
    augment = Augment(probability=0.1)
    x0 = torch.randn(400, 1, 8, 8, generator=generator())
    moved, labels = apply(x0, augment.draw(400, generator(1)))
    same = (moved == x0).flatten(1).all(1)
    assert torch.equal(same, ~(labels != 0).any(1))
    assert 100 < int(same.sum()) < 200, "both happen"


def test_probability_is_another() -> None:
    rows, p = 40_000, 0.12
    drawn = Augment(probability=p).draw(rows, generator())
    tolerance = 4 * (0.25 / rows) ** 0.5
    shares = {name: (getattr(drawn, name) != 0).float().mean().item() for name in NAMES}
    assert shares == pytest.approx(dict.fromkeys(NAMES, p) | {"x_flip": 0.5, "y_flip": p / 2}, abs=tolerance)
    on = drawn.scaling != 0
    assert drawn.scaling[on].std().item() == pytest.approx(1, abs=0.05)
    assert drawn.rotation.abs().max() <= math.pi
    assert drawn.rotation.min() < -3 < 3 < drawn.rotation.max()
    together = ((drawn.scaling != 0) & (drawn.rotation != 0)).float().mean().item()
    assert together == pytest.approx(p * p, abs=tolerance), "independent of each other"


@pytest.mark.parametrize("off", ["x_flip", "y_flip", "scaling", "rotation", "anisotropy", "translation"])
def test_switching_one_off_changes_another(off: str) -> None:
    everything = Augment(probability=0.5).draw(64, generator())
    without = Augment(probability=0.5, **{off: False}).draw(64, generator())
    of = {"anisotropy": ("axis", "anisotropy"), "translation": ("x_shift", "y_shift")}.get(off, (off,))
    for name in NAMES:
        if name in of:
            assert not getattr(without, name).any()
            assert getattr(everything, name).any()
        else:
            assert torch.equal(getattr(without, name), getattr(everything, name))


def test_off_does_something() -> None:
    x0 = torch.randn(50, 1, 8, 8, generator=generator())
    for augment in (Augment(), Augment(probability=0)):
        assert not augment.on
        moved, labels = apply(x0, augment.draw(50, generator()))
        assert torch.equal(moved, x0)
        assert not labels.any()
    assert Augment(probability=0.1).on


@pytest.mark.parametrize("count", [2, 3, 7])
def test_processes_see_other_pictures(count: int) -> None:
    x0 = torch.rand(20, 3, 8, 8, generator=generator())
    drawn = Augment(probability=0.5).draw(20, generator(1))
    whole, labels = apply(x0, drawn)
    for index in range(count):
        shard = Shard(index, count)
        part, part_labels = apply(shard.rows(x0), drawn.part(shard))
        # Where the CPU has no AVX-512 the last bits of a product depend on how many rows it has.
        torch.testing.assert_close(part, shard.rows(whole), atol=1e-5, rtol=0)
        assert torch.equal(part_labels, shard.rows(labels))
    if count == 2:
        mixed_up, _ = apply(x0[::2], drawn.part(Shard(1, 2)))
        assert (mixed_up - whole[::2]).abs().max() > 0.1, "the control: the other shard's parameters"


def test_low_precision_moves_pixels() -> None:
    """Where matrix products are rounded (autocast here, TF32 on a GPU), pixels stay where they belong."""
    x0, drawn = torch.rand(20, 3, 32, 32, generator=generator()), Augment(probability=1).draw(20, generator(1))
    exact, _ = apply(x0, drawn)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply(x0, drawn)[0], exact)
        left, right = torch.rand(2, 5, 2, 2, generator=generator())
        assert (left @ right).dtype == torch.bfloat16, "the control: a product is rounded"


def test_edges_turn_black() -> None:
    """What comes into view is the picture reflected: a flat one stays flat, and nothing leaves its range."""
    flat = torch.full((30, 3, 8, 8), -0.7)
    moved, _ = apply(flat, Augment(probability=1.0).draw(30, generator()))
    torch.testing.assert_close(moved, flat, atol=1e-5, rtol=0)
    noise = torch.rand(30, 3, 8, 8, generator=generator()) * 2 - 1
    moved, _ = apply(noise, Augment(probability=1.0).draw(30, generator()))
    assert moved.abs().max() <= 1 + 1e-6
