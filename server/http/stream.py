"""Server-sent events: pictures as they are made, in one reply."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from server.http import problem, reply
from server.http.desk import Shown
from server.http.endpoint import NO_STORE, Exchange
from server.http.plan import Plan
from server.http.problem import Header, Problem

HEARTBEAT_SECONDS = 10.0
"""A stream without pictures for this long says that it is alive, so that no proxy closes it."""

MEDIA_TYPE = "text/event-stream"

HEADERS: tuple[Header, ...] = (
    (b"content-type", MEDIA_TYPE.encode()),
    NO_STORE,
    (b"x-accel-buffering", b"no"),  # nginx would keep the first picture back until there are more
)


Tell = Callable[[Shown | Problem], bytes]
"""Writes the event of a picture, or of what went wrong. Empty: a picture that is not shown; never for the last."""


async def send_stream(exchange: Exchange, pictures: AsyncGenerator[Shown], tell: Tell) -> None:
    """Send the pictures as events.

    What goes wrong before anything is sent is raised, so that it has its status; later it is an event.
    """
    following: asyncio.Future[Shown] | None = None
    try:
        if exchange.method == "POST" and exchange.header(b"idempotency-key"):
            raise problem.malformed(
                "a stream cannot be given again; leave the header Idempotency-Key or the stream out"
            )
        while True:
            following = following or asyncio.ensure_future(anext(pictures))
            done, _ = await asyncio.wait((following,), timeout=HEARTBEAT_SECONDS)
            if not done:
                await _begin(exchange)
                await exchange.write(b": still working\n\n", False)
                continue
            shown = following.result()
            following = None
            account = exchange.account
            if account.first_image is None:
                account.first_image = time.monotonic() - exchange.arrival
            await _begin(exchange)
            if written := tell(shown):
                await exchange.write(written, shown.last)
            if shown.last:
                return
    except Problem as failed:
        if not exchange.started:
            raise
        exchange.account.status, exchange.account.refused = failed.status, failed.kind
        await exchange.write(tell(failed), True)
    finally:
        if following is not None and not following.done():
            following.cancel()
            await asyncio.wait((following,))
        await pictures.aclose()


def tell_images(plan: Plan) -> Tell:
    """Events `image`, with what `/generate` says of an image as JSON, and `error`, with a problem document."""

    def tell(shown: Shown | Problem) -> bytes:
        if isinstance(shown, Problem):
            return event("error", shown.document())
        return event("image", _data(plan, shown))

    return tell


async def _begin(exchange: Exchange) -> None:
    if not exchange.started:
        await exchange.begin(200, HEADERS)


def _data(plan: Plan, shown: Shown) -> dict[str, Any]:
    """A picture as JSON."""
    # The label that was drawn is known with a result only.
    label = shown.answer.result.labels[0] if shown.answer is not None else plan.label
    data = {
        **reply.about(plan, shown.step),
        **({"seed": plan.seed} if label is None else reply.sample(plan.seed, label, plan.model)),
        "of_steps": shown.steps,
        "last": shown.last,
    }
    if shown.last and shown.answer is not None:
        data["source"] = shown.answer.source
        data["stages"] = vars(shown.answer.result.stages)
    if plan.format == "json":
        data["points"] = json.loads(shown.blob)
    else:
        data["base64"] = base64.b64encode(shown.blob).decode()
    return data


def event(name: str, data: dict[str, Any]) -> bytes:
    """A server-sent event with JSON data."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
