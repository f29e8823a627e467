"""A picture in the data set is the middle of the picture in the file: turned, on white, square, resized as stated."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.data.pictures import Picture, decode


def encoded(array: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def decoded(content: bytes, size: int, grey: bool = False) -> np.ndarray:
    found = decode([Picture("a", 0, content)], size, grey)
    assert found.corrupt == []
    return found.pixels[0]


RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_a_picture_of_the_size_changes() -> None:
    np.testing.assert_array_equal(decoded(encoded(PIXELS), 8), PIXELS)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(8, 13, 0, 2), (12, 8, 2, 0), (8, 9, 0, 0)])
def test_another_part_is_cut_out(height: int, width: int, top: int, left: int) -> None:
    """The middle; of an odd rest the smaller part is on the left or above."""
    array = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(encoded(array), 8), array[top : top + 8, left : left + 8])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_not_obeyed(orientation: int) -> None:
    """The eight ways a camera can be held, undone: all show the same picture."""
    stored = {
        1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2), 6: np.rot90(PIXELS, 1), 7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PIXELS, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decoded(encoded(np.ascontiguousarray(stored), exif=exif), 8), PIXELS)


def test_transparent_is_not_white() -> None:
    rgba = np.dstack([PIXELS, np.full((8, 8), 255, np.uint8)])
    rgba[:4, :, 3] = 0
    rgba[4, 0] = (0, 0, 0, 51)
    found = decoded(encoded(rgba), 8)
    assert (found[:4] == 255).all()
    np.testing.assert_array_equal(found[5:], PIXELS[5:])
    assert found[4, 0].tolist() == [204, 204, 204]
    palette = Image.fromarray(PIXELS).quantize(4)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=palette.getpixel((0, 0)))
    assert (decoded(buffer.getvalue(), 8)[0, 0] == 255).all()


def test_shrinking_aliases() -> None:
    """A fine checkerboard becomes grey; sampled, it would be black or white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    found = decoded(encoded(board), 8, grey=True)
    assert found.shape == (8, 8, 1)
    assert np.abs(found.astype(int) - 127).max() <= 2


def test_grey_and_colour_are_mixed_up() -> None:
    grey = PIXELS[..., 0]
    assert decoded(encoded(grey), 8).shape == (8, 8, 3)
    assert (decoded(encoded(grey), 8) == grey[..., None]).all()
    assert decoded(encoded(PIXELS), 8, grey=True).shape == (8, 8, 1)


def test_sixteen_bits_are_clipped() -> None:
    deep = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    np.testing.assert_allclose(decoded(encoded(deep), 8, grey=True)[..., 0], deep / 257, atol=1)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_a_format_is_not_read(form: str) -> None:
    flat = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    assert np.abs(decoded(encoded(flat, form), 8).astype(int) - flat[0, 0]).max() <= 4


def test_cmyk_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), 255, np.uint8)).convert("CMYK").save(buffer, "JPEG")
    assert decoded(buffer.getvalue(), 8).min() >= 250
