"""/generate: pictures from seeds and labels."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from server.backend.roads import Roads
from server.http import problem, reply
from server.http.ask import Ask, json_fields, query_fields, read, settle
from server.http.desk import Answer, Desk, StreamMode
from server.http.endpoint import NO_STORE, Exchange
from server.http.plan import Auto, Plan, Visit
from server.http.problem import Header
from server.http.stream import MEDIA_TYPE as EVENTS
from server.http.stream import send_stream, tell_images

VARY: Header = (b"vary", b"accept")


class Generate:
    """GET and POST /generate, to be the handle of an Endpoint."""

    def __init__(self, desk: Desk, lines: Roads, max_images: int) -> None:
        self._desk = desk
        self._lines = lines
        self._max_images = max_images

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with an image, an array, JSON, or events."""
        if not self._lines.complete:  # even if some are up: the default one may not be among them
            raise problem.starting()
        sources: list[tuple[dict[str, Any], bool]] = [(query_fields(exchange.query), False)]
        if exchange.method == "POST":
            sources.append((json_fields(await exchange.json_body()), True))
        else:
            exchange.without_body()
        asked = read(Ask, sources, self._lines.models, self._max_images)
        fields = asked.fields
        if exchange.method != "POST" and "seed" not in fields and not asked.faults.names("seed"):
            asked.faults.add(
                "seed", None, "GET /generate needs a seed, so that its answer can be cached; POST draws one"
            )
        accept = exchange.header(b"accept")
        stream: StreamMode | None = fields.get("stream") or ("first" if EVENTS in accept.lower() else None)
        if stream is not None and fields.get("n", 1) != 1:
            asked.faults.add("n", fields["n"], f"n={fields['n']} in a stream, which shows one image; leave n out")
        plan = settle(asked)
        visit = exchange.visit(fields)
        if stream is not None:
            pictures = self._desk.open_stream(plan, visit, exchange.departures, stream)
            await send_stream(exchange, pictures, tell_images(plan))
            return
        await give(exchange, self._desk, plan, visit)


def represented(plan: Plan, wants_json: bool) -> tuple[Plan, bool]:
    """The plan of a reply as its client wants it, and whether that is JSON."""
    as_json = plan.format == "json" or (wants_json and plan.layout != "animation")
    return (replace(plan, layout="each") if as_json and plan.format != "json" else plan), as_json


def content_of(plan: Plan, answer: Answer, as_json: bool) -> tuple[bytes, str]:
    """The content of a reply, and its media type."""
    if as_json:
        return reply.document(plan, answer), "application/json"
    return answer.result.blobs[0], reply.MEDIA_TYPES[plan.format]


async def give(exchange: Exchange, desk: Desk, plan: Plan, visit: Visit) -> None:
    """One reply with everything: JSON if the client prefers it, an ETag on GET. Raises what `Desk.answer` raises."""
    plan, as_json = represented(plan, reply.wants_json(exchange.header(b"accept"), plan.n, plan.format))
    caching = [NO_STORE]
    # What `auto` gives is another image at another time.
    if exchange.method != "POST" and not isinstance(plan.steps, Auto) and not visit.no_store:
        tag = reply.etag(plan.key(plan.steps), plan.deterministic)
        caching = [(b"etag", tag), (b"cache-control", reply.CACHE_CONTROL), VARY]
        if reply.matches(exchange.header(b"if-none-match"), tag):
            exchange.account.model, exchange.account.steps = plan.model.name, plan.steps
            await exchange.reply(304, caching, None)
            return
    answer = await desk.answer(plan, visit, exchange.departures)
    content, media_type = content_of(plan, answer, as_json)
    exchange.account.timed = True
    timing = reply.server_timing(answer, time.monotonic() - exchange.arrival)
    headers = [(b"content-type", media_type.encode()), *reply.used(plan, answer), timing, *caching]
    await exchange.reply(200, headers, content)
