"""Encoded images open elsewhere with the same pixels, and the same pixels give the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from export.runtime.images import (
    ANIMATED,
    FORMATS,
    MEDIA_TYPES,
    encode,
    encode_animation,
    encode_npy,
    encoder_version,
    tile,
)


def reopened(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.mode == "RGB"
        return np.asarray(image)


def picture(seed: int, size: int = 32, noise: float = 1.5) -> NDArray[np.uint8]:
    """Flat shapes with the faint noise of a network's output."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:size, :size] / size
    flat = np.full((size, size, 3), 250.0)
    flat[(row - 0.5) ** 2 + (column - 0.5) ** 2 < 0.1] = rng.uniform(0, 255, 3)
    flat[(row > 0.6) & (column > 0.3)] = rng.uniform(0, 255, 3)
    return np.clip(np.round(flat + noise * rng.standard_normal(flat.shape)), 0, 255).astype(np.uint8)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))


@given(arrays(np.uint8, shapes))
@settings(max_examples=200, deadline=None)
def test_png_is_exact(image: NDArray[np.uint8]) -> None:
    assert np.array_equal(reopened(encode(image, "png")), image)


@pytest.mark.parametrize("seed", range(3))
def test_png_of_a_picture_is_exact_and_small(seed: int) -> None:
    image = picture(seed, 64)
    data = encode(image, "png")
    assert np.array_equal(reopened(data), image)
    pillow = io.BytesIO()
    Image.fromarray(image).save(pillow, "PNG", compress_level=1)
    assert len(data) <= 1.05 * len(pillow.getvalue())


def test_png_of_a_view_is_exact() -> None:
    image = picture(0)[::2, ::-1]
    assert not image.flags.c_contiguous
    assert np.array_equal(reopened(encode(image, "png")), image)


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_lossy_formats_stay_close(format: str) -> None:
    image = picture(1, 64)
    error = np.abs(reopened(encode(image, format)).astype(int) - image).mean()  # type: ignore[arg-type]
    assert error < 6


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_pixels_give_the_same_bytes(format: str) -> None:
    assert encode(picture(2), format) == encode(picture(2), format)  # type: ignore[arg-type]
    assert encode(picture(2), format) != encode(picture(3), format)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_quality_is_heard(format: str) -> None:
    low, high = (encode(picture(1, 64), format, quality) for quality in (10, 100))  # type: ignore[arg-type]
    assert len(low) < len(encode(picture(1, 64), format)) < len(high)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ANIMATED)
def test_animation_holds_every_frame(format: str) -> None:
    images = np.stack([picture(seed) for seed in range(4)])
    data = encode_animation(images, format, 70)
    assert data == encode_animation(images, format, 70)
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.n_frames, opened.info["loop"]) == (4, 0)  # type: ignore[attr-defined]
        for number, image in enumerate(images):
            opened.seek(number)
            opened.load()
            assert opened.info["duration"] == 70
            error = np.abs(np.asarray(opened.convert("RGB")).astype(int) - image)
            assert error.max() == 0 if format == "png" else error.mean() < 6


def test_animation_in_a_format_without_is_named() -> None:
    with pytest.raises(ValueError, match="'jpeg' has no animations; formats that do are png, webp"):
        encode_animation(np.zeros((2, 2, 2, 3), dtype=np.uint8), "jpeg", 100)


def test_npy_keeps_type_and_shape() -> None:
    for array in (picture(0), np.arange(6, dtype=np.float32).reshape(2, 3).T):
        loaded = np.load(io.BytesIO(encode_npy(array)), allow_pickle=False)
        assert loaded.dtype == array.dtype
        assert np.array_equal(loaded, array)
    assert encode(picture(0), "npy") == encode_npy(picture(0))


def test_tiles_are_in_reading_order() -> None:
    images = np.stack([np.full((2, 4, 3), 10 * (i + 1), dtype=np.uint8) for i in range(5)])
    grid = tile(images)
    assert grid.shape == (4, 12, 3)
    assert grid[::2, ::4, 0].tolist() == [[10, 20, 30], [40, 50, 255]]
    assert tile(images, columns=1).shape == (10, 4, 3)
    assert tile(images, columns=9).shape == (2, 20, 3)
    assert np.array_equal(tile(images[:1]), images[0])


def test_wrong_arrays_are_named() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], got float32 \[2, 2, 3\]"):
        encode(np.zeros((2, 2, 3), dtype=np.float32), "png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got uint8 \[1, 2, 2, 3\]"):
        encode(np.zeros((1, 2, 2, 3), dtype=np.uint8), "jpeg")
    with pytest.raises(ValueError, match="unknown format 'gif'; formats are png, jpeg, webp, npy"):
        encode(picture(0), "gif")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1 column, not 0"):
        tile(np.zeros((1, 2, 2, 3), dtype=np.uint8), columns=0)
    with pytest.raises(ValueError, match="at least one image"):
        tile(np.zeros((0, 2, 2, 3), dtype=np.uint8))


def test_every_format_has_a_media_type_and_a_version() -> None:
    assert set(MEDIA_TYPES) == set(FORMATS)
    assert all(library in encoder_version() for library in ("pillow", "libjpeg", "webp", "zlib"))
    assert "None" not in encoder_version()
