"""Recipes: small YAML files over typed defaults."""

from __future__ import annotations

import contextlib
import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from models.build import AnyArchitecture
from trainer.augment import Augment
from trainer.objectives import Objective, methods
from trainer.precision import Precision
from trainer.recipes import SHIPPED, shipped
from trainer.schedule import Schedule
from trainer.stream import Placement

if typing.TYPE_CHECKING:
    AnyObjective = Objective
else:  # whatever lies in trainer/objectives
    AnyObjective = Annotated[typing.Union[tuple(methods().values())], Field(discriminator="method")]  # noqa: UP007


Share = Annotated[float, Field(ge=0, lt=1)]

# A flat average over the whole run has the relative standard deviation 0.289; names have three decimals.
Horizon = Annotated[float, Field(ge=0.001, lt=0.28)]


class Optimiser(Schedule):
    """How the weights move: at the rate of `Schedule`, by one of

    - `adamw`,
    - `radam`, its rectified form, which the consistency-model recipes use (arXiv 2303.01469, appendix C),
    - `muon`, which orthogonalises the update of the blocks' matrices (torch.optim.Muon, on a CPU in single precision;
      its learning rate matched to AdamW's root mean square) and gives all else to AdamW.
    """

    name: Literal["adamw", "radam", "muon"] = "adamw"
    betas: tuple[Share, Share] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    clip: PositiveFloat | None = Field(1.0, description="largest norm of the whole gradient; null: any")

    @field_validator("clip", mode="before")
    @classmethod
    def _no_switch(cls, value: object) -> object:
        """YAML 1.1 reads on and off as true and false, which would pass for numbers."""
        if isinstance(value, bool):
            raise ValueError("it must be a norm above 0, or null, which clips nothing")
        return value


class Run(BaseModel):
    """Length, batch and what is written on the way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: PositiveInt = 10_000
    batch: PositiveInt = Field(64, description="of all processes together")
    accumulate: PositiveInt = Field(1, description="pieces in which each process works through its share of a batch")
    precision: Precision = Field("fp32", description="of the forward pass with gradient; derivatives are always fp32")
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: on for CUDA devices")
    channels_last: bool = Field(False, description="memory format of a unet's convolutions; slower on CPUs")
    seed: int = Field(0, ge=0, lt=2**32)
    ema: tuple[Horizon, ...] = Field(
        (0.05, 0.1), min_length=1, description="horizons, as shares of the run; the first is the default"
    )
    log_every: PositiveInt = 50
    save_every: PositiveInt = 1000
    keep: PositiveInt = Field(2, description="newest checkpoints kept, beside the best one")
    score: int = Field(
        0,
        ge=0,
        strict=True,
        description="samples that each checkpoint is compared with held-out data by, to mark the best; 0: none",
    )
    sample_steps: tuple[PositiveInt, ...] = Field((1, 2, 4, 8), min_length=1, description="grids of the checkpoint")

    @field_validator("compile", mode="before")
    @classmethod
    def _words_of_yaml(cls, value: object) -> object:
        """YAML 1.1 reads on and off as true and false."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    def compiles(self, device: str) -> bool:
        """Whether the network is compiled on a device of this type. On a CPU it takes a C++ compiler, and minutes."""
        return self.compile == "on" or (self.compile == "auto" and device == "cuda")

    @field_validator("ema")
    @classmethod
    def _distinct(cls, ema: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{horizon:.3f}" for horizon in ema}) < len(ema):
            raise ValueError("horizons must differ in their first three decimals, which name the files")
        return ema


class Data(BaseModel):
    """How the data set is drawn from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    balance: bool = Field(False, description="every class has the same share of each epoch")
    augment: Augment = Augment()
    placement: Placement = Field("auto", description="device, host, or auto: on the device where it fits")


class Recipe(BaseModel):
    """All that decides a run, besides the data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["image", "points"]
    model: AnyArchitecture
    objective: AnyObjective
    data: Data = Data()
    optimiser: Optimiser = Optimiser()
    run: Run = Run()

    @model_validator(mode="after")
    def _coherent(self) -> Recipe:
        if (self.kind == "points") != (self.model.network == "mlp"):
            raise ValueError(f"network {self.model.network} does not take data of kind {self.kind}")
        if self.run.channels_last and self.model.network != "unet":
            raise ValueError(f"run.channels_last is for convolutions, and network {self.model.network} has none")
        if self.data.augment.on and self.kind != "image":
            raise ValueError("data.augment is for images; set data.augment.probability to 0")
        self.objective.check_model(self.model)
        for key, check in (("batch", self.objective.check_batch), ("steps", self.objective.check_steps)):
            value = getattr(self.run, key)
            try:
                check(value)
            except ValueError as error:
                raise ValueError(f"run.{key} is {value:,}: {error}") from None
        for steps in self.run.sample_steps:
            try:
                self.objective.grid(steps)
            except ValueError as error:
                raise ValueError(
                    f"run.sample_steps has {steps}, which {self.objective.method} cannot do: {error}"
                    + (
                        "; it does 1, 2, 4, ..., 128 steps, with objective.sampler={kind: flow}"
                        if self.objective.span == "dyadic"
                        else "; it jumps to the data only, so take objective.sampler={kind: renoise}"
                        if self.objective.span == "endpoint" and self.objective.sampler.kind != "renoise"
                        else f"; even steps are at most {int(1 / (1 - self.objective.t_max) + 1e-6)}"
                        if self.objective.t_max < 1 and steps > 1 / (1 - self.objective.t_max)
                        else ""
                    )
                ) from None
        return self


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `a.b=value` overrides (the value is YAML).

    Args:
        name: a shipped recipe's name, or the path of a YAML file.
        overrides: assignments, the later one wins. One that chooses another network, method or the like drops the
            recipe's settings that the new one does not have.

    Raises:
        FileNotFoundError: neither; the message names the nearest shipped one.
        ValueError: a key or a value is wrong; the message names the key, and the nearest right one.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SHIPPED / f"{name}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(name, shipped(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        if methods_there := [each.partition("/")[2] for each in shipped() if each.startswith(f"{name}/")]:
            hint = f"{name}/ has {', '.join(methods_there)}; "
        raise FileNotFoundError(f"no recipe {name!r}; {hint}'longjump train --list' shows them, or give a .yaml file")
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: a recipe is a mapping with kind, model, objective, ...")
    given: set[str] = set()
    for override in overrides:
        given.add(_assign(tree, override))
        _drop_settings_of_another(tree, override.partition("=")[0], given)
    return parse_recipe(tree, name)


def parse_recipe(tree: dict[str, Any], source: str) -> Recipe:
    """Validate a recipe that was read from `source`. Raises ValueError as `load_recipe` does."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"{source}: {'; '.join(_explain(item, tree) for item in _told(error)[:3])}") from None


def _assign(tree: dict[str, Any], override: str) -> str:
    """Assign `a.b=value` in `tree`, and return a.b. Raises ValueError where that is not possible."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ValueError(f"--set {override}: write a.b=value")
    *parents, leaf = key.split(".")
    for parent in parents:
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ValueError(f"--set {override}: {parent} is a value, not a group")
        tree = child
    try:
        tree[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError(f"--set {override}: {value!r} is not a YAML value") from None
    # YAML 1.1 reads 1e-3 as text (it wants 1.0e-3); people write the former.
    if isinstance(tree[leaf], str):
        with contextlib.suppress(ValueError):
            tree[leaf] = float(tree[leaf])
    return key


def _drop_settings_of_another(tree: dict[str, Any], key: str, given: set[str]) -> None:
    """Where `key`, just assigned, chose a member of a union (model.network=unet), drop what only other members have.

    What was `given` on the command line stays, to be refused rather than forgotten.
    """
    *parents, leaf = key.split(".")
    members: list[type[BaseModel]] = [Recipe]
    for parent in parents:
        tree = tree[parent]
        fields = [member.model_fields[parent] for member in members if parent in member.model_fields]
        members = list(dict.fromkeys(model for field in fields for model in _models(field.annotation)))
    chosen = [
        member
        for member in members
        if leaf in member.model_fields and typing.get_args(member.model_fields[leaf].annotation) == (tree[leaf],)
    ]
    if len(chosen) != 1:
        return
    of_others = {name for member in members for name in member.model_fields} - chosen[0].model_fields.keys()
    for name in of_others & tree.keys():
        full = ".".join([*parents, name])
        if not any(each == full or each.startswith(f"{full}.") for each in given):
            del tree[name]


ALSO_CALLED = {"learning_rate": "lr", "layers": "depth", "hidden": "width", "dim": "width", "max_steps": "steps"}
"""Last parts of keys that people bring along from elsewhere -> ours, where the letters do not tell."""


def _told(error: ValidationError) -> list[Any]:
    """The errors that a person made: pydantic also calls a list too short whose wrong items it has left out.

    Unknown keys come first: a typo may be why another is missing.
    """
    items = error.errors()
    inside = {item["loc"][:-1] for item in items}
    told = [item for item in items if item["type"] != "too_short" or item["loc"] not in inside]
    return sorted(told, key=lambda item: item["type"] != "extra_forbidden")


def _explain(item: Any, tree: dict[str, Any]) -> str:
    """One pydantic error as a clause that names the key, and for an unknown key the nearest right one."""
    path = _written(item["loc"], tree)
    if item["type"] == "value_error" and isinstance(item["input"], dict):  # of a group: its name, not its content
        group = ".".join(_written((*item["loc"], ""), tree)[:-1])
        message = item["msg"].removeprefix("Value error, ")
        return f"{group}: {message}" if group else message
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        keys = sorted(_keys(Recipe))
        if where in keys:
            return f"{where}: no such key with the other settings of this recipe"
        # By the last part, which may stand in another group; among equals the key of the same group is the nearest.
        written = ALSO_CALLED.get(path[-1], path[-1])
        near = difflib.get_close_matches(written, {key.rpartition(".")[2] for key in keys}, 1, cutoff=0.5)
        full = [key for key in keys if near and key.rpartition(".")[2] == near[0]]
        if "." not in where:  # without a group: the one that is least deep in groups
            full = [key for key in full if key.count(".") == min(key.count(".") for key in full)]
        nearest = difflib.get_close_matches(where, full, 1, cutoff=0)
        return f"{where}: no such key" + (f"; did you mean {nearest[0]}?" if nearest else "")
    if item["type"] == "union_tag_invalid":
        context = item["ctx"]
        key = context["discriminator"].strip("'")
        return f"{where}.{key}: {context['tag']!r} is not one of {context['expected_tags']}"
    if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: a group of settings, such as {{a: 1, b: 2}}, not {item['input']!r}"
    if item["type"] == "missing":
        return f"{where}: required"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {message}, not {item['input']!r}" if where else message


def _written(location: tuple[int | str, ...], tree: Any) -> list[str]:
    """The part of a pydantic location that a person wrote: without the names of the union members it passed through."""
    path = []
    for place, part in enumerate(location):
        if isinstance(tree, dict) and part not in tree and place < len(location) - 1:
            continue
        path.append(str(part))
        tree = tree.get(part) if isinstance(tree, dict) else None
    return path


def _keys(model: type[BaseModel], group: str = "") -> set[str]:
    """Every key that a recipe may hold, at any depth, with dots."""
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        keys.add(group + name)
        for kind in _models(field.annotation):
            keys |= _keys(kind, f"{group}{name}.")
    return keys


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) in (typing.Union, Annotated):
        return [model for part in typing.get_args(annotation) for model in _models(part)]
    return []
