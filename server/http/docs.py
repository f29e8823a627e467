"""/docs and /openapi.json: what the API takes and gives, with examples that work for the model that is served.

The page is Swagger UI from files installed with the server (package fastapi-offline), so that it opens without the
internet.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from server.http import problem
from server.http.ask import Ask
from server.http.interpolate import interpolate
from server.http.jump import jump
from server.http.once import LIFE_SECONDS, MAX_KEY
from server.http.openai_docs import generations
from server.http.operations import PROBLEM, Served, fields_of, json_body, parameters, responses
from server.http.problem import Problem
from server.http.variations import variations
from server.version import version

if TYPE_CHECKING:
    from server.backend.roads import Roads

Operations = Callable[[Served], dict[str, Any]]
"""Path -> its operations, for what is served."""

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": f"A text of the client's, such as a UUID. The same request with the same key within "
    f"{LIFE_SECONDS / 60:g} minutes gets the answer that was given, or that of the work that still runs, which goes on "
    "if the client leaves; another request with it is a 422. Not for streams.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}

_ABOUT = """\
One network evaluation behind an endpoint: `POST /generate` gives a picture.

    curl -X POST 'http://{host}/generate?steps=1&seed=7' -o a.png

The same fingerprint, seed, label, steps and guidance give the same bytes. Every error is a problem document (RFC
9457)."""


def add_docs(api: FastAPI, lines: Roads, max_images: int, more: Operations) -> None:
    """Add the page, its files and the document to `api`; `more` describes paths that are others'."""

    @api.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(openapi_document(api, Served(lines.models, max_images), request.url.netloc, more))

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


@functools.cache
def _static_folder() -> Path:
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise problem.failed("the page's files are missing: pip install fastapi-offline; /openapi.json needs none")
    return Path(spec.origin).parent / "static"


def openapi_document(api: FastAPI, served: Served, host: str, more: Operations) -> dict[str, Any]:
    """The OpenAPI document for who reads it at `host`; limits and examples are those of what is served."""
    about = _ABOUT.format(host=host)
    document = get_openapi(title=api.title, version=version(), description=about, routes=api.routes)
    document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    document["paths"] = {
        "/generate": _generate(served),
        "/variations": variations(served),
        "/interpolate": interpolate(served),
        "/v1/images/generations": generations(served),
        **({"/jump": jump(served)} if any(model.manifest.kind == "points" for model in served.models) else {}),
        **more(served),
        **document["paths"],
    }
    for item in document["paths"].values():
        if {"generate", "jobs"} & set(item.get("post", {}).get("tags", ())):
            item["post"]["parameters"] = [*item["post"].get("parameters", ()), _IDEMPOTENCY_KEY]
    return document


def _generate(served: Served) -> dict[str, Any]:
    """The operations of /generate."""
    fields = fields_of(Ask, served)
    points = bool(served.models) and served.models[0].manifest.kind == "points"
    answer = "The points" if points else "The image; for n > 1 a grid, or by Accept every image in base64"
    replies = responses(served, answer, stream=True)
    examples = {
        "nothing": ("Everything drawn", {}),
        "one": ("One image", {**served.examples(), "n": 1}),
        "grid": ("A grid of 4, each of a class drawn from its seed", {"n": min(4, served.max_images)}),
        "auto": ("The best quality that is done within a second", {"steps": "auto", "deadline_ms": 1000}),
        "stream": ("A first picture at once, then a better one", {"stream": "first", "steps": served.steps[-1]})
        if served.steps
        else ("A first picture at once", {"stream": "first"}),
    }
    return {
        "post": {
            "tags": ["generate"],
            "operationId": "generate",
            "summary": "Generate images",
            "description": "Fields go into the query or into a JSON body, each once. Without a seed, one is drawn.",
            "parameters": parameters(fields),
            "requestBody": json_body(fields, examples),
            "responses": replies,
        },
        "get": {
            "tags": ["generate"],
            "operationId": "generate_again",
            "summary": "Generate images that can be cached",
            "description": "As POST, with a seed required; the answer has an ETag, so <img src> works and caches.",
            "parameters": parameters(fields, required={"seed": 7}),
            "responses": {**replies, "304": {"description": "The client has it: If-None-Match named the ETag"}},
        },
    }
