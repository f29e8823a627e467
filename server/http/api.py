"""The HTTP application: the routes, and problem documents for whatever goes wrong around them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from server.backend.lines import Lines
from server.http import problem
from server.http.docs import add_docs
from server.http.generate import Generate
from server.http.problem import Problem
from server.observe.metrics import CONTENT_TYPE, Metrics


def build_api(generate: Generate, lines: Lines, metrics: Metrics) -> FastAPI:
    """The application over its parts."""
    api = FastAPI(title="longjump", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    api.router.routes.append(
        # An object, not a function: Starlette then passes requests on as they are.
        Route("/generate", generate, methods=["GET", "POST"], include_in_schema=False)
    )

    @api.get("/v1/models", tags=["server"], summary="What is served")
    async def models() -> JSONResponse:
        """Each bundle's labels, steps, formats and fingerprint, the default first. One is there once it is ready."""
        return JSONResponse({"object": "list", "data": [model.describe() for model in lines.models]})

    @api.get("/livez", tags=["server"], summary="Whether the process answers")
    async def livez() -> PlainTextResponse:
        """200 as long as the process answers at all."""
        return PlainTextResponse("ok\n")

    @api.get("/readyz", tags=["server"], summary="Whether requests should come here")
    async def readyz() -> JSONResponse:
        """200 if every bundle has a warm worker and the server is not draining, else 503."""
        if lines.draining:
            raise problem.not_ready("the server is draining: it finishes what it accepted and exits")
        if not lines.up:
            state = "being replaced" if lines.complete else "starting"
            raise problem.not_ready(f"a worker is {state}")
        startup = {model.name: {"http": lines.http_seconds, **model.startup} for model in lines.models}
        return JSONResponse({"status": "ready", "models": list(startup), "startup_seconds": startup})

    @api.get("/metrics", tags=["server"], summary="Counts and times, for Prometheus")
    async def read_metrics() -> Response:
        """The series are named longjump_..."""
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    @api.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/docs")

    add_docs(api, lines)

    @api.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return _response(error)

    @api.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        return _response(_routing_problem(request, error))

    @api.exception_handler(Exception)
    async def on_error(request: Request, error: Exception) -> Response:
        return _response(problem.failed("an error of the server's own; its log has the details"))

    return api


def _routing_problem(request: Request, error: HTTPException) -> Problem:
    """The problem for a path or method that does not exist."""
    path = request.url.path[:100]
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    if error.status_code == 404:
        detail = f"there is nothing at {path!r}; /docs lists what there is"
        return Problem(404, "not-found", "There is nothing here", detail)
    if error.status_code == 405:
        methods = (error.headers or {}).get("Allow", "").split(", ")
        # HEAD goes to the routes as GET (`server.http.front.shortcut`), so not all of them name it.
        allowed = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
        detail = f"{path!r} does not take {request.method}; it takes {allowed}"
        headers = [(b"allow", allowed.encode())]
        return Problem(405, "method-not-allowed", "The method is not allowed", detail, headers=headers)
    return Problem(error.status_code, "http-error", "The request failed", str(error.detail), headers=headers)


def _response(error: Problem) -> Response:
    headers: dict[str, Any] = {name.decode(): value.decode() for name, value in error.headers}
    return Response(
        error.body(),
        status_code=error.status,
        media_type=problem.MEDIA_TYPE,
        headers={**headers, "cache-control": "no-store"},
    )
