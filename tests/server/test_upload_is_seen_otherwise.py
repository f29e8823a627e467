"""An uploaded picture reaches the model as its owner sees it: upright, unsquashed, on white, in its own colours."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.http.uploads import decode

Pixels = NDArray[np.uint8]


def file(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def seen(content: bytes, width: int = 8, height: int = 8) -> Pixels:
    pixels = decode(content, width, height)
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def noise(height: int, width: int) -> Pixels:
    return np.random.Generator(np.random.PCG64(3)).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_image_of_the_models_size_is_taken_as_it_is() -> None:
    pixels = noise(6, 9)
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        np.testing.assert_array_equal(seen(file(Image.fromarray(pixels), format, **options), 9, 6), pixels)


def test_opaque_alpha_changes_nothing() -> None:
    pixels = noise(8, 8)
    opaque = np.dstack([pixels, np.full((8, 8), 255, np.uint8)])
    np.testing.assert_array_equal(seen(file(Image.fromarray(opaque))), pixels)


@pytest.mark.parametrize(("height", "width"), [(16, 48), (48, 16), (17, 50)])
def test_a_square_is_cut_from_the_centre(height: int, width: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = 200
    assert (seen(file(Image.fromarray(pixels))) == 200).all()


def test_the_models_aspect_is_kept() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[10:30] = 90
    assert (seen(file(Image.fromarray(pixels)), 16, 8) == 90).all()


def test_extreme_shapes_and_sizes_have_a_centre_too() -> None:
    for size in ((1, 1), (3000, 1), (1, 3000)):
        assert (seen(file(Image.new("RGB", size, (9, 8, 7)))) == (9, 8, 7)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [1, 16])
def test_photo_is_turned_as_the_camera_says(orientation: int, scale: int) -> None:
    """`scale` 16: a JPEG that is decoded smaller."""
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4, :4], upright[:4, 4:], upright[4:, :4] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    stored: Pixels = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = np.repeat(np.repeat(stored, scale, 0), scale, 1)
    if scale > 1:
        photo = file(Image.fromarray(large), "JPEG", quality=100, subsampling=0, exif=exif)
    else:
        photo = file(Image.fromarray(large), "PNG", exif=exif)
    difference = np.abs(seen(photo).astype(int) - upright)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert difference.max() < 12


def test_transparent_becomes_white_without_dark_edges() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)  # transparent black outside,
    pixels[:, :32] = (255, 255, 255, 255)  # opaque white inside
    assert (seen(file(Image.fromarray(pixels))) == 255).all()
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert (seen(file(half)) == 127).all()


def test_palette_and_greys_with_a_transparent_colour_become_white() -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (seen(file(palette)) == (10, 20, 30)).all()
    assert (seen(file(palette, transparency=1)) == 255).all()
    assert (seen(file(Image.new("L", (8, 8), 7), transparency=7)) == 255).all()


def test_grey_of_16_bits_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = np.repeat((shades >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(seen(file(Image.fromarray(shades))), expected)


@pytest.mark.parametrize("mode", ["L", "1", "CMYK"])
def test_other_colour_modes_are_read(mode: str) -> None:
    image = Image.new("RGB", (64, 64), "white").convert(mode)
    content = file(image, "JPEG" if mode == "CMYK" else "PNG")
    assert (seen(content) >= 254).all()


def test_large_photo_and_its_small_copy_look_alike() -> None:
    """The shortcut for JPEG gives what a careful reduction of all pixels gives."""
    steps = np.linspace(0, 1, 1024) ** 2 * 200 * np.pi  # from slow to fast
    wave = 127.5 + 100 * np.sin(steps)[:, None] * np.cos(steps)[None]
    photo = Image.fromarray(np.repeat(wave.astype(np.uint8)[..., None], 3, axis=2))
    careful = np.asarray(photo.resize((32, 32), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(seen(file(photo, "JPEG", quality=95), 32, 32) - careful).max() <= 12
    nearest = np.asarray(photo.resize((32, 32), Image.Resampling.NEAREST)).astype(int)
    assert np.abs(nearest - careful).max() > 50, "control: careless reduction is seen"


def test_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        content = file(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert (seen(content) == (200, 0, 0)).all()
