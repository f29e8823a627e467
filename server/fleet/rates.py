"""`--rate` over all API processes of a fleet: one count for each client, in Redis, by Redis' clock.

Not the Redis storage of the package `limits`: it goes by each machine's time of day, keeps every request of a window,
and bounds no number of clients.
"""

from __future__ import annotations

import asyncio

from redis.exceptions import ResponseError

from server.fleet.connection import Away
from server.fleet.keys import Keys
from server.fleet.pipe import Pipe
from server.fleet.scripts import script
from server.http.limits import MAX_CLIENTS, Limits

COUNT_SECONDS = 0.25
"""How long Redis may take to count; then this process decides by what it has counted itself."""


class SharedLimits:
    """See `server.http.limits.Limiter`."""

    def __init__(self, local: Limits, pipe: Pipe, keys: Keys, most_clients: int = MAX_CLIENTS) -> None:
        """`local` decides while Redis does not answer, and counts what passed here."""
        self._local = local
        self._pipe = pipe
        self._windows = keys.windows
        self._most_clients = most_clients
        self._rates = [number for rate in local.rates for number in (rate.amount, 1000 * rate.get_expiry())]

    async def ask(self, client: str) -> float:
        """Count a request of `client`: 0.0 if it may pass, else the seconds until one would."""
        if wait := self._local.wait(client):
            return wait  # its own requests alone are enough
        call = self._pipe.call(*script("rate", self._windows, client, self._most_clients, *self._rates))
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                wait = await call / 1000
        except (Away, ResponseError, TimeoutError):
            return self._local.hit(client)
        if not wait:
            self._local.hit(client)
        return wait
