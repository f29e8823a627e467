"""The flags of `longjump serve` for who may ask and what is seen, and what stands before the endpoints by them.

Reading the command line imports none of what the flags switch on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from server.backend.roads import Roads
    from server.http.front import Application
    from server.http.gate import Closed
    from server.http.limits import Limiter, Limits
    from server.observe.logs import Log
    from server.observe.metrics import Metrics


def add_safety_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare who may ask for what, and how often."""
    group = parser.add_argument_group("who may ask")
    group.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="ask for a key of this file: see 'longjump key --help'"
    )
    group.add_argument(
        "--rate",
        metavar="RATE",
        help="requests of one client at most: N/second, N/minute, N/hour, several joined by ';' (default: no limit). "
        "A client is a key's name, or an address where no keys are asked for",
    )
    group.add_argument(
        "--cors", action="append", default=[], metavar="ORIGIN", help="let pages of this origin ask (repeat for more)"
    )
    group.add_argument(
        "--bundles",
        dest="bundle_folder",
        type=Path,
        metavar="DIR",
        help='let admin keys load the bundles in this folder: POST /admin/models {"name": NAME}',
    )


def add_sight_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is logged and traced."""
    group = parser.add_argument_group("what is seen")
    group.add_argument("--log-format", choices=("text", "json"), default="text", help="of what goes to stderr")
    group.add_argument("--log-requests", action="store_true", help="a log line for each request")
    group.add_argument(
        "--no-playground", action="store_true", help="no page for people at /, which then leads to /docs"
    )
    group.add_argument(
        "--otel", action="store_true", help="OpenTelemetry traces, sent to OTEL_EXPORTER_OTLP_ENDPOINT (extra 'otel')"
    )


def guard(
    app: Application,
    api: FastAPI,
    args: argparse.Namespace,
    lines: Roads,
    limiter: Callable[[Limits], Limiter],
    metrics: Metrics,
    log: Log,
) -> Application:
    """`app` behind all that the flags ask for; `limiter` makes what counts requests, also those of other processes.

    Raises ValueError or OSError if something that they name is wrong, ModuleNotFoundError if it is not installed.
    """
    from server.http.gate import EXPOSED, Gate

    keys = limits = None
    closed: list[Closed] = [log.request] if args.log_requests else []
    if args.api_keys is not None:
        from server.http.auth import read_keys

        keys = read_keys(args.api_keys)
    if args.bundle_folder is not None:
        if keys is None or not keys.admin:
            raise ValueError("--bundles needs --api-keys with an admin key in its file: longjump key NAME --admin")
        from server.http.admin import add_admin

        add_admin(api, lines, args.bundle_folder)
    if args.rate is not None:
        from server.http.limits import Limits

        limits = limiter(Limits(args.rate))
    if args.otel:
        from server.observe.traces import Traces

        closed.append(Traces().request)
    guarded: Application = Gate(app, metrics, keys, limits, closed)
    if args.cors:
        from starlette.middleware.cors import CORSMiddleware

        guarded = CORSMiddleware(
            guarded,
            allow_origins=args.cors,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("authorization", "cache-control", "content-type", "idempotency-key", "x-request-id"),
            expose_headers=EXPOSED,
        )
    return guarded
