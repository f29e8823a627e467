"""The OpenAPI operation of /v1/images/generations."""

from __future__ import annotations

from typing import Any

from server.http.ask import Ask
from server.http.openai_ask import OURS, Generation, size_of
from server.http.operations import ERRORS, Served, fields_of, json_body
from server.http.stream import MEDIA_TYPE as EVENTS

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

_IMAGE = {
    "type": "object",
    "required": ["b64_json", "seed", "label", "label_name"],
    "properties": {
        "b64_json": {"type": "string", "contentEncoding": "base64"},
        "seed": {"type": "integer"},
        "label": {"type": ["integer", "string"]},
        "label_name": {"type": "string"},
    },
}

_IMAGES = {
    "type": "object",
    "required": ["created", "data", "usage"],
    "properties": {
        "created": {"type": "integer"},
        "background": {"const": "opaque"},
        "output_format": {"type": "string"},
        "size": {"type": "string"},
        "data": {"type": "array", "items": _IMAGE},
        "usage": {"type": "object", "description": "A network evaluation of one image counts as a token."},
        "model": {"type": "string"},
        "steps": {"type": "integer"},
        "guidance": {"type": "number"},
        "fingerprint": {"type": "string"},
    },
}


def generations(served: Served) -> dict[str, Any]:
    """The operations of the path, for what is served."""
    ours = fields_of(Ask, served)
    fields = {**fields_of(Generation, served), **{name: ours[name] for name in OURS}}
    sizes = [size_of(model) for model in served.models if model.manifest.image_shape is not None]
    fields["size"]["examples"] = [*sizes[:1], "auto"]
    prompt = served.examples()["label"]
    examples = {
        "one": ("One image of a class", {"prompt": prompt}),
        "stream": ("Pictures on the way", {"prompt": prompt, "stream": True, "partial_images": 1}),
        "replay": ("The same bytes each time", {"prompt": prompt, "seed": 7, "output_format": "webp"}),
    }
    body = json_body(fields, examples)
    body["required"] = True
    body["content"]["application/json"]["schema"]["required"] = ["prompt"]
    errors = {**ERRORS, 400: "The body cannot be read, or a field is wrong", 404: "There is no such model"}
    del errors[422]
    replies: dict[str, Any] = {
        "200": {
            "description": "The images in base64; with stream, events image_generation.partial_image and .completed",
            "content": {"application/json": {"schema": _IMAGES}, EVENTS: {}},
        },
        **{
            str(status): {"description": text, "content": {"application/json": {"schema": _ERROR}}}
            for status, text in sorted(errors.items())
        },
    }
    return {
        "post": {
            "tags": ["generate"],
            "operationId": "generate_images",
            "summary": "Generate images, in OpenAI's shape",
            "description": "For OpenAI's clients: the prompt is the name of a class. Errors are in OpenAI's shape too.",
            "requestBody": body,
            "responses": replies,
        }
    }
