"""Uploaded images: from a request's body to the pixels that a model takes, with a bound on all that a client controls.

Nothing is written to a file, and nothing is decoded before its size is known. Bodies that are held are bounded in
bytes, and one thread decodes, so that one picture's pixels are in memory at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from server.http import problem
from server.http.desk import Disconnected
from server.http.problem import Problem

if TYPE_CHECKING:
    from PIL import Image

    from server.http.endpoint import Exchange

MAX_PIXELS = 25_000_000
"""Pixels of an uploaded image. Decoding takes up to 8 bytes for each."""

MAX_HELD = 8
"""Uploads of the largest size whose bytes may be in memory at once; smaller ones may be more."""

MAX_SCANS = 100
"""Scans of a JPEG. Encoders write about ten; each is a pass over all of the picture, however few bytes it takes."""

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")

RULE = (
    "The picture is turned as its EXIF orientation says, laid on white where it is transparent, cropped around its "
    "centre to the model's aspect ratio, and resized to the model's size (Lanczos); one of that size is taken as it is."
)
"""What is done to an uploaded image, for the documentation."""

FORM = "multipart/form-data"

_Made = TypeVar("_Made")
_FIELD = "image"
_FORM_FIELDS = 65_536
"""Bytes of a form beside its image."""
_MAX_PARTS = 32


@dataclass(frozen=True)
class Upload:
    """A body that holds an image."""

    image: bytes
    """An image file, as it came."""
    fields: dict[str, str]
    """The other fields of a form."""


class Uploads:
    """Reads and decodes what clients upload."""

    def __init__(self, max_bytes: int, max_pixels: int = MAX_PIXELS) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._held = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="uploads")

    @contextlib.asynccontextmanager
    async def received(self, exchange: Exchange) -> AsyncIterator[Upload]:
        """The image in the body of a request, either the body itself or the field `image` of a form.

        Its bytes count against what all uploads may hold together until the context ends.

        Raises Problem (400, 413, 415, 429) and Disconnected.
        """
        media = exchange.header(b"content-type").partition(";")[0].strip().lower()
        if media not in (*MEDIA_TYPES, FORM):
            raise _unsupported(exchange.header(b"content-type"))
        exchange.check_coding()
        limit = self._max_bytes + (_FORM_FIELDS if media == FORM else 0)
        size = 0
        try:
            parts = []
            async for part in self._pieces(exchange, limit):
                size += len(part)
                parts.append(part)
            body = b"".join(parts)
            del parts  # so that the bytes are held once
            if media == FORM:
                upload = await self._run(read_form, body, exchange.header(b"content-type"))
            else:
                upload = Upload(body, {})
            del body
            if not upload.image:
                raise problem.malformed("the upload is empty; send a PNG, JPEG or WebP image")
            if len(upload.image) > self._max_bytes:
                raise problem.too_large(self._max_bytes)
            yield upload
        finally:
            self._held -= size

    async def _pieces(self, exchange: Exchange, limit: int) -> AsyncIterator[bytes]:
        """The pieces of the body, each counted as held before it is given."""
        length = exchange.headers.get(b"content-length")
        if length is not None and int(length) > limit:
            raise problem.too_large(self._max_bytes)
        size, more = 0, True
        while more:
            message = await exchange.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise problem.too_large(self._max_bytes)
            if self._held + len(part) > MAX_HELD * self._max_bytes:
                raise _too_many_uploads()
            self._held += len(part)
            yield part
            more = message.get("more_body", False)

    async def pixels(self, image: bytes, width: int, height: int) -> bytes:
        """The pixels of an image file by `RULE`: uint8 RGB [height, width, 3]. Raises Problem (413, 415, 422)."""
        return await self._run(decode, image, width, height, self._max_pixels)

    async def _run(self, work: Callable[..., _Made], *arguments: Any) -> _Made:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def read_form(body: bytes, content_type: str) -> Upload:
    """The image and the fields of a multipart form.

    Raises Problem (400) if it is not one, holds a field twice or no `image`.
    """
    # Not Starlette's parser: it writes large files to disk.
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    parts: list[tuple[bytes, list[bytes]]] = []
    """Each part's Content-Disposition and its content in pieces."""
    header: list[bytes] = [b"", b""]

    def part_begin() -> None:
        if len(parts) == _MAX_PARTS:
            raise FormParserError(f"it has more than {_MAX_PARTS} fields")
        parts.append((b"", []))

    def header_field(data: bytes, start: int, end: int) -> None:
        header[0] += data[start:end].lower()

    def header_value(data: bytes, start: int, end: int) -> None:
        header[1] += data[start:end]

    def header_end() -> None:
        if header[0] == b"content-disposition":
            parts[-1] = (header[1], parts[-1][1])
        header[:] = b"", b""

    def part_data(data: bytes, start: int, end: int) -> None:
        parts[-1][1].append(data[start:end])

    whole = False

    def end() -> None:
        nonlocal whole
        whole = True

    fields: dict[str, bytes] = {}
    try:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise FormParserError("its content type names no boundary; let the client write the header")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": part_begin,
                "on_header_field": header_field,
                "on_header_value": header_value,
                "on_header_end": header_end,
                "on_part_data": part_data,
                "on_end": end,
            },
        )
        parser.write(body)
        if not whole:
            raise FormParserError("it has no end")
        for disposition, pieces in parts:
            name = parse_options_header(disposition)[1].get(b"name", b"").decode()
            if name in fields:
                raise FormParserError(f"it gives {name[:80]!r} more than once; give it once")
            fields[name] = b"".join(pieces)
        image = fields.pop(_FIELD, None)
        if image is None:
            raise FormParserError(f"it has no field {_FIELD!r} (curl: -F {_FIELD}=@photo.jpg)")
        # What is left empty in a form is not given.
        return Upload(image, {name: text for name, value in fields.items() if (text := value.decode())})
    except (FormParserError, UnicodeDecodeError) as error:
        raise problem.malformed(f"the form cannot be read: {error}") from None


def decode(image: bytes, width: int, height: int, max_pixels: int = MAX_PIXELS) -> bytes:
    """The pixels of an image file by `RULE`: uint8 RGB [height, width, 3].

    Of an animation it takes the first frame. Colours are taken as sRGB, whatever a profile says.

    Raises Problem: 415 for another format, 413 for more than `max_pixels`, 422 for a damaged file.
    """
    format = _format(image)
    # Imported by the first upload: they take time and memory that most servers never need. WebP's plugin by name,
    # because Pillow would load all of its plugins to find it.
    from PIL import Image, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

    if format == "JPEG" and image.count(b"\xff\xda") > MAX_SCANS:
        raise _unreadable(f"it has more than {MAX_SCANS} scans")
    try:
        opened = Image.open(io.BytesIO(image), formats=[format])
        if opened.width * opened.height > max_pixels:
            raise _too_many_pixels(f"{opened.width}x{opened.height} pixels, which is more", max_pixels)
        return _fitted(opened, width, height).tobytes()
    except Problem:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels("more pixels", max_pixels) from error
    except UnidentifiedImageError as error:  # whose words are an address in memory
        raise _unreadable("its head is damaged or cut off") from error
    except Exception as error:  # a damaged file can make Pillow raise nearly anything
        raise _unreadable(str(error)) from error


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """An opened image as RGB of the given size, by `RULE`."""
    from PIL import Image as Images
    from PIL import ImageOps

    # A JPEG is decoded at 1/2, 1/4 or 1/8 while that leaves four times what is needed: many times faster.
    side = 4 * max(width, height)
    image.draft(None, (side, side))
    ImageOps.exif_transpose(image, in_place=True)
    across = min(image.width, max(1, round(image.height * width / height)))
    down = min(image.height, max(1, round(image.width * height / width)))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    # Not `resize` with a box, whose filter would also see what lies outside.
    transparent = image.has_transparency_data
    image = image.crop((left, top, left + across, top + down))
    if image.mode == "I;16":
        # Pillow's conversion cuts 16-bit greys off at 255; this keeps their high bytes.
        image = Images.frombytes("L", image.size, image.tobytes()[1::2])
    image = image.convert("RGBA" if transparent else "RGB").resize((width, height), Images.Resampling.LANCZOS)
    if transparent:
        white = Images.new("RGBA", image.size, "white")
        return Images.alpha_composite(white, image).convert("RGB")
    return image


def _format(image: bytes) -> str:
    """The format of a file, by its first bytes: what a client calls it is not believed."""
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if image.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "WEBP"
    detail = "the upload does not begin as a PNG, JPEG or WebP file does; send one of these"
    raise Problem(415, "unsupported-media-type", "The upload is not an image of a known format", detail)


def _unsupported(content_type: str) -> Problem:
    return Problem(
        415,
        "unsupported-media-type",
        "The upload is not an image",
        f"the body has the content type {content_type[:100]!r}; it must be {', '.join(MEDIA_TYPES)} with an image file "
        f"as the body (curl: -H 'Content-Type: image/png' --data-binary @a.png), or {FORM} with the field {_FIELD!r} "
        f"(curl: -F {_FIELD}=@a.png)",
    )


def _too_many_pixels(size: str, limit: int) -> Problem:
    detail = f"the image has {size} than the limit of {limit}; send a smaller one"
    return Problem(413, "image-too-large", "The image has too many pixels", detail)


def _unreadable(why: str) -> Problem:
    why = why if why.isprintable() else repr(why)
    return problem.invalid([{"field": _FIELD, "detail": f"the image cannot be read: {why[:200]}"}])


def _too_many_uploads() -> Problem:
    return Problem(
        429,
        "too-many-uploads",
        "The server is at its limit",
        "uploads that are being received fill the memory kept for them; try again in 1 s",
        {"retry_after_seconds": 1.0},
        [(b"retry-after", b"1")],
    )
