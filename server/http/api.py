"""The HTTP application: the routes, and errors for whatever goes wrong around them.

What makes pictures is an `Endpoint`, reached without a framework (`server.http.front.shortcut`), because at a few
milliseconds a picture every layer shows; the rest is FastAPI's.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from server.backend.roads import Roads
from server.errands.endpoints import Job, Jobs
from server.errands.office import Office
from server.errands.tally import JobSeries
from server.errands.webhook import Hooks
from server.http import problem
from server.http.cache import ResponseCache
from server.http.commons import Commons
from server.http.desk import Desk
from server.http.dialects import written
from server.http.docs import add_docs
from server.http.endpoint import Endpoint, Handle
from server.http.front import Application, shortcut
from server.http.generate import Generate
from server.http.inference_protocol import add_inference_protocol
from server.http.interpolate import Interpolate
from server.http.jump import Jump
from server.http.models import add_models
from server.http.once import Once
from server.http.openai import Generations
from server.http.problem import Problem
from server.http.uploads import Uploads
from server.http.variations import Variations
from server.observe.metrics import CONTENT_TYPE, Metrics
from server.playground.pages import pages
from server.version import version


def build_app(
    lines: Roads,
    metrics: Metrics,
    commons: Commons,
    *,
    max_images: int,
    cache_bytes: int,
    max_upload: int,
    playground: bool,
    hooks: Hooks,
) -> tuple[Application, FastAPI, Office]:
    """The whole application, the part of it that is FastAPI's, to which more routes may be added, and its jobs.

    `cache_bytes` bounds the response cache, `max_upload` an uploaded image (bytes); without `playground`, `/` leads to
    the documentation. `hooks` says who may be told of jobs.
    """
    cache = ResponseCache(cache_bytes, commons.cache)
    metrics.watch_cache(cache)
    desk = Desk(lines, cache, metrics)
    office = Office(commons.errands, desk, lines, max_images, hooks)
    metrics.add(JobSeries(office.tally))
    handles: dict[str, tuple[Sequence[str], Handle]] = {
        "/generate": (("GET", "POST"), Generate(desk, lines, max_images)),
        "/variations": (("POST",), Variations(desk, lines, Uploads(max_upload), max_images)),
        "/interpolate": (("GET", "POST"), Interpolate(desk, lines, max_images)),
        "/jump": (("POST",), Jump(desk, lines, max_images)),
        "/v1/images/generations": (("POST",), Generations(desk, lines, max_images)),
        "/jobs": (("POST",), Jobs(office, lines, max_images)),
    }
    api = _build_api(lines, metrics, max_images)
    endpoints: dict[tuple[str, str], Application] = {}
    for path, (methods, handle) in handles.items():
        endpoint = Endpoint(Once(handle, commons.answers), metrics)
        endpoints |= {(method, path): endpoint for method in methods}
        # For its methods in what answers the others; Starlette passes requests on to an object as they are.
        api.router.routes.append(Route(path, endpoint, methods=list(methods), include_in_schema=False))
    job = Endpoint(Job(office, lines), None)
    for path, methods in (("", ["GET", "DELETE"]), ("/result", ["GET"]), ("/events", ["GET"])):
        api.router.routes.append(Route("/jobs/{id}" + path, job, methods=methods, include_in_schema=False))
    for path, page in (pages() if playground else {"/": RedirectResponse("/docs")}).items():
        endpoints["GET", path] = page
        api.router.routes.append(Route(path, page, methods=["GET"], include_in_schema=False))
    return shortcut(endpoints, api), api, office


def _build_api(lines: Roads, metrics: Metrics, max_images: int) -> FastAPI:
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

    add_docs(api, lines, max_images)

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
