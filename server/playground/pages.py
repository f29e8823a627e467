"""The playground at `/` and the files it is made of, which lie in `static/` as they are sent: there is no build step.

The pages ask the same API as everybody else and hold nothing of the server's own, so they need no key; what they ask
for does. Their policy lets a browser run and load nothing that is not a file of ours, and no text become code.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import Response

from server.http import reply
from server.http.problem import Problem

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


class File(NamedTuple):
    """A file of `static/` as it is sent."""

    content: bytes
    tag: bytes
    """Its ETag."""
    media_type: str


def add_pages(api: FastAPI) -> None:
    """Add the pages and their files to `api`."""

    async def page(request: Request) -> Response:
        return _send(PAGES[request.url.path], request)

    for path in PAGES:
        api.add_api_route(path, page, methods=["GET"], include_in_schema=False)

    @api.get("/playground/{name}", include_in_schema=False)
    async def asset(request: Request, name: str) -> Response:
        if name not in files() or name.endswith(".html"):
            raise Problem(404, "not-found", "There is nothing here", f"the playground has no file {name[:100]!r}")
        return _send(name, request)


@functools.cache
def files() -> dict[str, File]:
    """The files of `static/` by name, read once: a name that is asked for never becomes a path."""
    found = {}
    for path in sorted(STATIC.iterdir()):
        content = path.read_bytes()
        tag = f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'.encode()
        found[path.name] = File(content, tag, f"{MEDIA_TYPES[path.suffix]}; charset=utf-8")
    return found


def _send(name: str, request: Request) -> Response:
    """A file, or 304 if the browser has it: it asks each time, so that all files are of one version."""
    file = files()[name]
    headers = {
        "content-type": file.media_type,
        "cache-control": "no-cache",
        "etag": file.tag.decode(),
        "content-security-policy": POLICY,
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    if reply.matches(request.headers.get("if-none-match", ""), file.tag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers)
