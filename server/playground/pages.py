"""The playground at `/` and the files it is made of, which lie in `static/` as they are sent: there is no build step.

The pages ask the same API as everybody else and hold nothing of the server's own, so they need no key; what they ask
for does. Their policy lets a browser run and load nothing that is not a file of ours, and no text become code.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

from server.http import reply
from server.http.front import Application
from server.http.plan import Receive, Scope, Send

STATIC = Path(__file__).with_name("static")

PAGES = {"/": "index.html", "/lab": "lab.html"}
"""Path -> its file in `static/`."""

MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # pictures that came in JSON or in events
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""The pages' Content-Security-Policy."""

_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)


class File(NamedTuple):
    """A file of `static/` as it is sent."""

    content: bytes
    tag: bytes
    """Its ETag."""
    media_type: bytes


def pages() -> dict[str, Application]:
    """Path -> what answers a GET of it, past the framework: a page is twenty small files, and they are waited for."""
    paths = {f"/playground/{path.name}": path.name for path in _paths() if path.suffix != ".html"}
    return {path: functools.partial(_send, name) for path, name in {**PAGES, **paths}.items()}


def _paths() -> list[Path]:
    """The files of `static/` that are served: what an editor leaves beside them is none of the pages' business."""
    known = [path for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES and not path.name.startswith(".")]
    return [path for path in known if path.is_file()]


@functools.cache
def _files() -> dict[str, File]:
    """The files of `static/` by name, read when the first one is asked for."""
    found = {}
    for path in _paths():
        content = path.read_bytes()
        tag = f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'.encode()
        found[path.name] = File(content, tag, f"{MEDIA_TYPES[path.suffix]}; charset=utf-8".encode())
    return found


async def _send(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """A file, or 304 if the browser has it: it asks each time, so that all files are of one version."""
    file = _files()[name]
    asked = b",".join(value for header, value in scope["headers"] if header == b"if-none-match").decode("latin-1")
    known = reply.matches(asked, file.tag)
    content = b"" if known else file.content
    headers = [(b"content-type", file.media_type), (b"etag", file.tag), *_HEADERS]
    if not known:
        headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": 304 if known else 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
