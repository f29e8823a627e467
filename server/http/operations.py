"""Parts of the OpenAPI document that endpoints of pictures share: fields, replies and errors, as they are served."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from server.backend.model import Model, names_of
from server.http import problem
from server.http.faults import MAX_LISTED
from server.http.reply import MEDIA_TYPES
from server.http.stream import MEDIA_TYPE as EVENTS

Schema = dict[str, Any]

ERRORS = {
    400: "The query or the body cannot be read",
    413: "The body is too large",
    415: "The body has the wrong content type",
    422: "A field is wrong; `errors` names each, its value and what would be right",
    429: "No room, or it would be too late; Retry-After says when to come back",
    500: "The request failed",
    503: "The server is not ready",
    504: "The deadline passed before the work was begun",
}

PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
        "retry_after_seconds": {"type": "number"},
        "predicted_wait_seconds": {"type": "number"},
    },
    "example": {
        "type": "urn:longjump:problem:invalid-request",
        "title": "The request cannot be served as asked",
        "status": 422,
        "detail": "n=100 is not a whole number from 1 to 64, the most images in one request",
        "errors": [{"field": "n", "value": 100, "allowed": {"min": 1, "max": 64}}],
    },
}

_HEADERS = {
    "Longjump-Model": "the name of the bundle",
    "Longjump-Seed": "the seed of the first image",
    "Longjump-Label": "each image's label, as the field `label` takes it",
    "Longjump-Label-Name": "of one image: its label's name, percent-encoded",
    "Longjump-Steps": "network evaluations per image",
    "Longjump-Guidance": "the guidance scale used",
    "Longjump-Bitwise": "true where `bitwise` was asked for and made a difference",
    "Longjump-Strength": "of /variations: how far the picture went towards noise",
    "Longjump-Seed-To": "of /interpolate: the seed of the last image",
    "Longjump-Fingerprint": "with this and all of the above, the same bytes again",
    "Longjump-Cache": "hit, joined (to an identical request in flight) or miss",
    "Server-Timing": "queue, network, decode, encode, total (ms)",
    "X-Request-Id": "names the request in the server's log",
}


@dataclass(frozen=True)
class Served:
    """What the document is about."""

    models: Sequence[Model]
    """The default one first; none while the first worker starts."""
    max_images: int

    @property
    def formats(self) -> list[str]:
        """Formats that some model has."""
        return _union(model.formats for model in self.models) or ["png", "jpeg", "webp", "npy"]

    @property
    def steps(self) -> list[int]:
        """Step counts that some model supports."""
        return sorted({steps for model in self.models for steps in model.manifest.steps})

    def examples(self) -> dict[str, Any]:
        """A value for each field of /generate that the default model takes."""
        model = self.models[0] if self.models else None
        guidance = model.manifest.guidance if model else None
        return {
            "steps": model.default_steps if model else 1,
            "seed": 7,
            "label": model.manifest.labels[0] if model and model.manifest.labels else "none",
            "guidance": guidance.default if guidance else 1,
            "format": self.formats[0],
        }


def fields_of(kind: type[BaseModel], served: Served) -> dict[str, Schema]:
    """The schema of each field that `kind` declares, narrowed to what is served."""
    fields: dict[str, Schema] = kind.model_json_schema()["properties"]
    examples = served.examples()
    for name, field in fields.items():
        field.pop("default", None)
        field.pop("title", None)
        if "anyOf" in field:
            kinds = [option for option in field.pop("anyOf") if option.get("type") != "null"]
            field.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
        if name in examples:
            field["examples"] = [examples[name]]
    narrower: dict[str, Schema] = {"format": {"enum": served.formats}, "n": {"maximum": served.max_images}}
    if served.models:
        narrower["steps"] = {"anyOf": [{"type": "integer", "enum": served.steps}, {"type": "string", "const": "auto"}]}
        narrower["model"] = {"enum": names_of(served.models)}
    scales = [model.manifest.guidance for model in served.models]
    if any(scales):  # a model without the input takes 1
        ends = [(scale.min, scale.max) if scale else (1.0, 1.0) for scale in scales]
        narrower["guidance"] = {"minimum": min(low for low, _ in ends), "maximum": max(high for _, high in ends)}
    for name in fields.keys() & narrower.keys():
        fields[name].update(narrower[name])
    labels = served.models[0].manifest.labels if served.models else []
    for name in fields.keys() & {"label", "label_to"}:
        listed = ", ".join(labels[:MAX_LISTED]) + (", ..." if len(labels) > MAX_LISTED else "")
        fields[name]["description"] += f" Labels: {listed}." if labels else ""
    return fields


def parameters(fields: Mapping[str, Schema], required: Mapping[str, Any] | None = None) -> list[Schema]:
    """Fields as query parameters. `required`: those that must be given, with an example each."""
    required = required or {}
    listed = []
    for name, field in fields.items():
        schema = {key: value for key, value in field.items() if key not in ("description", "examples")}
        parameter = {"name": name, "in": "query", "description": field.get("description", ""), "schema": schema}
        if name in required:
            parameter |= {"required": True, "example": required[name]}
        listed.append(parameter)
    return listed


def json_body(fields: Mapping[str, Schema], examples: Mapping[str, tuple[str, dict[str, Any]]]) -> Schema:
    """Fields as a JSON body. `examples`: key -> (what it shows, the body)."""
    shown = {key: {"summary": summary, "value": value} for key, (summary, value) in examples.items()}
    schema = {"type": "object", "properties": dict(fields), "additionalProperties": False}
    return {"content": {"application/json": {"schema": schema, "examples": shown}}}


def responses(
    served: Served, description: str, errors: Collection[int] = tuple(ERRORS), *, stream: bool = False
) -> Schema:
    """Replies of an endpoint of pictures: in every format that is served, as JSON, as events with `stream`; errors."""
    content: Schema = {
        MEDIA_TYPES[format]: {"schema": {"type": "string", "format": "binary"}}  # type: ignore[index]
        for format in served.formats
        if format != "json"
    }
    content["application/json"] = {"schema": {"type": "object"}}
    if stream:
        content[EVENTS] = {}
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}
    return {"200": {"description": description, "headers": headers, "content": content}, **error_responses(errors)}


def error_responses(statuses: Collection[int]) -> Schema:
    """Problem documents by status."""
    found: Schema = {}
    for status in sorted(statuses):
        content = {problem.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        found[str(status)] = {"description": ERRORS[status], "content": content}
        if status in (429, 503):
            found[str(status)]["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return found


def _union(groups: Any) -> list[str]:
    """All values in the order of their first appearance."""
    return list(dict.fromkeys(value for group in groups for value in group))
