"""One HTTP exchange: what an endpoint reads of a request and how it replies, without a framework in between.

Every endpoint that makes pictures is an `Endpoint` around one coroutine, which parses an Exchange into a Plan and a
Visit, asks the desk, and formats what comes back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from server.http import problem
from server.http.departure import watch
from server.http.desk import Disconnected
from server.http.dialects import written
from server.http.plan import Receive, Scope, Send, Visit
from server.http.problem import Header, Problem
from server.observe.account import DISCONNECTED, Account, Caller

if TYPE_CHECKING:
    from server.observe.metrics import Metrics

MAX_BODY = 65_536
"""Bytes of a JSON body. The fields need a few hundred."""

NO_STORE: Header = (b"cache-control", b"no-store")

_READ = frozenset(
    (
        b"accept",
        b"cache-control",
        b"content-encoding",
        b"content-type",
        b"content-length",
        b"idempotency-key",
        b"if-none-match",
        b"transfer-encoding",
    )
)

_TURNED_AWAY = (429, 503, 504)
"""Statuses of requests that were in order and still not served."""

LOG = logging.getLogger("longjump")


class Exchange:
    """One request and its reply."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrival = time.monotonic()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _READ:  # several of one name are one list
                self.headers[name] = self.headers[name] + b"," + value if name in self.headers else value
        self.caller: Caller = scope.get("caller") or _peer(scope)
        self.account: Account = scope.setdefault("account", Account())
        self.receive = receive
        self.departures = watch(scope, receive)
        self.send = send
        self.started = False
        """Whether the head of the reply is sent: its status cannot change any more."""

    def header(self, name: bytes) -> str:
        """A header's value; empty if it is not there. Only those that endpoints need are kept (`_READ`)."""
        return self.headers.get(name, b"").decode("latin-1")

    def visit(self, fields: dict[str, Any]) -> Visit:
        """Who asks and how, by the caller, the headers, and the fields deadline_ms, priority and on_disconnect."""
        wishes = self.headers.get(b"cache-control")
        caching = _directives(wishes.decode("latin-1")) if wishes else ()
        deadline_ms = fields.get("deadline_ms")
        self.account.priority = fields.get("priority", "interactive")
        return Visit(
            client=self.caller.client,
            priority=self.account.priority,
            arrival=self.arrival,
            deadline=None if deadline_ms is None else deadline_ms / 1000,
            no_store="no-store" in caching,
            no_cache="no-cache" in caching,
            finish=fields.get("on_disconnect") == "finish",
            account=self.account,
        )

    @property
    def has_body(self) -> bool:
        """Whether a body comes, by the head."""
        return self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers

    def check_coding(self) -> None:
        """Problem (415) for a body that is compressed."""
        coding = self.header(b"content-encoding")
        if coding.strip().lower() not in ("", "identity"):
            raise problem.encoded_body(coding)

    def without_body(self) -> None:
        """Problem (400) for a GET with a body: its fields would be ignored."""
        if self.has_body:
            raise problem.malformed("a GET takes its fields from the query and no body; leave it out, or send a POST")

    async def body(self, limit: int = MAX_BODY) -> bytes:
        """The body; empty if there is none. Raises Problem (413 over `limit` bytes, 415), Disconnected."""
        if not self.has_body:
            return b""
        self.check_coding()
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > limit:
            raise problem.too_large(limit)
        parts = []
        size, more = 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise problem.too_large(limit)
            more = message.get("more_body", False)
        return b"".join(parts)

    async def json_body(self) -> bytes:
        """The body, which must be called JSON if there is one. Raises Problem (413, 415), Disconnected."""
        body = await self.body()
        if body:
            content_type = self.header(b"content-type")
            media, _, parameters = content_type.lower().partition(";")
            if media.strip() != "application/json" or ("charset" in parameters and "utf-8" not in parameters):
                raise problem.unsupported_type(content_type)
        return body

    async def reply(self, status: int, headers: Sequence[Header], body: bytes | None) -> None:
        """One whole response; `body` None: a status that has none."""
        if body is not None:
            headers = [*headers, (b"content-length", str(len(body)).encode())]
        await self.begin(status, headers)
        await self.send({"type": "http.response.body", "body": body or b""})

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """The head of a response that `write` continues."""
        self.started = True
        self.account.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, last: bool) -> None:
        """A piece of the response that `begin` began."""
        await self.send({"type": "http.response.body", "body": body, "more_body": not last})

    async def refuse(self, refused: Problem) -> None:
        """Answer with an error, in the shape that clients of the path expect."""
        self.account.refused = refused.kind
        status, media_type, body = written(self.path, refused)
        await self.reply(status, [(b"content-type", media_type), NO_STORE, *refused.headers], body)


Handle = Callable[[Exchange], Awaitable[None]]


class Endpoint:
    """An ASGI application around `handle`, which may raise Problem or Disconnected before it begins its reply."""

    def __init__(self, handle: Handle, metrics: Metrics | None) -> None:
        """`metrics` count requests for pictures; None: these are none."""
        self._handle = handle
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error becomes a problem, and every request is counted."""
        exchange = Exchange(scope, receive, send)
        account = exchange.account
        try:
            try:
                await self._handle(exchange)
            except Problem as refused:
                if refused.status in _TURNED_AWAY and self._metrics is not None:
                    self._metrics.refused(refused.kind)
                await exchange.refuse(refused)
            except Disconnected:
                account.status = DISCONNECTED
            except Exception:
                LOG.exception("an error while answering %s %s", exchange.method, exchange.path)
                account.status = 500
                if exchange.started:
                    raise  # the connection is cut off, which is all that can still be told
                await exchange.refuse(problem.failed("an error of the server's own; its log has the details"))
        finally:
            if self._metrics is not None:
                self._metrics.answered(account, time.monotonic() - exchange.arrival)


def _peer(scope: Scope) -> Caller:
    """The caller where no gate stands before the endpoints: whoever is at the other end of the connection."""
    client = scope.get("client")
    return Caller(client[0] if client else "anyone", "")


def _directives(cache_control: str) -> list[str]:
    """The directives of a Cache-Control header, in lower case, without values."""
    return [part.partition("=")[0].strip() for part in cache_control.lower().split(",")]
