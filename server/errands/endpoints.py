"""/jobs: POST takes work in; GET tells of it, gives its result, and streams what becomes of it; DELETE ends it.

Only who made a job can see it: for others there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from typing import TYPE_CHECKING

from pydantic import Field

from server.errands.errand import OVER, Errand, Record
from server.errands.store import Full, Unreachable
from server.errands.webhook import MAX_URL, secret_key
from server.http import problem, reply
from server.http.ask import Asked, Common, json_fields, query_fields, read, settle
from server.http.desk import Disconnected
from server.http.endpoint import NO_STORE, Exchange
from server.http.faults import Right
from server.http.problem import Header, Problem
from server.http.stream import HEADERS, HEARTBEAT_SECONDS, event

if TYPE_CHECKING:
    from server.backend.roads import Roads
    from server.errands.office import Office

DEADLINE_SECONDS = 600.0
"""Of a job that names none."""

LOOK_SECONDS = (0.2, 2.0)
"""Between two looks at a job whose events somebody reads: after a change, and at most."""

_JSON: Header = (b"content-type", b"application/json")
_PATH = re.compile(r"/jobs/([0-9a-f]{32})(/result|/events)?")
_KEPT = ("webhook", "webhook_secret", "deadline_ms", "on_disconnect")
"""Fields that are not those of the picture."""


class JobAsk(Common):
    """The fields of POST /jobs, as sent. None: not given."""

    n: int | None = Field(None, ge=1, description="How many images. Default: 1.")
    webhook: str | None = Field(
        None,
        max_length=MAX_URL,
        description="A URL that is told when the job is over, signed as Standard Webhooks has it. Its host must be one "
        "that the server allows (--webhooks).",
    )
    webhook_secret: str | None = Field(
        None, description="What that is signed with: whsec_ and 24 to 64 bytes in base64. Default: the server's own."
    )


class Jobs:
    """POST /jobs, to be the handle of an Endpoint."""

    def __init__(self, office: Office, lines: Roads, max_images: int) -> None:
        self._office = office
        self._lines = lines
        self._max_images = max_images

    async def __call__(self, exchange: Exchange) -> None:
        """Take a job in."""
        if not self._lines.complete:
            raise problem.starting()
        sources = [(query_fields(exchange.query), False), (json_fields(await exchange.json_body()), True)]
        right = {
            "webhook": Right(f"a URL of at most {MAX_URL} characters", None),
            "webhook_secret": Right("a text", None),
        }
        asked = read(JobAsk, sources, self._lines.models, self._max_images, right)
        errand = self._errand(asked, exchange)
        try:
            await self._office.add(errand)
            record = await self._office.store.get(errand.id)
        except Full as error:
            raise problem.queue_full(str(error)) from None
        except Unreachable as error:
            raise problem.not_ready(str(error)) from None
        if record is None:
            raise problem.not_ready("the job was lost as soon as it was taken in")
        await exchange.reply(202, [_JSON, NO_STORE, (b"location", f"/jobs/{errand.id}".encode())], _written(record))

    def _errand(self, asked: Asked, exchange: Exchange) -> Errand:
        """The errand that the fields make. Raises Problem (422)."""
        fields, faults, hooks = asked.fields, asked.faults, self._office.hooks
        fields.setdefault("priority", "batch")
        if "on_disconnect" in fields:
            faults.add(
                "on_disconnect", fields["on_disconnect"], "a job goes on whoever leaves; leave on_disconnect out"
            )
        webhook, secret = fields.get("webhook"), fields.get("webhook_secret")
        try:
            if webhook is not None:
                hooks.check(webhook)
        except ValueError as error:
            faults.add("webhook", webhook, f"webhook cannot be told: {error}")
        try:
            if secret is not None:
                secret_key(secret)
            elif webhook is not None and hooks.secret is None:
                raise ValueError("it must be given, because this server has none of its own")
        except ValueError as error:
            faults.add("webhook_secret", None, f"webhook_secret is wrong: {error}")
        plan = settle(asked)
        exchange.account.model, exchange.account.priority = plan.model.name, fields["priority"]
        made = {name: value for name, value in fields.items() if name not in _KEPT}
        return Errand(
            id=secrets.token_hex(16),
            client=exchange.caller.client,
            fields={"model": plan.model.name, **made, "seed": plan.seed},
            n=plan.n,
            priority=fields["priority"],
            as_json=reply.wants_json(exchange.header(b"accept"), plan.n, plan.format),
            seconds=fields["deadline_ms"] / 1000 if "deadline_ms" in fields else DEADLINE_SECONDS,
            webhook=webhook,
            secret=secret if webhook is not None else None,
        )


class Job:
    """What is under /jobs/ID, to be the handle of an Endpoint."""

    def __init__(self, office: Office, lines: Roads) -> None:
        self._office = office
        self._lines = lines

    async def __call__(self, exchange: Exchange) -> None:
        """Tell of a job, give its result or its events, or end it."""
        found = _PATH.fullmatch(exchange.path)
        try:
            record = await self._office.find(found[1], exchange.caller.client) if found is not None else None
            if found is None or record is None:
                raise self._unknown()
            if exchange.method == "DELETE":
                await self._delete(exchange, record)
            elif found[2] == "/result":
                await self._result(exchange, record)
            elif found[2] == "/events":
                await self._events(exchange, record)
            else:
                await exchange.reply(200, [_JSON, NO_STORE], _written(record))
        except Unreachable as error:
            raise problem.not_ready(str(error)) from None

    async def _delete(self, exchange: Exchange, record: Record) -> None:
        errand_id = record.errand.id
        if record.state in OVER:
            await self._office.store.forget(errand_id)
            await exchange.reply(204, [NO_STORE], None)
            return
        await self._office.cancel(errand_id)
        ended = await self._office.store.get(errand_id)
        await exchange.reply(200, [_JSON, NO_STORE], _written(ended or record))

    async def _result(self, exchange: Exchange, record: Record) -> None:
        if record.state == "done":
            made = await self._office.store.result(record.errand.id)
            if made is None:
                raise Problem(
                    410, "result-gone", "The result is gone", "newer results took its room; make the job again"
                )
            await exchange.reply(made.status, [*made.headers, NO_STORE], made.body)
            return
        if record.end is not None and record.end.problem is not None:
            told = record.end.problem
            kind = str(told["type"]).removeprefix(problem.TYPE_PREFIX)
            extra = {name: value for name, value in told.items() if name not in ("type", "title", "status", "detail")}
            raise Problem(told["status"], kind, told["title"], told["detail"], extra)
        if record.state == "cancelled":
            raise Problem(410, "job-cancelled", "The job was cancelled", "it has no result; make it again")
        raise Problem(
            409,
            "job-not-over",
            "The job is not over",
            f"it is {record.state}; ask again, or read /jobs/{record.errand.id}/events",
            headers=[(b"retry-after", b"1")],
        )

    async def _events(self, exchange: Exchange, record: Record) -> None:
        """An event `job` with the document now and whenever it changes, until it is over. A server that stops leaves a
        job that goes on elsewhere, and its events with it."""
        gone = asyncio.Event()
        exchange.departures.add(gone.set)
        loop = asyncio.get_running_loop()
        last, sent = b"", loop.time()
        pause, longest = LOOK_SECONDS
        try:
            await exchange.begin(200, HEADERS)
            while True:
                shown = event("job", record.document())
                over = record.state in OVER
                if shown != last:
                    last, sent, pause = shown, loop.time(), LOOK_SECONDS[0]
                    await exchange.write(shown, over)
                elif loop.time() - sent > HEARTBEAT_SECONDS:
                    sent = loop.time()
                    await exchange.write(b": still working\n\n", False)
                if over:
                    return
                if self._lines.draining and self._office.store.lasting:
                    await exchange.write(b": this server stops; ask again\n\n", True)
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await gone.wait()
                    raise Disconnected
                pause = min(longest, 1.2 * pause)
                try:
                    found = await self._office.store.get(record.errand.id)
                except Unreachable:
                    continue
                if found is None:
                    await exchange.write(event("error", self._unknown().document()), True)
                    return
                record = found
        finally:
            exchange.departures.discard(gone.set)

    def _unknown(self) -> Problem:
        """404: none, or not this client's."""
        bounds = self._office.store.bounds
        ends = "" if self._office.store.lasting else ", and all end with this server's process"
        detail = f"there is no such job of yours; one is kept for {bounds.ttl:g} s after its end{ends}"
        return Problem(404, "job-not-found", "There is no such job", detail)


def _written(record: Record) -> bytes:
    return json.dumps(record.document()).encode() + b"\n"
