"""Answers by Idempotency-Key, for all API processes of a fleet: see `server.http.once`.

A name is taken for a few seconds, and again while its request runs: of a process that is gone others take it over.
"""

from __future__ import annotations

import asyncio
import contextlib

from redis.exceptions import ResponseError

from server.fleet.connection import Away, refusal
from server.fleet.keys import Keys
from server.fleet.parcel import pack, unpack
from server.fleet.pipe import Pipe
from server.fleet.scripts import script
from server.http import problem
from server.http.once import KEPT_BYTES, LIFE_SECONDS, Claim, Reply

LEASE_SECONDS = 6.0
"""A process that gives no sign of life for so long is taken for dead."""


class SharedAnswers:
    """See `server.http.once.Answers`."""

    def __init__(self, pipe: Pipe, keys: Keys, lease: float = LEASE_SECONDS) -> None:
        self._pipe = pipe
        self._shelf = keys.shelf("answers")
        self._lease = lease
        self._running: dict[str, tuple[str, str]] = {}
        """Name -> (request, token) of what this process is at work on."""

    async def run(self) -> None:
        """Keep what runs here, until cancelled."""
        while True:
            await asyncio.sleep(self._lease / 3)
            # All at once, so that a name whose end is told now is not taken again after that.
            claims = (self._claim(name, *taken) for name, taken in self._running.items())
            await asyncio.gather(*claims, return_exceptions=True)

    async def claim(self, name: str, request: str, token: str) -> Claim:
        """See Answers."""
        try:
            state, *more = await self._claim(name, request, token)
        except (Away, ResponseError) as error:
            why = str(error) if isinstance(error, Away) else refusal(error)
            raise problem.not_ready(f"the Idempotency-Key cannot be looked up in Redis: {why}") from None
        match state:
            case b"mine":
                self._running[name] = (request, token)
                return "mine"
            case b"kept":
                try:
                    return read_reply(more[0])
                except ValueError as error:
                    raise problem.not_ready(f"the answer to this Idempotency-Key cannot be read: {error}") from None
            case b"other":
                return "other"
            case _:
                return "running"

    async def end(self, name: str, request: str, token: str, reply: Reply | None) -> None:
        """See Answers."""
        self._running.pop(name, None)
        parcel = b"" if reply is None else pack_reply(reply)
        own = (name, request, token, int(1000 * LIFE_SECONDS), KEPT_BYTES, parcel)
        with contextlib.suppress(Away, ResponseError):  # then the lease ends it
            await self._pipe.call(*script("once_end", self._shelf, *own))

    async def _claim(self, name: str, request: str, token: str) -> list[bytes]:
        lives = (int(1000 * self._lease), int(1000 * LIFE_SECONDS), KEPT_BYTES)
        found: list[bytes] = await self._pipe.call(*script("once_claim", self._shelf, name, request, token, *lives))
        return found


def pack_reply(reply: Reply) -> bytes:
    """A reply as bytes, for `read_reply`."""
    headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in reply.headers]
    return pack({"status": reply.status, "headers": headers}, [reply.body])


def read_reply(parcel: bytes) -> Reply:
    """The reply in a parcel. ValueError if it needs a later version, or makes no sense."""
    told, blobs = unpack(parcel)
    try:
        headers = tuple((key.encode("latin-1"), value.encode("latin-1")) for key, value in told["headers"])
        return Reply(told["status"], headers, blobs[0])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not a reply: {type(error).__name__}: {error}") from None
