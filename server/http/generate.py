"""/generate: one ASGI endpoint, without a framework between the socket and the queue.

`server.http.front` hands requests over as they came; parsing, validation, waiting and the reply are all here and in the
modules it names, because at a few milliseconds a picture every layer shows.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from server.backend.lines import Line, Lines
from server.backend.queue import QueueFull
from server.http import problem, reply
from server.http.ask import Plan, plan
from server.http.problem import Header, Problem
from server.jobs import JobFailed, Layout, Result, Stages, Stopped
from server.observe.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 65_536
"""Bytes of a request body. The fields need a few hundred."""

DISCONNECTED = 499
"""The code that metrics give a request whose client went away (nobody receives it)."""

NO_STORE: Header = (b"cache-control", b"no-store")
VARY: Header = (b"vary", b"accept")


class Disconnected(Exception):
    """The client went away."""


class Generate:
    """GET and POST /generate, as an ASGI application."""

    def __init__(self, lines: Lines, metrics: Metrics, max_images: int) -> None:
        self._lines = lines
        self._metrics = metrics
        self._max_images = max_images
        self._ids = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error becomes a problem document."""
        start = time.monotonic()
        steps: int | None = None
        stages: Stages | None = None
        code = 200
        try:
            if not self._lines.complete:  # even if some are up: the default one may not be among them
                raise problem.not_ready("a worker is still starting; /readyz tells when every one is ready")
            headers = {name: value for name, value in scope["headers"] if name in _READ}
            body = await _read_body(headers, receive) if scope["method"] == "POST" else b""
            settled = plan(
                scope["query_string"],
                body,
                self._lines.models,
                max_images=self._max_images,
                seed_required=scope["method"] != "POST",
            )
            model, steps = settled.model, settled.steps
            accept = headers.get(b"accept", b"").decode("latin-1")
            as_json = settled.format == "json" or reply.wants_json(accept, settled.n, settled.format)
            layout: Layout = "each" if as_json and settled.format != "json" else "whole"
            caching = [NO_STORE]
            if scope["method"] != "POST":
                tag = reply.etag(settled, layout, model)
                caching = [(b"etag", tag), (b"cache-control", reply.CACHE_CONTROL), VARY]
                known = headers.get(b"if-none-match")
                if known is not None and reply.matches(known.decode("latin-1"), tag):
                    code = 304
                    await _send(send, 304, caching, None)
                    return
            result = await self._run(self._lines.find(model), settled, layout, start, receive)
            stages = result.stages
            await self._answer(send, settled, result, as_json, caching)
        except Problem as refused:
            code = refused.status
            await send_problem(send, refused)
        except Disconnected:
            code = DISCONNECTED
        except Exception:
            code = 500
            traceback.print_exc()
            await send_problem(send, problem.failed("an error of the server's own; its log has the details"))
        finally:
            self._metrics.answered(steps, code, time.monotonic() - start, stages)

    async def _run(self, line: Line, settled: Plan, layout: Layout, arrival: float, receive: Receive) -> Result:
        """Queue the job and wait for its result, or for the client to go away, which frees its rows."""
        job = settled.job(next(self._ids), arrival, layout)
        try:
            waiter = await line.dispatch.submit(job)
        except QueueFull:
            raise problem.queue_full(line.queue.max_waiting, line.dispatch.retry_after()) from None
        except Stopped as error:
            raise problem.not_ready(str(error)) from None
        watch = asyncio.get_running_loop().create_task(_watch(receive, waiter))
        try:
            return await waiter
        except Stopped as error:
            raise problem.not_ready(str(error)) from None
        except JobFailed as error:
            raise problem.failed(f"the worker could not run this request: {error}") from None
        finally:
            watch.cancel()
            if not waiter.done() or waiter.cancelled() or isinstance(waiter.exception(), Disconnected):
                line.dispatch.cancel(job.id)

    async def _answer(self, send: Send, settled: Plan, result: Result, as_json: bool, caching: list[Header]) -> None:
        model = settled.model
        headers = [*reply.used(settled, result.labels, model), reply.server_timing(result), *caching]
        if as_json:
            content, media_type = reply.document(settled, result, model), "application/json"
        else:
            content, media_type = result.blobs[0], reply.MEDIA_TYPES[settled.format]
        await _send(send, 200, [(b"content-type", media_type.encode()), *headers], content)


_READ = frozenset((b"accept", b"content-type", b"content-length", b"if-none-match", b"transfer-encoding"))


async def _read_body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The JSON body of a POST, empty if it has none. Raises Problem (413, 415)."""
    length = headers.get(b"content-length")
    if (length is None or length == b"0") and b"transfer-encoding" not in headers:
        return b""
    if length is not None and int(length) > MAX_BODY:
        raise problem.too_large(MAX_BODY)
    parts = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise problem.too_large(MAX_BODY)
        more = message.get("more_body", False)
    if size:
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        media, _, parameters = content_type.lower().partition(";")
        if media.strip() != "application/json" or ("charset" in parameters and "utf-8" not in parameters):
            raise problem.unsupported_type(content_type)
    return b"".join(parts)


async def _watch(receive: Receive, waiter: asyncio.Future[Result]) -> None:
    """Wait until the client goes away, and tell who waits for its result."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not waiter.done():
        waiter.set_exception(Disconnected())


async def send_problem(send: Send, refused: Problem) -> None:
    """Answer with a problem document."""
    headers = [(b"content-type", problem.MEDIA_TYPE.encode()), NO_STORE, *refused.headers]
    await _send(send, refused.status, headers, refused.body())


async def _send(send: Send, status: int, headers: list[Header], body: bytes | None) -> None:
    """One whole response; `body` None: a status that has none."""
    if body is not None:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body or b""})
