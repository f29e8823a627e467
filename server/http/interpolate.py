"""/interpolate: pictures on the way from one seed and label to another, as a grid or an animation."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from server.backend.model import Model
from server.http import problem
from server.http.ask import DRAWN_SEED_BITS, Asked, Common, Source, find_label, json_fields, query_fields, read, settle
from server.http.desk import Desk
from server.http.endpoint import Exchange
from server.http.faults import SEED_BOUND, Right
from server.http.generate import give
from server.http.operations import Served, fields_of, json_body, parameters, responses
from server.http.plan import Plan
from server.jobs import Path

if TYPE_CHECKING:
    from server.backend.roads import Roads

DEFAULT_IMAGES = 8

DEFAULT_FRAME_MS = 100

FRAME_MS = (10, 10_000)
"""The shortest and the longest that a frame may show. Browsers slow down what is shorter."""

ANIMATED = ("png", "webp")


class InterpolateAsk(Common):
    """The fields of /interpolate, as sent. None: not given."""

    seed: int | None = Field(
        None, ge=0, lt=SEED_BOUND, description="Where the way begins. Default: a random one below 2^32."
    )
    seed_to: int | None = Field(
        None, ge=0, lt=SEED_BOUND, description="Where the way ends. Default: a random one below 2^32."
    )
    label: str | int | None = Field(
        None,
        union_mode="left_to_right",
        description="The class where the way begins: index, name, or `none`. Default: drawn from seed.",
    )
    label_to: str | int | None = Field(
        None,
        union_mode="left_to_right",
        description="The class where the way ends. Default: that of `label`; if that is not given, drawn from seed_to. "
        "A way between two classes costs two network evaluations per step and image.",
    )
    n: int | None = Field(None, ge=2, description=f"How many images, both ends included. Default: {DEFAULT_IMAGES}.")
    animate: bool | None = Field(
        None, description="One animated file (format png: APNG, or webp) instead of a grid. Default: false."
    )
    frame_ms: int | None = Field(
        None,
        ge=FRAME_MS[0],
        le=FRAME_MS[1],
        description=f"Milliseconds that each frame of an animation shows. Default: {DEFAULT_FRAME_MS}.",
    )


class Interpolate:
    """GET and POST /interpolate, to be the handle of an Endpoint."""

    def __init__(self, desk: Desk, lines: Roads, max_images: int) -> None:
        self._desk = desk
        self._lines = lines
        self._max_images = max_images

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with a grid, an animation, an array, or JSON."""
        if not self._lines.complete:
            raise problem.starting()
        body: dict[str, Any] = {}
        if exchange.method == "POST":
            body = json_fields(await exchange.json_body())
        else:
            exchange.without_body()
        sources: list[Source] = [(query_fields(exchange.query), False), (body, True)]
        asked = read_path(sources, self._lines.models, self._max_images)
        plan = plan_path(asked, seeds_required=exchange.method != "POST")
        await give(exchange, self._desk, plan, exchange.visit(asked.fields))


def read_path(sources: Iterable[Source], models: Sequence[Model], max_images: int) -> Asked:
    """The fields of a query and a JSON body."""
    least, most = FRAME_MS
    right = {
        "seed_to": Right(f"a whole number from 0 to {SEED_BOUND - 1}", {"min": 0, "max": SEED_BOUND - 1}),
        "label_to": Right("a label's index, its name, or none", None),
        "n": Right(
            f"a whole number from 2 to {max_images}, the most images in one request", {"min": 2, "max": max_images}
        ),
        "animate": Right("true or false", [True, False]),
        "frame_ms": Right(f"a whole number of milliseconds from {least} to {most}", {"min": least, "max": most}),
    }
    return read(InterpolateAsk, sources, models, max_images, right)


def plan_path(asked: Asked, seeds_required: bool) -> Plan:
    """The plan that the fields make. Raises Problem (422) that names every field that is wrong."""
    fields, model, faults = asked.fields, asked.model, asked.faults
    if seeds_required:
        for name in ("seed", "seed_to"):
            if name not in fields and not faults.names(name):
                detail = f"GET /interpolate needs {name}, so that its answer can be cached; POST draws one"
                faults.add(name, None, detail)
    n = fields.get("n", min(DEFAULT_IMAGES, asked.max_images))
    if n > asked.max_images:
        faults.add("n", n)
    animate = fields.get("animate", False)
    format = fields.get("format", model.formats[0])
    if animate and format not in ANIMATED and format in model.formats:
        faults.add("format", format, f"format={format} holds no animation; give png or webp, or leave animate out")
    if "frame_ms" in fields and not animate:
        faults.add("frame_ms", fields["frame_ms"], "frame_ms goes with animate=true; add that or leave it out")
    label_to = find_label(asked, "label_to") if "label_to" in fields else None
    # Checked for one image: the seeds of a path do not count up.
    plan = settle(replace(asked, fields={name: value for name, value in fields.items() if name != "n"}))
    label = plan.label
    if not model.manifest.labels:
        label = label_to = model.manifest.null_label
    elif "label_to" not in fields:
        label_to = label
    drawn = "seed_to" not in fields
    seed_to = secrets.randbits(DRAWN_SEED_BITS) if drawn else fields["seed_to"]
    return replace(
        plan,
        n=n,
        label=label,
        drawn_seed=plan.drawn_seed or drawn,
        layout="animation" if animate else plan.layout,
        path=Path(seed_to, label_to),
        frame_ms=fields.get("frame_ms", DEFAULT_FRAME_MS),
    )


def interpolate(served: Served) -> dict[str, Any]:
    """The operations of the path, for the OpenAPI document."""
    fields = fields_of(InterpolateAsk, served)
    replies = responses(served, "A grid in reading order, an animation, or by Accept every image in base64")
    example: dict[str, Any] = {"seed": 7, "seed_to": 8, "n": min(DEFAULT_IMAGES, served.max_images)}
    examples = {"grid": ("From one seed to another", example)}
    if set(ANIMATED) & set(served.formats):
        examples["animation"] = ("The same as an animated WebP", {**example, "animate": True, "format": "webp"})
    operation = {
        "tags": ["generate"],
        "summary": "Go from one image to another",
        "parameters": parameters(fields),
        "responses": replies,
    }
    return {
        "get": {
            **operation,
            "operationId": "interpolate_again",
            "description": "As POST, with both seeds required; the answer has an ETag, so <img src> works and caches.",
            "parameters": parameters(fields, required={"seed": 7, "seed_to": 8}),
            "responses": {**replies, "304": {"description": "The client has it: If-None-Match named the ETag"}},
        },
        "post": {
            **operation,
            "operationId": "interpolate",
            "description": "The first image is what /generate gives for seed and label, the last what it gives for "
            "seed_to and label_to. Fields go into the query or into a JSON body, each once.",
            "requestBody": json_body(fields, examples),
        },
    }
