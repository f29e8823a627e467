"""Transparency is composited on white before averaging, so that no dark fringe surrounds a figure."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.facets import box_downsample_on_white


def block(*pixels: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(pixels, np.uint8).reshape(2, 2, 4)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([(0, 0, 0, 0)] * 4, (255, 255, 255)),  # nothing there: white, whatever colour the nothing has
        ([(10, 20, 30, 255)] * 4, (10, 20, 30)),
        ([(0, 0, 0, 255)] * 2 + [(0, 0, 0, 0)] * 2, (128, 128, 128)),  # 127.5, half up
        ([(0, 0, 0, 128)] * 4, (127, 127, 127)),
        ([(0, 0, 0, 255)] + [(255, 255, 255, 255)] * 3, (191, 191, 191)),  # 191.25
    ],
)
def test_known_pixels(pixels: list[tuple[int, int, int, int]], expected: tuple[int, int, int]) -> None:
    assert tuple(box_downsample_on_white(block(*pixels), 2)[0, 0]) == expected


def test_equals_the_formula_in_floating_point() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (12, 8, 4), dtype=np.uint8)
    alpha = rgba[..., 3:] / 255
    exact = (rgba[..., :3] * alpha + 255 * (1 - alpha)).reshape(6, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(box_downsample_on_white(rgba, 2) - exact).max() <= 0.5 + 1e-9
    on_black = (rgba[..., :3] * alpha).reshape(6, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(box_downsample_on_white(rgba, 2) - on_black).max() > 50, "must tell white from black"
