"""The answers that come back to one API process, read out of its stream as they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redis.exceptions import ResponseError

from server.fleet.codec import Answer, Unreadable, read_answer
from server.fleet.connection import Away, Pause, Redis
from server.fleet.scripts import Command

BLOCK_SECONDS = 5.0
"""How long one read waits for answers."""

READ_ANSWERS = 64
"""Answers that one read takes at most."""

READ_PATIENCE = 10.0
"""Seconds for what is read to come over a slow link."""

TURNS = 3
"""Turns of the loop in which what was read goes on its way to its clients, before more is asked for."""

LOG = logging.getLogger("longjump")


async def read_replies(redis: Redis, stream: str, take: Callable[[Answer], None], returned: Callable[[], None]) -> None:
    """Give each answer in `stream` to `take`, until cancelled. `returned`: Redis was away, and what it kept is read."""
    channel, pause, lost = redis.channel(), Pause(), False
    taken: list[bytes] = []
    block, count = int(1000 * BLOCK_SECONDS), READ_ANSWERS
    try:
        while True:
            # Always from the beginning: what was taken in is deleted, and a Redis that lost its memory may count from a
            # lower number again.
            read = ("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", stream, "0-0")
            delete: list[Command] = [("XDEL", stream, *taken)] if taken else []
            try:
                found = (await channel.call(*delete, read, patience=BLOCK_SECONDS + READ_PATIENCE))[-1]
            except Away:
                count, lost = 1, True  # the link may be too slow for many at once
                await pause.wait()
                continue
            taken = []
            if isinstance(found, ResponseError):
                LOG.error("answers cannot be read from Redis: %s", found)
                await pause.wait()
                continue
            pause.reset()
            count = min(READ_ANSWERS, 2 * count)
            for entry, fields in found[0][1] if found else ():
                taken.append(entry)
                try:
                    take(read_answer(fields))
                except Unreadable as error:
                    LOG.error("%s", error)
                except Exception:
                    LOG.exception("an answer from Redis could not be taken in")
            if lost:
                lost = False
                returned()
            for _ in range(TURNS if taken else 0):
                await asyncio.sleep(0)
    finally:
        await channel.close()
