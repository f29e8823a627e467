"""Errors over HTTP: problem documents (RFC 9457), one line for a person and fields for a program."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.schedule.admission import Refused

MEDIA_TYPE = "application/problem+json"

LEAST_WAIT = 0.1
"""Seconds that a client is told to wait at least: predicted waits may be microseconds, and whoever tries again after
those does nothing else.
"""

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


def answer_too_large(n: int, form: str, size: int, limit: int) -> Problem:
    """422: the answer to a request for n images in the format `form` may have `size` bytes, and `limit` may pass."""
    said = f"the answer may have {size} bytes, and {limit} is the most that may pass here"
    if n > 1:
        fewer = {"detail": f"n={n}: {said}; ask for fewer at once", "allowed": {"max": limit * n // size}}
        return invalid([{"field": "n", "value": n, **fewer}])
    return invalid(
        [{"field": "format", "value": form, "detail": f"format={form}: {said}; ask for one that compresses"}]
    )


def malformed(detail: str) -> Problem:
    """400: the request is not what it says it is."""
    return Problem(400, "malformed-request", "The request cannot be read", detail)


def too_large(limit: int) -> Problem:
    """413: the body is over the limit."""
    return Problem(413, "body-too-large", "The body is too large", f"the body is over the limit of {limit} bytes")


def not_implemented(header: str, value: bytes, right: str) -> Problem:
    """501: a header that asks for what this server does not do."""
    given = f" {value[:100].decode('latin-1')!r}" if value else ""
    return Problem(501, "not-implemented", "The server does not do this", f"{header}{given} is not done here; {right}")


def head_too_large(limit: int) -> Problem:
    """431: the request line and headers are over the limit."""
    detail = f"the request's line and headers are over the limit of {limit} bytes"
    return Problem(431, "head-too-large", "The headers are too large", detail)


def too_slow(what: str, seconds: float) -> Problem:
    """408: the client did not send its request in time."""
    detail = f"the request's {what} was not here within {seconds:g} s of its first byte"
    return Problem(408, "request-too-slow", "The request came too slowly", detail)


def encoded_body(coding: str) -> Problem:
    """415: a body that is compressed."""
    detail = f"the body has the Content-Encoding {coding[:100]!r}; send it as it is, without one"
    return Problem(415, "unsupported-media-type", "The body is compressed", detail)


def unsupported_type(content_type: str) -> Problem:
    """415: a body that is not JSON."""
    return Problem(
        415,
        "unsupported-media-type",
        "The body is not JSON",
        f"the body has the content type {content_type[:100]!r}; it must be application/json, in UTF-8 "
        "(curl: -H 'Content-Type: application/json')",
    )


def refused(admission: Refused, deadline: float | None) -> Problem:
    """429 with Retry-After: there is no room, or it would be too late; 422 for a deadline that can never be met.

    `deadline` is what the client gave, in seconds.
    """
    if admission.retry_after is None:
        asked = 1000 * (deadline or 0.0)
        detail = f"deadline_ms={asked:g} is less than the work takes on an idle server; give more time or fewer steps"
        return invalid([{"field": "deadline_ms", "value": f"{asked:g}", "detail": detail}])
    wait, after = admission.predicted_wait, max(admission.retry_after, LEAST_WAIT)
    if admission.reason == "deadline":
        limit = "the default deadline" if deadline is None else f"deadline_ms={1000 * deadline:g}"
        text = f"the wait is {wait:.3g} s now, too long for {limit}"
        kind = "too-late"
    else:
        text = f"the queue is at its bound of {admission.reason.replace('_', '-')}"
        kind = "queue-full"
    return _busy(kind, f"{text}; try again in {after:.3g} s", after, {"predicted_wait_seconds": wait})


def queue_full(detail: str) -> Problem:
    """429: no room, found out at the queue."""
    return _busy("queue-full", f"{detail}; try again in 1 s", 1.0, {})


def _busy(kind: str, detail: str, retry_after: float, extra: dict[str, Any]) -> Problem:
    """429: `retry_after` in seconds goes into the document as it is, into the header as whole seconds, at least 1."""
    headers = [(b"retry-after", str(max(1, math.ceil(retry_after))).encode())]
    extra = {"retry_after_seconds": retry_after, **extra}
    return Problem(429, kind, "The server is at its limit", detail, extra, headers)


def expired(detail: str) -> Problem:
    """504: admitted, but its deadline passed before it was begun."""
    return Problem(504, "deadline-passed", "The deadline passed", detail)


def not_ready(detail: str) -> Problem:
    """503: starting, restarting its worker, or draining."""
    return Problem(503, "not-ready", "The server is not ready", detail, headers=[(b"retry-after", b"1")])


def starting() -> Problem:
    """503: it is not known yet what is served."""
    return not_ready("a worker is still starting; /readyz tells when every one is ready")


def failed(detail: str) -> Problem:
    """500: our fault, not the client's."""
    return Problem(500, "internal-error", "The request failed", detail)
