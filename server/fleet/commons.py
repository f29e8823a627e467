"""What the API processes of a fleet share in its Redis, beside the work: `server.commons.Commons`."""

from __future__ import annotations

import argparse
import asyncio

from server.errands.flags import read_bounds
from server.errands.store import Bounds
from server.fleet.answers import SharedAnswers
from server.fleet.connection import Redis
from server.fleet.errands import SharedStore
from server.fleet.keys import Keys
from server.fleet.lines import FleetLines, own_name
from server.fleet.pipe import Pipe
from server.fleet.rates import SharedLimits
from server.fleet.shared_cache import SharedCache
from server.http.limits import Limits
from server.steady import steady


def open_commons(args: argparse.Namespace, lines: FleetLines) -> FleetCommons:
    """What the flags of `longjump serve` ask for, begun."""
    # Without a cache of its own a process keeps nothing, and nothing that others keep.
    cache_bytes = args.shared_cache_bytes if args.cache_bytes else 0
    return FleetCommons(lines.redis, lines.keys, cache_bytes, read_bounds(args))


class FleetCommons:
    """See Commons. Lives on one event loop."""

    def __init__(self, redis: Redis, keys: Keys, cache_bytes: int, bounds: Bounds) -> None:
        """`bounds` are those of jobs."""
        self._keys = keys
        self._pipe, large = Pipe(redis), Pipe(redis)
        self.answers = SharedAnswers(large, keys)
        self.errands = SharedStore(self._pipe, large, keys, own_name(), bounds)
        self.cache = SharedCache(redis, keys, cache_bytes) if cache_bytes else None
        works = {"asked Redis": self._pipe.run, "sent answers": large.run, "kept keys": self.answers.run}
        if self.cache is not None:
            works["shared its cache"] = self.cache.run
        self._tasks = [asyncio.get_running_loop().create_task(steady(what, work)) for what, work in works.items()]

    def limiter(self, local: Limits) -> SharedLimits:
        """See Commons."""
        return SharedLimits(local, self._pipe, self._keys)

    async def close(self) -> None:
        """See Commons."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
