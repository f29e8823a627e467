"""Checkpoints: a folder of config.json and safetensors; no pickle is written or read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.build import AnyArchitecture, build
from models.flow_map import FlowMap, Span

FORMAT: Literal[1] = 1


class GuidanceInput(BaseModel):
    """The scales that a network with a guidance input was trained over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float = Field(gt=0, allow_inf_nan=False)
    max: float = Field(allow_inf_nan=False)
    default: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> GuidanceInput:
        if not self.min <= self.default <= self.max:
            raise ValueError(f"guidance needs min <= default <= max, got {self.min}, {self.default}, {self.max}")
        return self


class CheckpointConfig(BaseModel):
    """config.json: all that is needed to rebuild the network and to know where it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    method: str
    kind: Literal["image", "points"]
    shape: tuple[int, ...] = Field(description="z's shape: (C, H, W) or (D,)")
    labels: tuple[str, ...] = Field(description="class names; the null label is their number")
    architecture: AnyArchitecture
    span: Span
    t_max: float = Field(1.0, gt=0, le=1)
    guidance: GuidanceInput | None = Field(None, description="None: the network does not take it")
    augment: int = Field(0, ge=0, description="augmentation labels that the network was told in training")
    grids: dict[str, list[tuple[float, float, float, float]]] = Field(description="steps -> [(t, s, a, b), ...]")
    emas: tuple[str, ...] = Field(description="horizons of the averaged weights; the first is the default")
    step: int
    origin: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="teacher, weak_teacher and init: which checkpoints they were"
    )
    recipe: dict[str, Any] = Field(description="the whole resolved recipe")
    data: dict[str, Any] = Field(description="what it was trained on: name, sha256, licence, credits")

    @model_validator(mode="after")
    def _counted(self) -> CheckpointConfig:
        for steps, grid in self.grids.items():
            if not grid or steps != str(len(grid)):
                raise ValueError(f"grids: the one called {steps[:20]!r} has {len(grid)} jumps")
        return self


def write_weights(folder: Path, name: str, state: dict[str, torch.Tensor]) -> None:
    """Save a state dict as `folder/NAME.safetensors`.

    Raises:
        OSError: the disk is full, say.
    """
    file = folder / f"{name}.safetensors"
    try:
        save_file({key: value.detach().contiguous().cpu() for key, value in state.items()}, file)
    except SafetensorError as error:  # safetensors' own class, also for a failed write
        raise OSError(f"{file}: {error}") from None
    file.chmod(folder.stat().st_mode & 0o666)  # safetensors makes it private to this user


def read_weights(file: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        OSError, ValueError: names the file.
    """
    try:
        return load_file(file, device)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: No such file; the checkpoint is not whole") from None
    except OSError as error:
        raise OSError(f"{file}: {'it is a folder' if file.is_dir() else error}") from None
    except SafetensorError as error:
        raise ValueError(f"{file}: damaged, or not a safetensors file ({error})") from None


def find_checkpoint(path: Path | str) -> Path:
    """The checkpoint folder at `path`, or the newest one in a run directory.

    Raises:
        FileNotFoundError: neither.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        return path
    steps = sorted(folder for folder in path.glob("step-*") if (folder / "config.json").is_file())
    if steps:
        return steps[-1]
    if (path / "manifest.json").is_file():
        raise FileNotFoundError(
            f"{path} is a bundle, without weights to read; give the checkpoint or the run it was exported from"
        )
    there = "" if path.exists() else "; it does not exist"
    raise FileNotFoundError(
        f"{path}: neither a checkpoint (no config.json) nor a run with step-* checkpoints in it{there}"
    )


def read_config(folder: Path) -> CheckpointConfig:
    """config.json of a checkpoint folder.

    Raises:
        ValueError: the file is not a checkpoint's config of a format that this version reads.
    """
    file = folder / "config.json"
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: not the config of a checkpoint, which is a JSON object")
    if found.get("format") != FORMAT:
        raise ValueError(
            f"{file}: checkpoint format {found.get('format')!r}, but this longjump reads {FORMAT}; "
            "use the version that wrote it, or a newer one"
        )
    try:
        return CheckpointConfig.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{file}: {where}: {reason}" if where else f"{file}: {reason}") from None


def find_weights(folder: Path, config: CheckpointConfig, ema: str | None = None) -> tuple[str, Path]:
    """Which weights of a checkpoint `ema` means, and their file.

    Args:
        ema: horizon of the averaged weights, `model` for the raw ones; the checkpoint's default when None.

    Raises:
        ValueError: there are no such; says which there are.
    """
    name = ema if ema is not None else config.emas[0] if config.emas else "model"
    if name != "model" and name not in config.emas:
        there = f"{', '.join(config.emas)} and model" if config.emas else "model only"
        raise ValueError(f"{folder}: no EMA {name!r}; it has {there}")
    return name, folder / ("model.safetensors" if name == "model" else f"ema-{name}.safetensors")


def build_for(config: CheckpointConfig) -> FlowMap:
    """A freshly initialised flow map of the kind that `config` describes. Raises as `build` does."""
    return build(
        config.architecture,
        config.shape,
        len(config.labels),
        config.span,
        guidance=config.guidance is not None,
        augment=config.augment,
        t_max=config.t_max,
    )


def load_checkpoint(path: Path | str, ema: str | None = None) -> tuple[FlowMap, CheckpointConfig]:
    """Rebuild a trained flow map, in evaluation mode on the CPU.

    Args:
        path: a checkpoint folder, or a run directory (its newest checkpoint).
        ema: which weights, as in `find_weights`.

    Raises:
        ValueError, FileNotFoundError: says which file is wrong and what was expected.
    """
    folder = find_checkpoint(path)
    config = read_config(folder)
    _, file = find_weights(folder, config, ema)
    weights = read_weights(file)
    try:
        flow_map = build_for(config)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    try:
        flow_map.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]  # torch names every weight, a line each
        raise ValueError(f"{file}: does not hold the weights that config.json describes ({reason})") from None
    return flow_map.eval(), config
