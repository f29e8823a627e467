"""POST /admin/models: serve another version of a bundle, or one more, without a request noticing.

Only there with `--bundles DIR` and an admin key. It takes the NAME of a folder in DIR, never a path; the name of the
model, by which requests choose, is the one in the bundle's manifest.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from export.runtime.manifest import check_name
from server.backend.lines import AlreadyLoading
from server.backend.roads import Road, Roads
from server.backend.supervisor import WorkerRefused
from server.http import problem
from server.http.ask import json_fields
from server.http.problem import Problem
from server.jobs import Stopped

MAX_BODY = 4096
"""Bytes of the body, which is one name."""

MAX_LISTED = 100
"""Names of bundles that an error lists at most."""

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "description": "A folder under --bundles."}},
                    "required": ["name"],
                    "additionalProperties": False,
                }
            }
        },
    }
}

_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {problem.MEDIA_TYPE: {"schema": {"type": "object"}}}}
    for status, text in (
        (400, "The body cannot be read"),
        (401, "No key, or not one of this server's"),
        (403, "Not an admin key"),
        (404, "There is no such bundle"),
        (409, "The bundle is being loaded already"),
        (413, "The body is too large"),
        (422, "Not a name, or a bundle that cannot be served; nothing has changed"),
        (503, "The server is stopping"),
    )
}


def add_admin(api: FastAPI, lines: Roads, bundles: Path) -> None:
    """Add the route to `api`. Who may use it is for `server.http.gate` to see to. ValueError without the folder."""
    if not bundles.is_dir():
        raise ValueError(f"--bundles {bundles}: there is no such folder")
    loads: set[asyncio.Task[Road]] = set()

    @api.post(
        "/admin/models",
        tags=["admin"],
        summary="Serve a bundle, in place of the one of the same name",
        openapi_extra=_BODY,
        responses=_RESPONSES,
    )
    async def load(request: Request) -> JSONResponse:
        """Its workers start and warm up first; then new requests go to it, and the old one finishes what it has.

        Answered when new requests go to it, with its entry of /v1/models. If anything fails nothing has changed.
        """
        folder = _find(bundles, await _read(request))
        # Of its own: whoever asked may hang up, and the load goes on.
        task = asyncio.get_running_loop().create_task(lines.load(folder))
        loads.add(task)
        task.add_done_callback(_forget_in(loads))
        try:
            line = await asyncio.shield(task)
        except AlreadyLoading as error:
            raise Problem(409, "already-loading", "The bundle is being loaded", str(error)) from None
        except Stopped as error:
            raise problem.not_ready(str(error)) from None
        except (WorkerRefused, ModuleNotFoundError, OSError) as error:
            detail = f"{folder.name} cannot be served, and nothing has changed: {error}"
            raise Problem(422, "bundle-refused", "The bundle cannot be served", detail) from None
        assert line.model is not None
        return JSONResponse(line.model.describe())


def _forget_in(loads: set[asyncio.Task[Road]]) -> Any:
    def forget(task: asyncio.Task[Road]) -> None:
        loads.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever asked was told, or hung up

    return forget


async def _read(request: Request) -> str:
    """The name in the body. Raises Problem (400, 413, 422)."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise problem.too_large(MAX_BODY)
    fields = json_fields(body)
    name = fields.pop("name", None)
    if fields:
        unknown = sorted(fields)[0][:80]
        raise problem.invalid([{"field": unknown, "detail": f"unknown field {unknown!r}; the only one is name"}])
    try:
        if not isinstance(name, str):
            raise ValueError('name must be the name of a folder under --bundles, such as {"name": "facets-32"}')
        return check_name(name)
    except ValueError as error:
        raise problem.invalid([{"field": "name", "detail": str(error)}]) from None


def _find(bundles: Path, name: str) -> Path:
    """The folder of a bundle. Raises Problem (404) that lists those that there are."""
    folder = bundles / name
    if not (folder / "manifest.json").is_file():
        there = sorted(path.parent.name for path in bundles.glob("*/manifest.json"))
        listed = ", ".join(there[:MAX_LISTED]) or "none"
        detail = f"there is no bundle {name!r} under --bundles; there are: {listed}"
        raise Problem(404, "bundle-not-found", "There is no such bundle", detail)
    return folder
