"""The gate before all endpoints: who asks, whether they may, and an account of every request for the log.

It gives each request an id (the client's X-Request-Id if it is a sane one) that comes back with the reply and stands in
every log line and span, and a Server-Timing header to replies that have none.
"""

from __future__ import annotations

import itertools
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from server.http.auth import Keys, forbidden, unauthorized
from server.http.dialects import written
from server.http.plan import Receive, Scope, Send
from server.http.problem import Problem
from server.observe.account import Account, Caller
from server.observe.metrics import Metrics

if TYPE_CHECKING:
    from server.http.limits import Limiter

Closed = Callable[[Scope, Caller, Account, float, float], None]
"""Told of every request when it is over: (scope, caller, account, start, seconds), `start` of time.time()."""

ENDPOINTS = {
    "/generate": "generate",
    "/variations": "variations",
    "/interpolate": "interpolate",
    "/jump": "jump",
    "/jobs": "jobs",
    "/v1/images/generations": "images",
}
"""Path -> the name of the endpoint in metrics, logs and traces; all others are "other"."""

OPEN = frozenset(("/", "/lab", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics"))
OPEN_UNDER = ("/docs/", "/playground/", "/v2/health/")
"""What needs no key and has no limit: probes, metrics, the documentation, and the files of the pages."""

ADMIN = "/admin/"

EXPOSED = (
    "etag",
    "idempotent-replayed",
    "location",
    "longjump-bitwise",
    "longjump-cache",
    "longjump-fingerprint",
    "longjump-guidance",
    "longjump-label",
    "longjump-label-name",
    "longjump-model",
    "longjump-seed",
    "longjump-seed-to",
    "longjump-steps",
    "longjump-strength",
    "retry-after",
    "server-timing",
    "x-request-id",
)
"""Headers that pages of other origins may read, where `--cors` lets them ask at all."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""Nothing that could break a log line or a header."""


class Gate:
    """An ASGI application around all others."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        metrics: Metrics,
        keys: Keys | None = None,
        limits: Limiter | None = None,
        closed: Sequence[Closed] = (),
    ) -> None:
        """Without `keys` everyone may ask, and is known by the address at the other end of the connection."""
        self._app = app
        self._metrics = metrics
        self._keys = keys
        self._limits = limits
        self._closed = closed
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it (401, 403, 429)."""
        start = time.monotonic()
        path: str = scope["path"]
        authorization = given_id = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-request-id":
                given_id = value
        sane = given_id and _REQUEST_ID.fullmatch(given_id)
        request_id = given_id.decode() if sane else f"{self._prefix}-{next(self._count):x}"
        account = scope["account"] = Account(endpoint=ENDPOINTS.get(path, "other"))

        async def respond(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                account.status = message["status"]
                headers = [*message["headers"], (b"x-request-id", request_id.encode())]
                if not account.timed:
                    headers.append((b"server-timing", b"total;dur=%.3f" % (1000 * (time.monotonic() - start))))
                message = {**message, "headers": headers}
            await send(message)

        caller = Caller(_peer(scope), request_id)
        try:
            if path not in OPEN and not path.startswith(OPEN_UNDER):
                try:
                    caller = Caller(await self._admit(path, authorization, caller.client), request_id)
                except Problem as refused:
                    account.refused = refused.kind
                    self._metrics.refused(refused.kind)
                    await _refuse(respond, path, refused)
                    return
            scope["caller"] = caller
            await self._app(scope, receive, respond)
        finally:
            if self._closed:
                seconds = time.monotonic() - start
                for closed in self._closed:
                    closed(scope, caller, account, time.time() - seconds, seconds)

    async def _admit(self, path: str, authorization: bytes, peer: str) -> str:
        """The client that a request counts against. Raises Problem (401, 403, 429)."""
        client = peer
        if self._keys is not None:
            key = self._keys.find(authorization)
            if key is None:
                what = "is not one of this server's keys" if authorization else "is missing"
                raise unauthorized(f"the header 'Authorization: Bearer KEY' {what}")
            if path.startswith(ADMIN) and not key.admin:
                raise forbidden(key.name)
            client = key.name
        if self._limits is not None and (wait := await self._limits.ask(client)):
            raise _too_often(client, wait)
        return client


def _too_often(client: str, wait: float) -> Problem:
    """429: the client's rate is used up; `wait` is in seconds."""
    return Problem(
        429,
        "rate-limit",
        "Too many requests",
        f"{client} has used up its rate; try again in {wait:.3f} s",
        {"retry_after_seconds": wait},
        [(b"retry-after", b"%d" % max(1, math.ceil(wait)))],
    )


def _peer(scope: Scope) -> str:
    """The address at the other end; "local" for a socket that has none."""
    peer = scope.get("client")
    return peer[0] if peer else "local"


async def _refuse(send: Send, path: str, refused: Problem) -> None:
    """Answer with an error, in the shape that clients of the path expect."""
    status, media_type, body = written(path, refused)
    headers = [
        (b"content-type", media_type),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
        *refused.headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
