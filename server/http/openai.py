"""/v1/images/generations in OpenAI's shape: what its clients send and read, over the same desk as /generate.

`server.http.openai_ask` reads the request; errors are in OpenAI's shape too (`server.http.dialects`).
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from server.backend.roads import Roads
from server.http import problem, reply
from server.http.ask import json_fields
from server.http.desk import Answer, Desk, Shown
from server.http.dialects import openai_document
from server.http.endpoint import NO_STORE, Exchange
from server.http.openai_ask import Order, read_order, size_of
from server.http.plan import Plan
from server.http.problem import Header, Problem
from server.http.stream import HEADERS, Tell, event, send_stream

PATH = "/v1/images/generations"

_JSON: tuple[Header, ...] = ((b"content-type", b"application/json"), NO_STORE)


class Generations:
    """POST /v1/images/generations, to be the handle of an Endpoint."""

    def __init__(self, desk: Desk, lines: Roads, max_images: int) -> None:
        self._desk = desk
        self._lines = lines
        self._max_images = max_images

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with JSON, or with events if the client streams."""
        if not self._lines.complete:
            raise problem.starting()
        fields = json_fields(await exchange.json_body())
        order = read_order(fields, self._lines.models, self._max_images)
        # `each`: the workers put every image into base64.
        plan = replace(order.plan, layout="each")
        visit = exchange.visit(order.fields)
        if order.partial_images:
            pictures = self._desk.open_stream(plan, visit, exchange.departures, "every")
            await send_stream(exchange, pictures, _tell(plan, order))
            return
        answer = await self._desk.answer(plan, visit, exchange.departures)
        seconds = time.monotonic() - exchange.arrival
        exchange.account.timed = True
        about = [*reply.used(plan, answer), reply.server_timing(answer, seconds)]
        if order.stream:
            exchange.account.first_image = seconds
            await exchange.reply(200, [*HEADERS, *about], _completed(plan, answer))
        else:
            await exchange.reply(200, [*_JSON, *about], json.dumps(document(plan, answer)).encode())


def document(plan: Plan, answer: Answer) -> dict[str, Any]:
    """OpenAI's ImagesResponse. What was used stands beside it; OpenAI's clients keep it as extra fields."""
    return {
        "created": int(time.time()),
        **_setting(plan),
        **reply.about(plan, answer.steps),
        "data": [
            {"b64_json": blob.decode(), **reply.sample(plan.seed + i, label, plan.model)}
            for i, (blob, label) in enumerate(zip(answer.result.blobs, answer.result.labels, strict=True))
        ],
        "usage": usage(plan, answer.steps),
    }


def _tell(plan: Plan, order: Order) -> Tell:
    """The events of a stream: as many partial images as were asked for, and the completed one."""
    index = 0

    def tell(shown: Shown | Problem) -> bytes:
        nonlocal index
        if isinstance(shown, Problem):
            return event("error", openai_document(shown))
        if shown.last and shown.answer is not None:
            return _completed(plan, shown.answer)
        if shown.step not in chosen_parts(shown.steps, order.partial_images):
            return b""
        index += 1
        return _event("partial_image", plan, shown.blob, {"partial_image_index": index - 1})

    return tell


def _completed(plan: Plan, answer: Answer) -> bytes:
    """OpenAI's ImageGenCompletedEvent, with what was used."""
    result = answer.result
    more = {**reply.about(plan, answer.steps), **reply.sample(plan.seed, result.labels[0], plan.model)}
    return _event("completed", plan, result.blobs[0], {**more, "usage": usage(plan, answer.steps)})


def _event(name: str, plan: Plan, blob: bytes, more: dict[str, Any]) -> bytes:
    kind = f"image_generation.{name}"
    about = {"type": kind, "created_at": int(time.time()), "quality": "auto", **_setting(plan)}
    return event(kind, {**about, **more, "b64_json": blob.decode()})


def _setting(plan: Plan) -> dict[str, str]:
    """What OpenAI's replies say of all images."""
    return {"background": "opaque", "output_format": plan.format, "size": size_of(plan.model)}


def usage(plan: Plan, steps: int) -> dict[str, Any]:
    """OpenAI's count of tokens. The prompt costs none; a network evaluation of one image costs one."""
    row_steps = plan.rows_per_step * steps
    return {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": row_steps,
        "output_tokens_details": {"image_tokens": row_steps, "text_tokens": 0},
        "total_tokens": row_steps,
    }


def chosen_parts(steps: int, partial_images: int) -> list[int]:
    """After which of the steps 1 to steps - 1 a stream shows a partial image: after the first, the others evenly."""
    count = min(partial_images, steps - 1)
    if count < 2:
        return [1] * count
    return [1 + round(i * (steps - 2) / (count - 1)) for i in range(count)]
