"""Tells clients' servers how errands ended, again until they have heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time

from server.errands.errand import Record
from server.errands.store import Due, Store, Unreachable
from server.errands.tally import Tally
from server.errands.webhook import Hooks, Unsent, secret_key

DELAYS = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0)
"""Seconds from a message that was not taken to the next try, by chance up to a tenth more; then it is given up."""

PARALLEL = 8
"""Messages that one process sends at once."""

LOOK_SECONDS = 1.0

GONE = 410
"""The status of a receiver that wants no more."""

LOG = logging.getLogger("longjump")


class Courier:
    """Of one process."""

    def __init__(self, store: Store, hooks: Hooks, tally: Tally) -> None:
        self._store = store
        self._tally = tally
        self._hooks = hooks
        self._sending: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be something to tell."""
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()
                self._wake.clear()
                room = PARALLEL - len(self._sending)
                with contextlib.suppress(Unreachable):
                    for due in await self._store.due(room) if room else ():
                        task = asyncio.get_running_loop().create_task(self._tell(due))
                        self._sending.add(task)
                        task.add_done_callback(self._sending.discard)
        finally:
            for task in self._sending:
                task.cancel()

    async def _tell(self, due: Due) -> None:
        """One try."""
        errand = due.record.errand
        assert errand.webhook is not None
        key = secret_key(errand.secret) if errand.secret is not None else self._hooks.secret
        try:
            if key is None:
                raise Unsent("there is no secret to sign it with (--webhook-secret-file)")
            status = await self._hooks.send(
                errand.webhook, key, f"job_{errand.id}", int(time.time()), message(due.record)
            )
            why = "" if 200 <= status < 300 else f"status {status}"
        except Unsent as error:
            status, why = 0, str(error)
        with contextlib.suppress(Unreachable):  # it is due again in a while
            if not why:
                self._tally.messages["delivered"] += 1
                await self._store.told(errand.id, "delivered")
            elif status == GONE or due.tries > len(DELAYS):
                self._tally.messages["failed"] += 1
                LOG.warning("the message of job %s to its webhook is given up: %s", errand.id, why)
                await self._store.told(errand.id, "failed")
            else:
                self._tally.messages["retried"] += 1
                delay = DELAYS[due.tries - 1] * random.uniform(1.0, 1.1)
                await self._store.told(errand.id, "waiting", delay)


def message(record: Record) -> bytes:
    """The body: what happened, when, and the job's document."""
    document = record.document()
    body = {"type": f"job.{record.state}", "timestamp": document.get("ended"), "data": document}
    return json.dumps(body).encode()
