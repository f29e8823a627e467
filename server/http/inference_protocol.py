"""/v2: health and metadata of the Open Inference Protocol, by which KServe and Triton's clients look at a server.

There is no /infer: pictures come from /generate. The metadata describe the jump, which is the model's graph.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from server.backend.model import Model
from server.backend.roads import Roads
from server.http.models import find_model

PLATFORM = "onnx_onnxv1"
"""The protocol's name for an ONNX graph."""


def add_inference_protocol(api: FastAPI, lines: Roads, version: str) -> None:
    """Add the routes to `api`; `version` is the server's."""

    @api.get("/v2", tags=["server"], summary="Open Inference Protocol: the server")
    async def server_metadata() -> JSONResponse:
        """Its name, version and extensions of the protocol (none)."""
        return JSONResponse({"name": "longjump", "version": version, "extensions": []})

    @api.get("/v2/health/live", tags=["server"], summary="Open Inference Protocol: as /livez")
    async def server_live() -> JSONResponse:
        """200 as long as the process answers at all."""
        return JSONResponse({"live": True})

    @api.get("/v2/health/ready", tags=["server"], summary="Open Inference Protocol: as /readyz", responses=NOT_READY)
    async def server_ready() -> JSONResponse:
        """200 if every model can be asked now, else 503."""
        ready = lines.up and not lines.draining
        # The protocol's text calls the member "live"; its servers and clients say "ready".
        return JSONResponse({"live": ready, "ready": ready}, status_code=200 if ready else 503)

    @api.get("/v2/models/{name}", tags=["server"], summary="Open Inference Protocol: a model", responses=UNKNOWN)
    async def model_metadata(name: str) -> JSONResponse:
        """Inputs and outputs of the model's graph; -1 is the batch."""
        return JSONResponse(metadata(find_model(lines.models, name)))

    @api.get(
        "/v2/models/{name}/ready",
        tags=["server"],
        summary="Open Inference Protocol: whether a model can be asked",
        responses=UNKNOWN | NOT_READY,
    )
    async def model_ready(name: str) -> JSONResponse:
        """200 if the model has a warm worker and the server is not draining, else 503."""
        line = lines.find(find_model(lines.models, name))
        ready = line.up and not lines.draining
        return JSONResponse({"name": name, "ready": ready}, status_code=200 if ready else 503)


_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"description": "There is no such model", "content": {"application/json": {"schema": _ERROR}}}
}
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not ready", "content": {"application/json": {"schema": {"type": "object"}}}}
}


def metadata(model: Model) -> dict[str, Any]:
    """The metadata of the model's graph, jump(z, t, s, label, guidance) -> z_s."""
    manifest = model.manifest
    z = [-1, *manifest.z_shape]
    inputs = [("z", "FP32", z), ("t", "FP32", [-1]), ("s", "FP32", [-1]), ("label", "INT64", [-1])]
    if manifest.guidance is not None:
        inputs.append(("guidance", "FP32", [-1]))
    return {
        "name": model.name,
        "platform": PLATFORM,
        "inputs": [_tensor(*one) for one in inputs],
        "outputs": [_tensor("z_s", "FP32", z)],
    }


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}
