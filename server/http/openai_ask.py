"""What a client of OpenAI's images API asks for: its fields, turned into those of /generate.

The prompt is a class: its name (in any case), its index, or `none`. What a request cannot mean here is refused and
named; what cannot matter (`moderation`, `style`, `user` and the like) is taken and ignored. Beside OpenAI's fields
there are some of ours (`OURS`); OpenAI's Python client sends them as `extra_body`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.backend.model import Model
from server.http import problem
from server.http.ask import Ask, read, settle
from server.http.faults import MAX_LISTED
from server.http.models import find_model
from server.http.plan import Plan
from server.http.problem import Problem

OURS = ("n", "seed", "steps", "min_steps", "max_steps", "guidance", "deadline_ms", "priority", "bitwise")
"""Fields that mean the same here and at /generate."""


class Generation(BaseModel):
    """OpenAI's fields, as sent, but for `n`. None: not given."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: str = Field(max_length=32_000, description="A class: its name, its index, or `none` for no class.")
    model: str | None = Field(None, description="The name of the bundle. Default: the first that is served.")
    size: str | None = Field(None, description="The size of the model's images, as WIDTHxHEIGHT, or `auto`.")
    response_format: Literal["b64_json"] | None = Field(None, description="Images come in the reply.")
    output_format: Literal["png", "jpeg", "webp"] | None = Field(None, description="Default: png.")
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Quality of jpeg and webp, 100 the best. Default: 95 and 90."
    )
    stream: bool | None = Field(None, description="Answer with server-sent events. n must be 1.")
    partial_images: int | None = Field(
        None,
        ge=0,
        le=3,
        description="With stream: how many pictures on the way, if there are so many steps. Default: 0.",
    )
    background: Literal["opaque", "auto"] | None = Field(None, description="Images are opaque.")
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"] | None = Field(
        None, description="Ignored; steps decides."
    )
    style: str | None = Field(None, description="Ignored.")
    moderation: str | None = Field(None, description="Ignored.")
    complexity: str | None = Field(None, description="Ignored.")
    user: str | None = Field(None, description="Ignored.")
    safety_identifier: str | None = Field(None, description="Ignored.")


_RIGHT = {
    "prompt": "text of at most 32000 characters: a class's name, its index, or none",
    "size": "the size of the model's images, as WIDTHxHEIGHT, or auto",
    "response_format": "b64_json: images come in the reply, and this server keeps no files to link to",
    "output_format": "png, jpeg or webp",
    "output_compression": "a whole number from 0 to 100",
    "stream": "true or false",
    "partial_images": "a whole number from 0 to 3",
    "background": "opaque or auto: images have no transparency",
    "quality": "low, medium, high, xhigh, max or auto",
}
"""What would be right for a field, to follow the words "it must be"; for the others, text."""


@dataclass(frozen=True)
class Order:
    """A request that can be served."""

    plan: Plan
    fields: dict[str, Any]
    """Those of /generate that the plan was made from."""
    stream: bool
    partial_images: int


def read_order(body: dict[str, Any], models: Sequence[Model], max_images: int) -> Order:
    """What the members of a JSON body ask of the models that are served, the default first.

    Raises Problem: 404 for a model that is not served; 422 that names a field, its value and what would be right.
    """
    ours = {name: body[name] for name in OURS if name in body}
    theirs = {name: value for name, value in body.items() if name not in ours}
    try:
        asked = Generation.model_validate(theirs)
    except ValidationError as error:
        raise _invalid(error, theirs) from None
    model = models[0] if asked.model is None else find_model(models, asked.model)
    if model.manifest.image_shape is None:
        raise _wrong("model", f"{model.name} makes points, not images; POST /generate serves them")
    if asked.size not in (None, "auto", right := size_of(model)):
        raise _wrong("size", f"size={_quote(asked.size)}: {model.name} makes images of {right}; give that or auto")
    stream, partial_images = bool(asked.stream), asked.partial_images or 0
    if partial_images and not stream:
        raise _wrong("partial_images", f"partial_images={partial_images} goes with stream=true; add that")
    if stream and ours.get("n", 1) != 1:
        raise _wrong("n", f"n={_quote(ours['n'])} with stream=true: a stream shows one image; leave n out")
    format = asked.output_format or "png"
    fields = {**ours, "model": model.version, "label": find_class(asked.prompt, model), "format": format}
    if asked.output_compression is not None:
        if format != "png":
            fields["quality"] = max(1, asked.output_compression)
        elif asked.output_compression < 100:
            detail = f"output_compression={asked.output_compression} is for jpeg and webp; png is lossless"
            raise _wrong("output_compression", detail)
    settled = read(Ask, [(fields, True)], models, max_images)
    return Order(settle(settled), settled.fields, stream, partial_images)


def find_class(prompt: str, model: Model) -> int | Literal["none"]:
    """The label that a prompt names, as index or none; Problem (422) that lists the names if there is no such."""
    labels, text = model.manifest.labels, prompt.strip()
    if text in labels:
        return labels.index(text)
    folded = [index for index, name in enumerate(labels) if name.casefold() == text.casefold()]
    if len(folded) == 1:
        return folded[0]
    if text.casefold() == "none":
        return "none"
    if text.isdecimal() and text.isascii() and len(text) < 10 and int(text) < len(labels):
        return int(text)
    if not labels:
        raise _wrong("prompt", f"prompt={_quote(text)}: {model.name} has no classes; the prompt must be none")
    listed = ", ".join(labels[:MAX_LISTED]) + (", ..." if len(labels) > MAX_LISTED else "")
    raise _wrong(
        "prompt",
        f"prompt={_quote(text)} is no class of {model.name}, which draws classes and does not read sentences; "
        f"the classes are {listed}; or give an index from 0 to {len(labels) - 1}, or none",
    )


def size_of(model: Model) -> str:
    """The size of the model's images, as WIDTHxHEIGHT."""
    height, width, _ = model.manifest.image_shape or (0, 0, 0)
    return f"{width}x{height}"


def _wrong(field: str, detail: str) -> Problem:
    return problem.invalid([{"field": field, "detail": detail}])


def _invalid(error: ValidationError, given: dict[str, Any]) -> Problem:
    """The problem of the first field that is unknown, missing, or of the wrong type."""
    unknown = next((name for name in given if name not in Generation.model_fields), None)
    if unknown is not None:
        known = ", ".join([*Generation.model_fields, *OURS])
        return _wrong(unknown[:80], f"{_quote(unknown)} is not supported here; the fields are {known}")
    name = str(error.errors(include_url=False, include_context=False)[0]["loc"][0])
    right = _RIGHT.get(name, "text")
    if name not in given:
        return _wrong(name, f"{name} is missing; it must be {right}")
    return _wrong(name, f"{name}={_quote(given[name])} is wrong; it must be {right}")


def _quote(value: Any) -> str:
    """A client's value as it stood in its JSON, cut if it is long."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "something too deep to repeat"
    return text if len(text) <= 80 else text[:77] + "..."
