"""Pictures as bytes: encode decoded images, tile many into one, name the media types.

An image is uint8 [H, W, 3], RGB. Encoding is deterministic for one `encoder_version()`.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

Format = Literal["png", "jpeg", "webp", "npy"]

FORMATS: tuple[Format, ...] = get_args(Format)

ANIMATED: tuple[Format, ...] = ("png", "webp")
"""Formats that can hold an animation."""

MEDIA_TYPES: dict[Format, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
}

Jpeg = Callable[[NDArray[np.uint8], int], bytes]
"""An encoder of JPEGs: an image uint8 [H, W, 3] and a quality, 1 to 100 -> the bytes."""

JPEG_QUALITY = 95
WEBP_QUALITY = 90
"""What they are encoded with where no quality is given."""

PNG_WRITER = 1
"""Version of `_encode_png` and `tile`; raised with every change that gives other bytes, so that fingerprints change."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_RGB8 = bytes([8, 2, 0, 0, 0])  # bit depth 8, colour type RGB, deflate, adaptive filters, not interlaced


def encode(image: NDArray[np.uint8], format: Format, quality: int | None = None, jpeg: Jpeg | None = None) -> bytes:
    """The bytes of an image uint8 [H, W, 3] as png, jpeg or webp; npy takes an array of any shape and type.

    `quality` is 1 to 100, for jpeg and webp. JPEGs are written by `jpeg`, where there is one, in place of Pillow.
    Raises ValueError for an unknown format or a wrong array.
    """
    if format == "npy":
        return encode_npy(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    if format == "png":
        return _encode_png(image)
    if format == "jpeg" and jpeg is not None:
        return jpeg(image, quality or JPEG_QUALITY)
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    if format == "jpeg":
        picture.save(buffer, "JPEG", quality=quality or JPEG_QUALITY, subsampling=0)
    elif format == "webp":
        picture.save(buffer, "WEBP", quality=quality or WEBP_QUALITY)
    else:
        raise ValueError(f"unknown format {format!r}; formats are {', '.join(FORMATS)}")
    return buffer.getvalue()


def encode_animation(images: NDArray[np.uint8], format: str, milliseconds: int, quality: int | None = None) -> bytes:
    """Images uint8 [N, H, W, 3] as the frames of one file that repeats for ever: png (APNG) or webp.

    Each is shown for so many milliseconds; equal neighbours become one longer frame. An APNG is exact, a webp as good
    as `quality`, 1 to 100. Raises ValueError for another format.
    """
    if format not in ANIMATED:
        raise ValueError(f"{format!r} has no animations; formats that do are {', '.join(ANIMATED)}")
    frames = [Image.fromarray(image) for image in images]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": milliseconds}
    buffer = io.BytesIO()
    if format == "png":
        frames[0].save(buffer, "PNG", loop=0, compress_level=1, **options)
    else:
        frames[0].save(buffer, "WEBP", loop=0, quality=quality or WEBP_QUALITY, **options)
    return buffer.getvalue()


def encode_npy(array: NDArray[np.generic]) -> bytes:
    """The bytes of a .npy file (version 1.0, no pickle) that holds the array."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def tile(images: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
    """Many images uint8 [N, H, W, 3] as one, row by row, in `columns` columns (None: nearly square).

    Cells left over are white.
    """
    count, height, width, channels = images.shape
    if count < 1:
        raise ValueError("a grid needs at least one image")
    if columns is not None and columns < 1:
        raise ValueError(f"a grid has at least 1 column, not {columns}")
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = -(-count // columns)
    cells = np.full((rows * columns, height, width, channels), 255, dtype=np.uint8)
    cells[:count] = images
    grid = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, channels))


def encoder_version() -> str:
    """What the bytes of an encoded image depend on, beside the pixels."""
    parts = {
        "pillow": PIL.__version__,
        "libjpeg": features.version("libjpeg_turbo") or features.version("jpg"),
        "webp": features.version("webp"),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "png": PNG_WRITER,
    }
    return " ".join(f"{name} {version}" for name, version in parts.items())


def _encode_png(image: NDArray[np.uint8]) -> bytes:
    """A PNG: each row filtered by Sub or Up, whichever leaves less, then deflated as runs (Z_RLE).

    Written here because a small image is mostly overhead: on generated 32x32 images it takes half of Pillow's
    time at level 1, and the file is a few percent smaller.
    """
    height, width, channels = image.shape
    flat = image.reshape(height, width * channels)
    both = np.empty((2, height, 1 + width * channels), dtype=np.uint8)  # each row behind its filter type
    sub, up = both
    sub[:, 0], up[:, 0] = 1, 2
    sub[:, 1 : 1 + channels], up[0, 1:] = flat[:, :channels], flat[0]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=sub[:, 1 + channels :])
    np.subtract(flat[1:], flat[:-1], out=up[1:, 1:])
    # The usual heuristic (PNG specification, 12.8): the smaller sum of absolute differences, taken as signed
    # bytes. As int8, abs(-128) wraps to -128: viewed as uint8 again it is 128.
    sub_cost, up_cost = np.abs(both.view(np.int8)).view(np.uint8).sum(axis=2, dtype=np.uint32)
    lines = np.where((up_cost <= sub_cost)[:, None], up, sub)  # Up's filter type adds 1 more to its sum
    deflate = zlib.compressobj(level=1, wbits=15, memLevel=8, strategy=zlib.Z_RLE)
    header = struct.pack(">II", width, height) + _PNG_RGB8
    return b"".join(
        (
            _PNG_SIGNATURE,
            _png_chunk(b"IHDR", header),
            _png_chunk(b"IDAT", deflate.compress(lines.data) + deflate.flush()),
            _png_chunk(b"IEND", b""),
        )
    )


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", checksum)
