"""How an error is written: as a problem document, or as the clients of the path it came from expect it.

OpenAI's and the Open Inference Protocol's clients read their own shapes, also for what goes wrong before a route is
reached (no key, no such path, no room).
"""

from __future__ import annotations

import json
from typing import Any

from server.http.problem import MEDIA_TYPE, Problem

_OPENAI = ("/v1/images", "/v1/models")
_INFERENCE = "/v2"

_OPENAI_NAMES = {"label": "prompt", "format": "output_format", "quality": "output_compression"}
"""A field of ours -> what OpenAI calls it."""

_OPENAI_KINDS = {401: ("invalid_request_error", "invalid_api_key"), 429: ("rate_limit_error", "rate_limit_exceeded")}
"""Status -> OpenAI's type and code, where they are not as usual."""


def written(path: str, refused: Problem) -> tuple[int, bytes, bytes]:
    """Status, media type and body of the error on `path`."""
    if path.startswith(_OPENAI):
        return openai_status(refused), b"application/json", json.dumps(openai_document(refused)).encode() + b"\n"
    if path == _INFERENCE or path.startswith(_INFERENCE + "/"):
        return refused.status, b"application/json", json.dumps({"error": refused.detail}).encode() + b"\n"
    return refused.status, MEDIA_TYPE.encode(), refused.body()


def openai_status(refused: Problem) -> int:
    """The status in OpenAI's API, where a field that is wrong is a bad request."""
    return 400 if refused.status == 422 else refused.status


def openai_document(refused: Problem) -> dict[str, Any]:
    """OpenAI's shape of an error."""
    errors = refused.extra.get("errors") or [{}]
    field = errors[0].get("field")
    usual = "server_error" if refused.status >= 500 else "invalid_request_error"
    kind, code = _OPENAI_KINDS.get(refused.status, (usual, refused.kind.replace("-", "_")))
    return {
        "error": {
            "message": refused.detail,
            "type": kind,
            "param": _OPENAI_NAMES.get(field, field),
            "code": code,
        }
    }
