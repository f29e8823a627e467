"""/variations: pictures like an uploaded one, from the same jump that makes them of noise.

The upload is noised to t = strength, and the model leads back from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from export.runtime.grids import variation_grid
from server.backend.model import Model
from server.http import problem
from server.http.ask import Asked, Common, query_fields, read, settle
from server.http.desk import Desk
from server.http.endpoint import Exchange
from server.http.faults import Right
from server.http.generate import give
from server.http.operations import Served, fields_of, parameters, responses
from server.http.plan import Plan
from server.http.uploads import FORM, MEDIA_TYPES, RULE, Uploads
from server.jobs import Vary

if TYPE_CHECKING:
    from server.backend.roads import Roads

DEFAULT_STRENGTH = 0.7
"""A picture that is clearly another one and still resembles the upload."""

DYADIC_STRENGTH = 0.5
"""The default where that is not on the model's grid."""


class VariationsAsk(Common):
    """The fields of /variations beside the image, as sent. None: not given."""

    strength: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="How far the picture goes towards noise before the model leads back: near 0 it stays as it is, at "
        f"1 nothing of it is left. Default: {DEFAULT_STRENGTH}; {DYADIC_STRENGTH} for a model of the span dyadic.",
    )
    # Text first: see Common.
    label: str | int | None = Field(
        None,
        union_mode="left_to_right",
        description="What the picture is to become: a class by index or name, or `none`. Default: none.",
    )
    n: int | None = Field(None, ge=1, description="How many variations. Default: 1.")


class Variations:
    """POST /variations, to be the handle of an Endpoint."""

    def __init__(self, desk: Desk, lines: Roads, uploads: Uploads, max_images: int) -> None:
        self._desk = desk
        self._lines = lines
        self._uploads = uploads
        self._max_images = max_images

    async def __call__(self, exchange: Exchange) -> None:
        """Answer with an image, a grid, an array, or JSON."""
        if not self._lines.complete:
            raise problem.starting()
        async with self._uploads.received(exchange) as upload:
            # What the client's network takes to send a picture does not count against the deadline.
            arrival = time.monotonic()
            sources = [query_fields(exchange.query), upload.fields]
            asked = read_variations(sources, self._lines.models, self._max_images)
            plan, strength = plan_variations(asked)
            height, width, _ = plan.model.manifest.image_shape or (0, 0, 0)
            pixels = await self._uploads.pixels(upload.image, width, height)
        plan = replace(plan, vary=Vary(strength, pixels))
        await give(exchange, self._desk, plan, replace(exchange.visit(asked.fields), arrival=arrival))


def read_variations(sources: Iterable[dict[str, str]], models: Sequence[Model], max_images: int) -> Asked:
    """The fields of a query and a form."""
    right = {"strength": Right("a number above 0 and up to 1", {"exclusive_min": 0, "max": 1})}
    return read(VariationsAsk, [(source, False) for source in sources], models, max_images, right)


def plan_variations(asked: Asked) -> tuple[Plan, float]:
    """The plan that the fields make, still without its `vary`, and the strength.

    Raises Problem (422): for fields that are wrong, a model that cannot take an image, and a strength or number of
    steps that its span forbids.
    """
    model, faults = asked.model, asked.faults
    named = model.answers_to(asked.fields.get("model", model.name))
    if named and (why := why_not(model)) is not None:
        raise problem.invalid([{"field": "model", "value": model.name, "detail": why}])
    # A class drawn by chance, as /generate has it, would pull the picture away from what it shows.
    plan = settle(replace(asked, fields={"label": "none", **asked.fields}))
    span, t_max = model.manifest.span, model.manifest.t_max
    default = DYADIC_STRENGTH if span == "dyadic" else min(DEFAULT_STRENGTH, t_max)
    strength = asked.fields.get("strength", default)
    for steps in plan.choices():
        try:
            variation_grid(span, t_max, strength, steps)
        except ValueError as error:
            faults.add("strength", strength, str(error))
            raise problem.invalid(faults.found) from None
    return plan, strength


def why_not(model: Model) -> str | None:
    """Why a model cannot vary an uploaded image; None if it can."""
    manifest = model.manifest
    if manifest.kind != "image":
        return f"{model.name} makes points, so it has no use for an image; variations need a model of images"
    if not (manifest.pixels or manifest.encodes):
        return (
            f"{model.name} works on a latent of shape {list(manifest.z_shape)} and its bundle has no encoder, so an "
            "image cannot be brought there; variations need an encoder, or a model of pixels"
        )
    return None


def variations(served: Served) -> dict[str, Any]:
    """The operations of the path, for the OpenAPI document."""
    fields = fields_of(VariationsAsk, served)
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "properties": {"image": {**file, "description": "PNG, JPEG or WebP"}, **fields},
        "required": ["image"],
        "additionalProperties": False,
    }
    return {
        "post": {
            "tags": ["generate"],
            "operationId": "variations",
            "summary": "Vary an image",
            "description": "The image is the body, with the fields in the query; or it is the field `image` of a form, "
            f"whose other fields are these. {RULE} Without a seed, one is drawn. No label means no class: name the "
            "picture's class if the model knows it.",
            "parameters": parameters(fields),
            "requestBody": {
                "required": True,
                "content": {FORM: {"schema": form}, **{media: {"schema": file} for media in MEDIA_TYPES}},
            },
            "responses": responses(served, "The image; for n > 1 a grid, or by Accept every image in base64"),
        }
    }
