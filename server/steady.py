"""Work that must not end: what nobody foresaw is written into the log, and the work begins again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

PAUSE_SECONDS = 1.0

LOG = logging.getLogger("longjump")


async def steady(what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it returns; after an error, again. `what` names it for the log."""
    while True:
        try:
            return await work()
        except Exception:
            LOG.exception("an error while this process %s; it goes on", what)
            await asyncio.sleep(PAUSE_SECONDS)
