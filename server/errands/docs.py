"""The OpenAPI operations of /jobs and what is under it."""

from __future__ import annotations

from typing import Any

from server.errands.endpoints import DEADLINE_SECONDS, JobAsk
from server.http import problem
from server.http.operations import Schema, Served, error_responses, fields_of, json_body, parameters
from server.http.stream import MEDIA_TYPE as EVENTS

_DOCUMENT: Schema = {
    "type": "object",
    "required": ["id", "state", "created", "deadline", "request", "progress", "attempts"],
    "properties": {
        "id": {"type": "string"},
        "state": {"enum": ["queued", "running", "done", "failed", "cancelled"]},
        "created": {"type": "string", "format": "date-time"},
        "deadline": {"type": "string", "format": "date-time", "description": "If it was not begun by then, it fails."},
        "ended": {"type": "string", "format": "date-time"},
        "priority": {"enum": ["batch", "interactive"]},
        "request": {"type": "object", "description": "The fields of POST /generate, the seed among them."},
        "progress": {
            "type": "object",
            "properties": {
                "images": {"type": "integer"},
                "done": {"type": "integer"},
                "ahead": {"type": "integer", "description": "Jobs that are begun before it."},
            },
        },
        "attempts": {"type": "integer"},
        "result": {"type": "object", "description": "Of one that is done: `url`, and what was used."},
        "problem": {"type": "object", "description": "Of one that failed."},
        "webhook": {"type": "object", "description": "`url`, and `state`: waiting, delivered or failed."},
    },
}

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def jobs(served: Served) -> dict[str, Any]:
    """The paths, for what is served."""
    fields = fields_of(JobAsk, served)
    del fields["on_disconnect"]
    fields["priority"]["description"] = "Default: batch, which yields to interactive requests."
    fields["deadline_ms"]["description"] = (
        f"Milliseconds from now: what was not begun by then fails. Default: {1000 * DEADLINE_SECONDS:.0f}."
    )
    examples = {"one": ("One image, when there is time", {"seed": 7}), "drawn": ("Everything drawn", {})}
    told = {"application/json": {"schema": _DOCUMENT}}
    ended = _others({404: "There is no such job of this client's"})
    return {
        "/jobs": {
            "post": {
                "tags": ["jobs"],
                "operationId": "take_in",
                "summary": "Generate images without waiting for them",
                "description": "As POST /generate, answered at once. The job's place is in Location, and what became "
                "of it is there until --job-ttl after its end. The Accept header says what the result shall be.",
                "parameters": parameters(fields),
                "requestBody": json_body(fields, examples),
                "responses": {
                    "202": {
                        "description": "Taken in",
                        "headers": {"Location": {"description": "/jobs/ID", "schema": {"type": "string"}}},
                        "content": told,
                    },
                    **error_responses((400, 413, 415, 422, 429, 503)),
                },
            }
        },
        "/jobs/{id}": {
            "get": _get("job", "What became of a job", {"200": _ok("The job as it stands", told), **ended}),
            "delete": {
                **_get("cancel", "Cancel a job", {"200": _ok("It is cancelled, or ended just before", told), **ended}),
                "description": "One that is over is forgotten, with its result.",
            },
        },
        "/jobs/{id}/result": {
            "get": _get(
                "result",
                "The result of a job",
                {
                    "200": {"description": "What POST /generate would have answered", "content": {"*/*": {}}},
                    **ended,
                    **_others({409: "It is not over", 410: "It was cancelled, or its result had to make room"}),
                    **error_responses((422, 500, 504)),
                },
            )
        },
        "/jobs/{id}/events": {
            "get": _get(
                "events",
                "What becomes of a job, as server-sent events",
                {"200": _ok("An event `job` now and at each change, the last when it is over", {EVENTS: {}}), **ended},
            )
        },
    }


def _get(operation: str, summary: str, responses: Schema) -> Schema:
    if operation == "cancel":
        responses = {**responses, "204": {"description": "It was over, and is forgotten"}}
    return {
        "tags": ["jobs"],
        "operationId": f"{operation}_of_job" if operation != "job" else operation,
        "summary": summary,
        "parameters": [_ID],
        "responses": {**responses, **error_responses((503,))},
    }


def _ok(description: str, content: Schema) -> Schema:
    return {"description": description, "content": content}


def _others(statuses: dict[int, str]) -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {problem.MEDIA_TYPE: {"schema": schema}}
    return {str(status): {"description": text, "content": content} for status, text in statuses.items()}
