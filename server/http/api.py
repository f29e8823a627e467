"""What of the HTTP application is FastAPI's: routes beside the pictures', and errors for what goes wrong there."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from server.backend.roads import Roads
from server.http import problem
from server.http.dialects import written
from server.http.docs import Operations, add_docs
from server.http.inference_protocol import add_inference_protocol
from server.http.models import add_models
from server.http.problem import Problem
from server.observe.metrics import CONTENT_TYPE, Metrics
from server.version import version


def build_api(lines: Roads, metrics: Metrics, max_images: int, more: Operations) -> FastAPI:
    """The application without what makes pictures. `more` describes, in its documentation, what others add."""
    api = FastAPI(title="longjump", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    add_models(api, lines)
    add_inference_protocol(api, lines, version())

    @api.get("/v1/capacity", tags=["server"], summary="How much more work there is room for")
    async def capacity() -> JSONResponse:
        """For each bundle: rows per second, seconds of a tick by its rows, predicted wait, queue by class, bounds."""
        return JSONResponse({"models": [line.capacity() for line in lines.lines if line.model is not None]})

    @api.get("/livez", tags=["server"], summary="Whether the process answers", response_class=PlainTextResponse)
    async def livez() -> PlainTextResponse:
        """200 as long as the process answers at all."""
        return PlainTextResponse("ok\n")

    @api.get("/readyz", tags=["server"], summary="Whether requests should come here")
    async def readyz() -> JSONResponse:
        """200 if every bundle has a warm worker and the server is not draining, else 503."""
        if lines.draining:
            raise problem.not_ready("the server is draining: it finishes what it accepted and exits")
        if not lines.up:
            raise problem.not_ready(lines.lacking)
        startup = {model.name: {"http": lines.http_seconds, **model.startup} for model in lines.models}
        return JSONResponse({"status": "ready", "models": list(startup), "startup_seconds": startup})

    @api.get("/metrics", tags=["server"], summary="Counts and times, for Prometheus", response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        """The series are named longjump_..."""
        for line in lines.lines:
            line.dispatch.hear()
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    add_docs(api, lines, max_images, more)

    @api.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return _response(request, error)

    @api.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        return _response(request, _routing_problem(request, error))

    @api.exception_handler(Exception)
    async def on_error(request: Request, error: Exception) -> Response:
        return _response(request, problem.failed("an error of the server's own; its log has the details"))

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


def _response(request: Request, error: Problem) -> Response:
    """The error as clients of the path expect it."""
    status, media_type, body = written(request.url.path, error)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    headers |= {"content-type": media_type.decode(), "cache-control": "no-store"}
    return Response(body, status_code=status, headers=headers)
