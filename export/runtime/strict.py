"""What all parts of a manifest are: fixed, without unknown fields, with finite numbers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """The base of a manifest's parts."""

    # "constants": a NaN in a free field reaches the digest, which refuses it, instead of becoming null.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="constants")
