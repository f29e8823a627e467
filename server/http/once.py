"""Idempotency-Key: a request that is sent again is not done again (draft-ietf-httpapi-idempotency-key-header).

The same key and the same request, from the same client: the answer that was given, or of work that still runs, as soon
as it is there (where the draft has a 409). The same key with another request is a 422. Kept are answers that succeeded;
whatever was refused or failed may be tried again under its key. A stream cannot be given again, and has no key.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from server.http import problem
from server.http.departure import Stays
from server.http.desk import Disconnected
from server.http.problem import Header, Problem

if TYPE_CHECKING:
    from server.http.endpoint import Exchange, Handle

HEADER = b"idempotency-key"

REPLAYED: Header = (b"idempotent-replayed", b"true")
"""Comes with an answer that was not made for this request."""

LIFE_SECONDS = 600.0
"""How long an answer is kept for its key."""

KEPT_BYTES = 32 * 2**20
"""Of all answers that are kept; the oldest go first. One that would take more than a quarter of it is not kept."""

OVERHEAD = 1024
"""Bytes that an answer counts beside its body."""

POLL_SECONDS = (0.01, 0.25)
"""Between two looks at work that another request began: at first, and at most."""

MAX_KEY = 255

_KEY = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_KEY)
_QUOTED = re.compile(rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,%d}"' % MAX_KEY)


@dataclass(frozen=True)
class Reply:
    """A reply to be given again."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


Claim = Literal["mine", "running", "other"] | Reply
"""What a key stands for: mine: nothing yet, and now this request; running: the same request, whose answer is to come;
other: another request; or the answer."""


class Answers(Protocol):
    """Keeps answers by the names of their keys."""

    async def claim(self, name: str, request: str, token: str) -> Claim:
        """Begin under a name, unless somebody else has. `request` names what is asked. Raises Problem (503)."""

    async def end(self, name: str, request: str, token: str, reply: Reply | None) -> None:
        """Keep an answer; None: leave the name to whoever asks next."""


class OwnAnswers:
    """Answers in this process's memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, str, str, Reply | None]] = OrderedDict()
        """Name -> (until when it is kept, request, token, answer), the oldest first."""
        self.bytes = 0

    async def claim(self, name: str, request: str, token: str) -> Claim:
        """See Answers."""
        now = self._clock()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._drop(next(iter(self._kept)))
        found = self._kept.get(name)
        if found is None:
            self._put(name, request, token, None)
            return "mine"
        if found[1] != request:
            return "other"
        return found[3] or "running"

    async def end(self, name: str, request: str, token: str, reply: Reply | None) -> None:
        """See Answers."""
        found = self._kept.get(name)
        if found is not None and found[2] != token:
            return
        self._drop(name)
        if reply is not None and 4 * _size(reply) <= KEPT_BYTES:
            self._put(name, request, token, reply)

    def _put(self, name: str, request: str, token: str, reply: Reply | None) -> None:
        self._kept[name] = (self._clock() + LIFE_SECONDS, request, token, reply)
        self.bytes += _size(reply)
        while self.bytes > KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        found = self._kept.pop(name, None)
        if found is not None:
            self.bytes -= _size(found[3])


class Once:
    """A handle around another one, which then answers each key once."""

    def __init__(self, handle: Handle, answers: Answers) -> None:
        self._handle = handle
        self._answers = answers

    async def __call__(self, exchange: Exchange) -> None:
        """Answer, or give the answer that there is."""
        given = exchange.headers.get(HEADER)
        if given is None or exchange.method != "POST":
            await self._handle(exchange)
            return
        name = _name(exchange.caller.client, _read_key(given))
        keyed = _Keyed(exchange, self._answers, name)
        try:
            if not exchange.has_body:
                await keyed.claim()
            await self._handle(exchange)
        except _Given as given_again:
            reply = given_again.reply
            exchange.account.source = "cache"
            exchange.send = keyed.send
            await exchange.reply(reply.status, [*reply.headers, REPLAYED], reply.body)
        finally:
            await keyed.end()


class _Given(Exception):
    """The request has its answer; whatever handles it need not go on."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class _Keyed:
    """One request with a key: listens to its body, and to its reply."""

    def __init__(self, exchange: Exchange, answers: Answers, name: str) -> None:
        self._exchange = exchange
        self._answers = answers
        self._name = name
        self._token = secrets.token_hex(16)
        self._asked = _Identity(exchange)
        self._claimed = False
        self._status = 0
        self._headers: list[Header] = []
        self._body: bytes | None = None
        """None: not there, or in pieces."""
        self._pieces = 0
        self._receive, self.send = exchange.receive, exchange.send
        exchange.receive, exchange.send = self._hear, self._tell

    async def claim(self) -> None:
        """The whole request is here. Raises _Given, Problem (422, 503) and Disconnected."""
        exchange, gone = self._exchange, asyncio.Event()
        exchange.departures.add(gone.set)
        try:
            pause, most = POLL_SECONDS
            while True:
                found = await self._answers.claim(self._name, self._asked.digest(), self._token)
                if found == "mine":
                    break
                if found == "other":
                    raise _other_request()
                if isinstance(found, Reply):
                    raise _Given(found)
                if gone.is_set():
                    raise Disconnected
                await asyncio.sleep(pause)
                pause = min(most, 2 * pause)
        finally:
            exchange.departures.discard(gone.set)
        self._claimed = True
        exchange.departures = Stays()  # who loses the connection comes back for the answer

    async def end(self) -> None:
        """The request was answered, or failed: what is to be kept of it."""
        self._exchange.receive, self._exchange.send = self._receive, self.send
        if not self._claimed:
            return
        reply = None
        if 200 <= self._status < 300 and self._body is not None:
            # The gate tells how long it took to give it.
            headers = tuple(header for header in self._headers if header[0] != b"server-timing")
            reply = Reply(self._status, headers, self._body)
        await self._answers.end(self._name, self._asked.digest(), self._token, reply)

    async def _hear(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if message["type"] == "http.request" and not self._claimed:
            self._asked.add(message.get("body", b""))
            if not message.get("more_body", False):
                await self.claim()
        return message

    async def _tell(self, message: MutableMapping[str, Any]) -> None:
        await self.send(message)
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [header for header in message["headers"] if header[0] != b"content-length"]
        else:
            self._pieces += 1
            self._body = message.get("body", b"") if self._pieces == 1 and not message.get("more_body") else None


class _Identity:
    """What makes two requests the same: where they go, the kind of answer, and every byte of the body. The boundary of
    a form is left out, which clients draw anew each time."""

    def __init__(self, exchange: Exchange) -> None:
        media, _, parameters = exchange.header(b"content-type").partition(";")
        found = re.search(r'boundary="?([^";]+)', parameters, re.IGNORECASE)
        self._boundary = found[1].encode("latin-1") if found else b""
        self._tail = b""
        self._hash = hashlib.blake2b(digest_size=16)
        for part in (exchange.path.encode(), exchange.query, exchange.headers.get(b"accept", b""), media.encode()):
            self._hash.update(b"%d:%b," % (len(part), part))

    def add(self, piece: bytes) -> None:
        """A piece of the body."""
        if not self._boundary:
            self._hash.update(piece)
            return
        # A boundary may be cut by the end of a piece.
        body = (self._tail + piece).replace(self._boundary, b"")
        kept = len(self._boundary) - 1
        self._hash.update(body[: max(0, len(body) - kept)])
        self._tail = body[max(0, len(body) - kept) :]

    def digest(self) -> str:
        """Its name, 32 characters."""
        whole = self._hash.copy()
        whole.update(self._tail)
        return whole.hexdigest()


def _read_key(given: bytes) -> bytes:
    """The key in a header's value: a quoted string, as the draft has it, or bare. Raises Problem (400)."""
    text = given.strip()
    if _QUOTED.fullmatch(text):
        return re.sub(rb"\\(.)", rb"\1", text[1:-1])
    if _KEY.fullmatch(text) and not text.startswith(b'"'):
        return text
    raise problem.malformed(
        f"the header Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters, such as those of a UUID; it is "
        f"{text[:80].decode('latin-1')!r}"
    )


def _name(client: str, key: bytes) -> str:
    """The name of a client's key, 32 characters; another client's same key is another one."""
    return hashlib.blake2b(client.encode() + b"\0" + key, digest_size=16).hexdigest()


def _other_request() -> Problem:
    """422: the draft's words for a key that is used again."""
    return Problem(
        422,
        "idempotency-key-reused",
        "Idempotency-Key is already used",
        "this key came with another request (path, query, body or Accept), and a key belongs to one; take a new one",
    )


def _size(reply: Reply | None) -> int:
    return OVERHEAD + (len(reply.body) if reply is not None else 0)
