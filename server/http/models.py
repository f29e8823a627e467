"""/v1/models: what is served, as OpenAI's clients list and retrieve it, with more about each bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from server.backend.model import Model, names_of
from server.backend.roads import Roads
from server.http.problem import Problem

_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such model", "content": {"application/json": {"schema": {"type": "object"}}}}
}


def add_models(api: FastAPI, lines: Roads) -> None:
    """Add the routes to `api`."""

    @api.get("/v1/models", tags=["server"], summary="What is served")
    async def models() -> JSONResponse:
        """Each bundle's labels, steps, formats and fingerprint, the default first. One is there once it is ready."""
        return JSONResponse({"object": "list", "data": listed(lines.models)})

    @api.get("/v1/models/{name}", tags=["server"], summary="One bundle that is served", responses=_NOT_FOUND)
    async def model(name: str) -> JSONResponse:
        """Its entry of /v1/models."""
        return JSONResponse(find_model(lines.models, name).describe())


def listed(models: Sequence[Model]) -> list[dict[str, Any]]:
    """The entries of /v1/models. Of several versions of one name the first has the name, each other one NAME@DIGITS."""
    entries: dict[str, dict[str, Any]] = {}
    for model in models:
        name = model.version if model.name in entries else model.name
        entries[name] = {**model.describe(), "id": name}
    return list(entries.values())


def find_model(models: Sequence[Model], name: str) -> Model:
    """The model that is served under a name. Raises Problem (404) that lists those that are."""
    for model in models:
        if model.answers_to(name):
            return model
    served = ", ".join(names_of(models)) or "none yet"
    detail = f"there is no model {name[:100]!r} here; this server has {served}"
    # `errors` names the field, as other refusals of a field do.
    errors = [{"field": "model", "detail": detail}]
    raise Problem(404, "model-not-found", "There is no such model", detail, {"errors": errors})
