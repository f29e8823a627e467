"""From a typed architecture to a flow map."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from models.dit import DiT
from models.flow_map import FlowMap, Parametrisation, Span
from models.mlp import MLP


class Architecture(BaseModel):
    """Fields that every architecture has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parametrisation: Parametrisation = "raw"
    sigma_data: PositiveFloat = Field(0.5, description="standard deviation of the data, for `edm`")


class DiTArchitecture(Architecture):
    """See `models.dit.DiT`."""

    network: Literal["dit"] = "dit"
    patch: PositiveInt = 4
    width: PositiveInt = 192
    depth: PositiveInt = 6
    heads: PositiveInt = 6
    mlp_ratio: PositiveFloat = 4.0


class MLPArchitecture(Architecture):
    """See `models.mlp.MLP`."""

    network: Literal["mlp"] = "mlp"
    width: PositiveInt = 128
    depth: PositiveInt = 3


AnyArchitecture = Annotated[DiTArchitecture | MLPArchitecture, Field(discriminator="network")]


def build(architecture: DiTArchitecture | MLPArchitecture, shape: tuple[int, ...], labels: int, span: Span) -> FlowMap:
    """A freshly initialised flow map.

    Args:
        architecture: network and parametrisation.
        shape: z's shape, (C, H, W) for images or (D,) for points.
        labels: number of classes.
        span: where the map may be asked (see `FlowMap`).

    Raises:
        ValueError: the network cannot take data of this shape.
    """
    net: DiT | MLP
    if isinstance(architecture, DiTArchitecture):
        if len(shape) != 3:
            raise ValueError(f"network dit needs images (C, H, W); the data has shape {shape}; use network mlp")
        net = DiT(
            (shape[0], shape[1], shape[2]),
            labels,
            patch=architecture.patch,
            width=architecture.width,
            depth=architecture.depth,
            heads=architecture.heads,
            mlp_ratio=architecture.mlp_ratio,
        )
    else:
        if len(shape) != 1:
            raise ValueError(f"network mlp needs points (D,); the data has shape {shape}; use network dit")
        net = MLP(shape[0], labels, width=architecture.width, depth=architecture.depth)
    return FlowMap(net, architecture.parametrisation, span, architecture.sigma_data)
