"""From a typed architecture to a flow map."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from models.dit import DiT
from models.flow_map import FlowMap, Parametrisation, Span
from models.mlp import MLP
from models.unet import UNet


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


class UNetArchitecture(Architecture):
    """See `models.unet.UNet`."""

    network: Literal["unet"] = "unet"
    channels: PositiveInt = 32
    multipliers: tuple[PositiveInt, ...] | None = Field(None, min_length=1, description="None: by the data's sides")
    blocks: PositiveInt = 2
    attention: NonNegativeInt = Field(8, description="largest side with self-attention")
    head_width: PositiveInt = 32
    dropout: float = Field(0.0, ge=0, lt=1)


AnyArchitecture = Annotated[DiTArchitecture | MLPArchitecture | UNetArchitecture, Field(discriminator="network")]


def build(
    architecture: AnyArchitecture,
    shape: tuple[int, ...],
    labels: int,
    span: Span,
    guidance: bool = False,
    augment: int = 0,
    t_max: float = 1.0,
) -> FlowMap:
    """A freshly initialised flow map.

    Args:
        architecture: network and parametrisation.
        shape: z's shape, (C, H, W) for images or (D,) for points.
        labels: number of classes.
        span: where the map may be asked (see `FlowMap`).
        guidance: whether it is told the guidance scale.
        augment: number of augmentation labels that it is told in training.
        t_max: largest time that it is trained at (see `FlowMap`).

    Raises:
        ValueError: the network cannot take data of this shape.
    """
    net: DiT | MLP | UNet
    if isinstance(architecture, MLPArchitecture):
        if len(shape) != 1:
            raise ValueError(f"network mlp needs points (D,); the data has shape {shape}; use network dit or unet")
        net = MLP(
            shape[0], labels, width=architecture.width, depth=architecture.depth, guidance=guidance, augment=augment
        )
    elif len(shape) != 3:
        network = architecture.network
        raise ValueError(f"network {network} needs images (C, H, W); the data has shape {shape}; use network mlp")
    elif isinstance(architecture, DiTArchitecture):
        net = DiT(
            (shape[0], shape[1], shape[2]),
            labels,
            patch=architecture.patch,
            width=architecture.width,
            depth=architecture.depth,
            heads=architecture.heads,
            mlp_ratio=architecture.mlp_ratio,
            guidance=guidance,
            augment=augment,
        )
    else:
        net = UNet(
            (shape[0], shape[1], shape[2]),
            labels,
            channels=architecture.channels,
            multipliers=architecture.multipliers,
            blocks=architecture.blocks,
            attention=architecture.attention,
            head_width=architecture.head_width,
            dropout=architecture.dropout,
            guidance=guidance,
            augment=augment,
        )
    return FlowMap(net, architecture.parametrisation, span, architecture.sigma_data, t_max)
