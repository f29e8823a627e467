"""The HTTP application: what makes pictures, jobs, pages, and the rest.

What makes pictures is an `Endpoint`, reached without a framework (`server.http.front.shortcut`), because at a few
milliseconds a picture every layer shows; the rest is FastAPI's (`server.http.api`).
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.routing import Route

from server.backend.roads import Roads
from server.commons import Commons
from server.errands.docs import jobs
from server.errands.endpoints import Job, Jobs
from server.errands.office import Office
from server.errands.tally import JobSeries
from server.errands.webhook import Hooks
from server.http.api import build_api
from server.http.cache import ResponseCache
from server.http.desk import Desk
from server.http.endpoint import Endpoint, Handle
from server.http.front import Application, shortcut
from server.http.generate import Generate
from server.http.interpolate import Interpolate
from server.http.jump import Jump
from server.http.once import Once
from server.http.openai import Generations
from server.http.uploads import Uploads
from server.http.variations import Variations
from server.observe.metrics import Metrics
from server.playground.pages import pages


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
    api = build_api(lines, metrics, max_images, jobs)
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
