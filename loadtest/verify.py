"""Whether a reply is what was asked for: its kind and size at a glance, the whole by decoding it. Pure."""

from __future__ import annotations

import base64
import io
import json
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from PIL import Image

from loadtest.settings import Route

MEDIA_TYPES: dict[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
    "json": "application/json",
}

_PILLOW = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}

_PNG_END = b"IEND\xaeB`\x82"


class Wrong(Exception):
    """A reply that is not what was asked for; says why."""


@dataclass(frozen=True)
class Expected:
    """What a good reply to requests of one kind looks like. None: whatever it is."""

    route: Route = "generate"
    format: str | None = None
    """png, jpeg, webp, npy or json."""
    size: tuple[int, int] | None = None
    """(width, height) of the picture, where it comes as one."""
    shape: tuple[int, ...] | None = None
    """Of the array, where it comes as npy, or of the points of a JSON reply."""


def glance(expected: Expected, media_type: str, body: bytes) -> None:
    """Raise Wrong if media type, length or the first and last bytes are not right. Takes microseconds."""
    found = media_type.partition(";")[0].strip().lower()
    if expected.route == "openai":
        if found != "application/json" or not (body.startswith(b"{") and body.rstrip().endswith(b"}")):
            raise Wrong(f"a reply of OpenAI's images API is a JSON object, not {found or 'of no type'}")
        return
    format = expected.format or next((name for name, media in MEDIA_TYPES.items() if media == found), None)
    if format is None:
        raise Wrong(f"the content type is {found or 'missing'}, which is none of {', '.join(MEDIA_TYPES)}")
    if found != MEDIA_TYPES.get(format):
        raise Wrong(f"the content type is {found or 'missing'}, not {MEDIA_TYPES.get(format)}")
    if not body:
        raise Wrong("the body is empty")
    if format == "png":
        _glance_at_png(expected, body)
    elif format == "jpeg" and not (body.startswith(b"\xff\xd8\xff") and body.endswith(b"\xff\xd9")):
        raise Wrong("the body is not a whole JPEG")
    elif format == "webp" and not (
        body.startswith(b"RIFF") and body[8:12] == b"WEBP" and int.from_bytes(body[4:8], "little") + 8 == len(body)
    ):
        raise Wrong("the body is not a whole WebP")
    elif format == "npy" and not body.startswith(b"\x93NUMPY"):
        raise Wrong("the body is not a .npy file")
    elif format == "json" and not (body.startswith((b"{", b"[")) and body.rstrip().endswith((b"}", b"]"))):
        raise Wrong("the body is not whole JSON")


def _glance_at_png(expected: Expected, body: bytes) -> None:
    if not body.startswith(b"\x89PNG\r\n\x1a\n") or not body.endswith(_PNG_END):
        raise Wrong("the body is not a whole PNG")
    _same_size(expected, struct.unpack(">II", body[16:24]))


def _same_size(expected: Expected, size: tuple[int, int]) -> None:
    if expected.size not in (None, size):
        assert expected.size is not None
        raise Wrong(f"the picture is {size[0]}x{size[1]}, not {expected.size[0]}x{expected.size[1]}")


def decode(expected: Expected, body: bytes) -> Expected:
    """Decode the whole reply; what it looks like. Raise Wrong if that is not as expected, or cannot be decoded."""
    try:
        if expected.route == "openai":
            for one in _pictures(body):
                found = _decode_picture(expected, one)
            return found
        if expected.format in _PILLOW:
            return _decode_picture(expected, body)
        if expected.format == "npy":
            shape = np.load(io.BytesIO(body), allow_pickle=False).shape
        elif expected.format == "json":
            shape = np.asarray(_points(json.loads(body)), np.float64).shape
        else:
            return expected
    except Wrong:
        raise
    except Exception as error:  # what decoders raise is not to be known
        raise Wrong(f"the body cannot be decoded: {error}") from None
    if expected.shape not in (None, shape):
        raise Wrong(f"the array has the shape {list(shape)}, not {list(expected.shape or ())}")
    return Expected(expected.route, expected.format, None, shape)


def _decode_picture(expected: Expected, body: bytes) -> Expected:
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        format = expected.format or "png"
        if image.format != _PILLOW[format]:
            raise Wrong(f"the picture is a {image.format}, not a {_PILLOW[format]}")
        _same_size(expected, image.size)
        return Expected(expected.route, expected.format, image.size, None)


def _pictures(body: bytes) -> list[bytes]:
    """The pictures of a reply in OpenAI's shape."""
    data = json.loads(body)["data"]
    if not data:
        raise Wrong("the reply holds no picture")
    return [base64.b64decode(one["b64_json"], validate=True) for one in data]


def _points(document: Any) -> Any:
    return document["points"] if isinstance(document, dict) else document


def digest(expected: Expected, body: bytes) -> bytes:
    """Of what must be the same for the same seed: the pictures or points, not what a reply says about itself."""
    content = body
    try:
        if expected.route == "openai":
            content = b"".join(_pictures(body))
        elif expected.format == "json":
            content = json.dumps(_points(json.loads(body))).encode()
    except (ValueError, KeyError, TypeError, Wrong):
        pass  # then the whole
    return blake2b(content, digest_size=16).digest()
