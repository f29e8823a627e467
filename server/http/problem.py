"""Errors over HTTP: problem documents (RFC 9457), one line for a person and fields for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

MEDIA_TYPE = "application/problem+json"

TYPE_PREFIX = "urn:longjump:problem:"
"""Problem types are this and a short name; programs may branch on it."""

Header = tuple[bytes, bytes]


class Problem(Exception):
    """An answer that is an error.

    `kind` is the short name of the type, `title` says it in general and `detail` for this request; `extra` adds
    members to the document and `headers` to the reply.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        extra: dict[str, Any] | None = None,
        headers: Sequence[Header] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.extra = extra or {}
        self.headers = tuple(headers)

    def document(self) -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": TYPE_PREFIX + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }

    def body(self) -> bytes:
        """The document as bytes. Non-ASCII is escaped, so that any text a client sent can be quoted."""
        return json.dumps(self.document()).encode() + b"\n"


def invalid(errors: Sequence[dict[str, Any]]) -> Problem:
    """422: fields that cannot be served; each error has `field`, `detail` and often `value` and `allowed`."""
    detail = "; ".join(error["detail"] for error in errors)
    return Problem(422, "invalid-request", "The request cannot be served as asked", detail, {"errors": list(errors)})


def malformed(detail: str) -> Problem:
    """400: the request is not what it says it is."""
    return Problem(400, "malformed-request", "The request cannot be read", detail)


def too_large(limit: int) -> Problem:
    """413: the body is over the limit."""
    return Problem(413, "body-too-large", "The body is too large", f"the body is over the limit of {limit} bytes")


def head_too_large(limit: int) -> Problem:
    """431: the request line and headers are over the limit."""
    detail = f"the request's line and headers are over the limit of {limit} bytes"
    return Problem(431, "head-too-large", "The headers are too large", detail)


def unsupported_type(content_type: str) -> Problem:
    """415: a body that is not JSON."""
    return Problem(
        415,
        "unsupported-media-type",
        "The body is not JSON",
        f"the body has the content type {content_type[:100]!r}; it must be application/json "
        "(curl: -H 'Content-Type: application/json'), or put the fields into the query",
    )


def queue_full(max_waiting: int, retry_after: int) -> Problem:
    """429: no room; `retry_after` is in seconds."""
    return Problem(
        429,
        "queue-full",
        "The server is at its limit",
        f"{max_waiting} requests are waiting, which is the limit; try again in {retry_after} s",
        {"retry_after": retry_after},
        [(b"retry-after", str(retry_after).encode())],
    )


def not_ready(detail: str) -> Problem:
    """503: starting, restarting its worker, or draining."""
    return Problem(503, "not-ready", "The server is not ready", detail, headers=[(b"retry-after", b"1")])


def failed(detail: str) -> Problem:
    """500: our fault, not the client's."""
    return Problem(500, "internal-error", "The request failed", detail)
