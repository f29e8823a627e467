"""FastAPI as one would write it at first: an endpoint in the thread pool, one picture at a time. Run as a script."""

from __future__ import annotations

import raw
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

args = raw.arguments()
engine = raw.warm_engine(args)
api = FastAPI()


class Body(BaseModel):
    """The fields of a request."""

    steps: int
    seed: int


@api.post("/generate")
def generate(body: Body) -> Response:
    """One picture."""
    [picture] = raw.pictures(engine, [{"steps": body.steps, "seed": body.seed}])
    return Response(picture, media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(api, host="127.0.0.1", port=args.port, log_level="error", access_log=False)
