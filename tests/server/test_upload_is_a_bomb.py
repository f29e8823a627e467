"""An upload that is too large, damaged, or made to exhaust the server is refused before it costs anything."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from server.http.desk import Disconnected
from server.http.endpoint import Exchange
from server.http.problem import Problem
from server.http.uploads import MAX_HELD, MAX_PIXELS, Upload, Uploads, decode, read_form


def file(size: tuple[int, int] = (8, 8), format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format, **options)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of what its header says and these chunks."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">II", width, height) + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*one) for one in chunks) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of this size by its header, without the picture."""
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(32)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there `count` times more."""
    whole = file((64, 64), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * count + whole[-2:]


FLAT = zlib.compress(bytes(100_000_000))

REFUSED = {
    "PNG of a billion pixels": (png(40_000, 25_000, (b"IDAT", FLAT)), 413, "more pixels than the limit of 25000000"),
    "PNG over the limit by little": (png(5001, 5000, (b"IDAT", FLAT)), 413, "5001x5000 pixels"),
    "WebP of its largest size": (webp(16383, 16383), 413, "the limit of 25000000"),
    "JPEG of a thousand scans": (scans(1000), 422, "more than 100 scans"),
    "PNG text that unpacks to 100 MB": (png(8, 8, (b"zTXt", b"Comment\0\0" + FLAT)), 422, "cannot be read"),
    "PNG without a picture": (png(8, 8), 422, "cannot be read"),
    "PNG of no size": (png(0, 0), 422, "its head is damaged or cut off"),
    "PNG of a magic only": (file()[:8], 422, "its head is damaged or cut off"),
    "PNG cut off": (file((64, 64))[:60], 422, "cannot be read"),
    "JPEG cut off": (file((64, 64), "JPEG")[:-100], 422, "cannot be read"),
    "WebP cut off": (file((64, 64), "WEBP")[:40], 422, "cannot be read"),
    "a GIF": (file(format="GIF"), 415, "PNG, JPEG or WebP"),
    "text": (b"GET / HTTP/1.1", 415, "PNG, JPEG or WebP"),
    "a TIFF called PNG": (file(format="TIFF"), 415, "PNG, JPEG or WebP"),
}


@pytest.mark.parametrize(("content", "status", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_file_is_refused(content: bytes, status: int, words: str) -> None:
    with pytest.raises(Problem) as refused:
        decode(content, 8, 8)
    assert refused.value.status == status
    assert words in refused.value.detail
    assert len(refused.value.body()) < 1000


def test_control_limits_let_real_pictures_pass() -> None:
    assert len(decode(file((5000, 5000)), 8, 8)) == 8 * 8 * 3
    assert MAX_PIXELS == 5000 * 5000
    assert len(decode(scans(20), 8, 8)) == 8 * 8 * 3


def exchange(pieces: list[bytes | None], content_type: str = "image/png", length: int | None = None) -> Exchange:
    """A request whose body comes in `pieces`; None: the client goes away."""
    headers = [(b"content-type", content_type.encode())]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))

    def messages() -> Iterator[dict[str, Any]]:
        for number, piece in enumerate(pieces, start=1):
            if piece is None:
                yield {"type": "http.disconnect"}
            else:
                yield {"type": "http.request", "body": piece, "more_body": number < len(pieces)}

    coming = messages()

    async def receive() -> dict[str, Any]:
        return next(coming)

    async def send(message: Any) -> None:
        raise AssertionError("nothing is sent while the body is read")

    scope = {"type": "http", "method": "POST", "path": "/variations", "query_string": b"", "headers": headers}
    return Exchange(scope, receive, send)


async def receive(uploads: Uploads, request: Exchange) -> Upload:
    async with uploads.received(request) as upload:
        return upload


def test_body_is_bounded_however_it_comes() -> None:
    uploads = Uploads(max_bytes=1000)
    for request in (
        exchange([b"never read"], length=1001),
        exchange([b"x" * 600, b"x" * 600, b"never read"]),
        exchange([form(("image", b"x" * 1001))], FORM),
        exchange([form(("image", b"x"), ("seed", b"7" * 70_000))], FORM),
    ):
        with pytest.raises(Problem, match="over the limit of 1000 bytes") as refused:
            asyncio.run(receive(uploads, request))
        assert refused.value.status == 413
    assert asyncio.run(receive(uploads, exchange([b"x" * 500, b"x" * 500]))).image == b"x" * 1000


def test_uploads_together_are_bounded_and_room_is_given_back() -> None:
    async def fill() -> None:
        uploads = Uploads(max_bytes=1000)
        whole = [b"x" * 1000]
        for _ in range(3):  # what is not given back is missing the next time
            with pytest.raises(Disconnected):
                await receive(uploads, exchange([b"x" * 900, None]))
            with pytest.raises(Problem):
                await receive(uploads, exchange([b"x" * 900, b"x" * 900]))
            held = [uploads.received(exchange(whole)) for _ in range(MAX_HELD)]
            for one in held:
                await one.__aenter__()
            with pytest.raises(Problem) as refused:
                await receive(uploads, exchange([b"x"]))
            assert refused.value.status == 429
            assert (b"retry-after", b"1") in refused.value.headers
            for one in held:
                await one.__aexit__(None, None, None)
        assert (await receive(uploads, exchange(whole))).image == whole[0]

    asyncio.run(fill())


@pytest.mark.parametrize("content_type", ["", "image/gif", "application/json", "text/plain; image/png"])
def test_other_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(Problem) as refused:
        asyncio.run(receive(Uploads(max_bytes=2**20), exchange([b"never read"], content_type)))
    assert refused.value.status == 415
    assert "-F image=@a.png" in refused.value.detail


FORM = "multipart/form-data; boundary=edge"


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for name, content in parts:
        body += b'--edge\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' % name.encode() + content + b"\r\n"
    return body + b"--edge--\r\n"


def test_form_is_read_as_it_was_sent() -> None:
    image = file() + b"\r\n--edg\r\n--edge\r-\n\r\n"
    upload = read_form(form(("seed", b"7"), ("image", image), ("label", "café".encode()), ("n", b"")), FORM)
    assert upload == Upload(image, {"seed": "7", "label": "café"}), "an empty field of a form is not given"


BAD_FORMS = {
    "no boundary": (form(("image", b"x")), "multipart/form-data", "names no boundary"),
    "no image": (form(("seed", b"7")), FORM, "no field 'image'"),
    "image twice": (form(("image", b"x"), ("image", b"y")), FORM, "more than once"),
    "cut off": (form(("image", b"x" * 100))[:90], FORM, "cannot be read"),
    "another boundary": (form(("image", b"x")), "multipart/form-data; boundary=other", "cannot be read"),
    "not a form": (b"\x89PNG", FORM, "cannot be read"),
    "too many fields": (form(*((f"f{i}", b"") for i in range(100))), FORM, "more than 32 fields"),
    "not UTF-8": (form(("image", b"x"), ("label", b"\xff")), FORM, "cannot be read"),
    "boundary without end": (b"", "multipart/form-data; boundary=" + "x" * 5000, "cannot be read"),
    "empty": (b"", FORM, "cannot be read"),
}


@pytest.mark.parametrize(("body", "content_type", "words"), BAD_FORMS.values(), ids=BAD_FORMS.keys())
def test_bad_form_is_refused(body: bytes, content_type: str, words: str) -> None:
    with pytest.raises(Problem) as refused:
        read_form(body, content_type)
    assert refused.value.status == 400
    assert words in refused.value.detail
