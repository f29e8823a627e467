"""POST /jump: the map itself, of a model of points. Given points go from a time t to a time s in one evaluation.

What a sampler does inside, for whoever looks at the map: the lab page, a notebook, a test.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from export.runtime.grids import check_jump
from server.backend.model import Model
from server.http import problem, reply
from server.http.ask import Asked, json_fields, read, settle
from server.http.desk import Desk
from server.http.endpoint import NO_STORE, Exchange
from server.http.faults import MAX_DEADLINE_MS, Right
from server.http.operations import Served, error_responses, fields_of, json_body
from server.http.plan import Plan
from server.jobs import Leap, Priority

if TYPE_CHECKING:
    from server.backend.roads import Roads

_SINGLE = 3.4028234663852886e38
"""The largest float32."""


class JumpAsk(BaseModel):
    """The fields of /jump, as sent. None: not given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    t: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="From here: 1 is noise, 0 is data.")
    s: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="To here, s <= t.")
    z: list[list[float]] | None = Field(
        None, min_length=1, description="The points at time t, a list of coordinates each, as float32."
    )
    # Text first: see ask.Common.
    label: str | int | None = Field(
        None,
        union_mode="left_to_right",
        description="A class: index, name, or `none` for no class. Default: none.",
    )
    guidance: float | None = Field(
        None, allow_inf_nan=False, description="Guidance scale; 1 is the plain conditional model. Default: the model's."
    )
    model: str | None = Field(None, description="The name of the bundle. Default: the first that is served.")
    deadline_ms: float | None = Field(
        None, gt=0, le=MAX_DEADLINE_MS, allow_inf_nan=False, description="As of /generate."
    )
    priority: Priority | None = Field(None, description="As of /generate.")


class Jump:
    """POST /jump, to be the handle of an Endpoint."""

    def __init__(self, desk: Desk, lines: Roads, max_images: int) -> None:
        self._desk = desk
        self._lines = lines
        self._max_images = max_images

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with JSON: what was used, and `z`, the points at time s; null for a number that is not finite."""
        if not self._lines.complete:
            raise problem.starting()
        if exchange.query:
            raise problem.malformed("/jump takes its fields from a JSON body, not from the query")
        fields = json_fields(await exchange.json_body())
        plan, asked = plan_jump(fields, self._lines.models, self._max_images)
        answer = await self._desk.answer(plan, exchange.visit(asked.fields), exchange.departures)
        exchange.account.timed = True
        timing = reply.server_timing(answer, time.monotonic() - exchange.arrival)
        headers = [(b"content-type", b"application/json"), timing, NO_STORE]
        await exchange.reply(200, headers, reply.landing(plan, answer))


def plan_jump(fields: dict[str, Any], models: Sequence[Model], max_images: int) -> tuple[Plan, Asked]:
    """The plan that the fields make, and the fields. Raises Problem (422) that names every field that is wrong."""
    from_0_to_1 = Right("a time from 0, data, to 1, noise", {"min": 0, "max": 1})
    right = {"t": from_0_to_1, "s": from_0_to_1, "z": Right("a list of points, each a list of its coordinates", None)}
    asked = read(JumpAsk, [(fields, True)], models, max_images, right)
    model, faults = asked.model, asked.faults
    manifest, given = model.manifest, asked.fields
    if given.get("model", model.name) == model.name and manifest.kind != "points":
        detail = f"{model.name} makes images; /jump is for a model of points"
        raise problem.invalid([{"field": "model", "value": model.name, "detail": detail}])
    for name in ("t", "s", "z"):
        if name not in given and not faults.names(name):
            faults.add(name, None, f"{name} is missing; /jump needs t, s and z")
    if "t" in given and "s" in given:
        try:
            check_jump(given["t"], given["s"], manifest.span, manifest.t_max)
        except ValueError as error:
            faults.add("s", given["s"], str(error))
    z = given.get("z", [])
    if "z" in given:
        _check_points(z, manifest.z_shape[0], max_images, asked)
    shared = {name: value for name, value in given.items() if name not in ("t", "s", "z")}
    plan = settle(replace(asked, fields={"label": "none", **shared}))
    flat = [value for point in z for value in point]
    leap = Leap(given["t"], given["s"], struct.pack(f"={len(flat)}f", *flat))
    return replace(plan, seed=0, drawn_seed=False, n=len(z), steps=1, format="json", leap=leap), asked


def _check_points(z: list[list[float]], dimensions: int, most: int, asked: Asked) -> None:
    faults, name = asked.faults, asked.model.name
    if len(z) > most:
        faults.add("z", None, f"z has {len(z)} points; one request takes at most {most}")
    wrong = next((point for point in z if len(point) != dimensions), None)
    if wrong is not None:
        faults.add("z", wrong, f"a point of {name} has {dimensions} coordinates, not {len(wrong)}")
    far = next((value for point in z for value in point if not (math.isfinite(value) and abs(value) <= _SINGLE)), None)
    if far is not None:
        faults.add("z", far, f"z holds {far!r}, which is no float32")


def jump(served: Served) -> dict[str, Any]:
    """The operation of the path, for the OpenAPI document."""
    fields = fields_of(JumpAsk, served)
    points = next((model for model in served.models if model.manifest.kind == "points"), None)
    dimensions = points.manifest.z_shape[0] if points is not None else 2
    example = {"t": 1, "s": 0, "z": [[0.5] * dimensions, [-1.0] * dimensions]}
    if points is not None and points is not served.models[0]:
        example["model"] = points.name
    return {
        "post": {
            "tags": ["generate"],
            "operationId": "jump",
            "summary": "Jump with given points (a model of points)",
            "description": "The map itself: z at time t goes to z at time s, in one network evaluation. A velocity "
            "model makes one Euler step. The span of the model says which pairs of times it knows.",
            "requestBody": json_body(fields, {"noise": ("From noise to data", example)}),
            "responses": {
                "200": {"description": "What was used, and z at time s", "content": {"application/json": {}}},
                **error_responses((400, 413, 415, 422, 429, 500, 503, 504)),
            },
        }
    }
