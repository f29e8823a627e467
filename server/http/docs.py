"""/docs and /openapi.json: what the API takes and gives, with examples that work for the model that is served.

The page is Swagger UI from files installed with the server (package fastapi-offline), so that it opens without the
internet.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from server.http import problem
from server.http.ask import Ask
from server.http.faults import MAX_LISTED
from server.http.problem import Problem
from server.http.reply import MEDIA_TYPES

if TYPE_CHECKING:
    from server.backend.lines import Lines
    from server.backend.model import Model

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}

_ABOUT = """\
One network evaluation behind an endpoint: `POST /generate` gives a picture.

    curl -X POST 'http://{host}/generate?steps=1&seed=7' -o a.png

The same fingerprint, seed, label, steps and guidance give the same bytes. Every error is a problem document (RFC
9457)."""

_ERRORS = {
    400: "The query or the body cannot be read",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A field is wrong; `errors` names each, its value and what would be right",
    429: "The queue is full; Retry-After says when to come back",
    500: "The request failed",
    503: "The server is not ready",
}


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "example": {
        "type": "urn:longjump:problem:invalid-request",
        "title": "The request cannot be served as asked",
        "status": 422,
        "detail": "n=100 is not a whole number from 1 to 64, the most images in one request",
        "errors": [{"field": "n", "value": 100, "allowed": {"min": 1, "max": 64}}],
    },
}


def add_docs(api: FastAPI, lines: Lines) -> None:
    """Add the page, its files and the document to `api`."""

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(openapi_document(api, next(iter(lines.models), None), request.url.netloc))

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="longjump",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": -1},
        )

    @api.get("/docs/{file}", include_in_schema=False)
    async def docs_file(file: str) -> FileResponse:
        if file not in _FILES:
            raise Problem(404, "not-found", "There is nothing here", f"the documentation has no file {file[:100]!r}")
        return FileResponse(_static_folder() / file, media_type=_FILES[file])


def _version() -> str:
    try:
        return importlib.metadata.version("longjump")
    except importlib.metadata.PackageNotFoundError:
        return "0 (not installed)"


@functools.cache
def _static_folder() -> Path:
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise problem.failed("the page's files are missing: pip install fastapi-offline; /openapi.json needs none")
    return Path(spec.origin).parent / "static"


def openapi_document(api: FastAPI, model: Model | None, host: str) -> dict[str, Any]:
    """The OpenAPI document for who reads it at `host`; examples are taken from `model` once it is known."""
    about = _ABOUT.format(host=host)
    document = get_openapi(title=api.title, version=_version(), description=about, routes=api.routes)
    document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM
    fields = Ask.model_json_schema()["properties"]
    for name, field in fields.items():
        field.pop("default")
        kinds = [kind for kind in field.pop("anyOf") if kind.get("type") != "null"]
        field.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
        field.pop("title")
        if name in (examples := _examples(model)):
            field["examples"] = [examples[name]]
    post, get = _operation(fields, model), _operation(fields, model)
    post["operationId"], post["summary"] = "generate", "Generate images"
    post["description"] = "Fields go into the query or into a JSON body, each once. Without a seed, one is drawn."
    post["requestBody"] = {
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": fields, "additionalProperties": False},
                "examples": {
                    "nothing": {"summary": "Everything drawn", "value": {}},
                    "one": {"summary": "One image", "value": {**_examples(model), "n": 1}},
                    "grid": {"summary": "A grid of 4, each of a class drawn from its seed", "value": {"n": 4}},
                },
            }
        }
    }
    get["operationId"], get["summary"] = "generate_again", "Generate images that can be cached"
    get["description"] = "As POST, with a seed required; the answer has an ETag, so <img src> works and caches."
    for parameter in get["parameters"]:
        if parameter["name"] == "seed":
            parameter["required"] = True
            parameter["example"] = 7
    document["paths"] = {"/generate": {"post": post, "get": get}, **document["paths"]}
    return document


def _examples(model: Model | None) -> dict[str, Any]:
    labels = model.manifest.labels if model else []
    guidance = model.manifest.guidance if model else None
    return {
        "steps": model.default_steps if model else 1,
        "seed": 7,
        "label": labels[0] if labels else "none",
        "guidance": guidance.default if guidance else 1,
        "n": 1,
        "format": model.formats[0] if model else "png",
    }


def _operation(fields: dict[str, Any], model: Model | None) -> dict[str, Any]:
    parameters = []
    for name, field in fields.items():
        schema = {key: value for key, value in field.items() if key not in ("description", "examples")}
        if name == "steps" and model:
            schema["enum"] = model.manifest.steps
        description = field["description"]
        if name == "label" and model and model.manifest.labels:
            schema = {"type": "string"}
            listed = model.manifest.labels[:MAX_LISTED]
            more = ", ..." if len(listed) < len(model.manifest.labels) else ""
            description += f" Labels: {', '.join(listed)}{more}."
        if name == "format" and model:
            schema["enum"] = list(model.formats)
        parameters.append({"name": name, "in": "query", "description": description, "schema": schema})
    formats = model.formats if model else ("png", "jpeg", "webp", "npy")
    content: dict[str, Any] = {
        MEDIA_TYPES[format]: {"schema": {"type": "string", "format": "binary"}}  # type: ignore[index]
        for format in formats
        if format != "json"
    }
    content["application/json"] = {"schema": {"type": "object"}}
    headers = {
        f"Longjump-{name}": {"description": text, "schema": {"type": "string"}}
        for name, text in (
            ("Seed", "the seed of the first image"),
            ("Label", "the index of each image's label, or none"),
            ("Steps", "network evaluations per image"),
            ("Guidance", "the guidance scale used"),
            ("Fingerprint", "with this and all of the above, the same bytes again"),
        )
    }
    headers["Server-Timing"] = {"description": "queue, network, decode, encode (ms)", "schema": {"type": "string"}}
    answer = (
        "The image; for n > 1 a grid, or by Accept: application/json every image in base64"
        if "png" in formats
        else "The points"
    )
    responses: dict[str, Any] = {"200": {"description": answer, "headers": headers, "content": content}}
    for status, text in _ERRORS.items():
        problems = {problem.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        responses[str(status)] = {"description": text, "content": problems}
    return {"tags": ["generate"], "parameters": parameters, "responses": responses}
