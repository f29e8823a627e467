"""What an agent has to tell: ends of entries and parts of streams, sent in their order, again until Redis has them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from redis.exceptions import NoScriptError, ResponseError

from server.fleet.connection import Away, Pause, Redis
from server.fleet.scripts import LOAD, Command

MOST = 64
"""Commands of one round trip at most."""

LOG = logging.getLogger("longjump")


class Outbox:
    """Commands that may be sent twice without harm, and are, while Redis does not say that it has them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: deque[tuple[Command, float]] = deque()
        self._wake = asyncio.Event()
        self.overtaken = 0
        """Ends of jobs that had ended already: another agent was first."""
        self.empty = asyncio.Event()
        """Set while there is nothing to tell."""
        self.empty.set()

    def add(self, command: Command, until: float) -> None:
        """Send a command, trying until `until` of the monotonic clock."""
        self._waiting.append((command, until))
        self.empty.clear()
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        channel, pause = self._redis.channel(), Pause()
        try:
            while True:
                await self._wake.wait()
                now = time.monotonic()
                while self._waiting and self._waiting[0][1] <= now:
                    self._waiting.popleft()
                sent = [self._waiting[n][0] for n in range(min(MOST, len(self._waiting)))]
                if not sent:
                    self._wake.clear()
                    self.empty.set()
                    continue
                try:
                    answers = await channel.call(*sent)
                    if any(isinstance(answer, NoScriptError) for answer in answers):
                        await channel.call(*LOAD)
                        continue
                except Away:
                    await pause.wait()
                    continue
                pause.reset()
                for answer in answers:
                    self._waiting.popleft()
                    if isinstance(answer, ResponseError):
                        LOG.error("Redis refused an answer: %s", answer)
                    elif answer == 0:  # see finish.lua
                        self.overtaken += 1
        finally:
            await channel.close()
