"""What a client asks for: fields from the query and the JSON body, checked against the model that is served.

A field may stand in the query or in the body, not in both: two values for one field are a contradiction that the
server will not settle by a rule the client does not know. JSON null means that the field is not given.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.backend.model import Model
from server.http import problem
from server.http.faults import MAX_DEADLINE_MS, SEED_BOUND, Faults, Right
from server.http.plan import Auto, Plan
from server.jobs import Format, Priority

DRAWN_SEED_BITS = 32
"""Seeds that the server draws stay short enough to read out."""

_MAX_QUERY_FIELDS = 64

_WHOLE = frozenset(("steps", "min_steps", "max_steps", "seed", "seed_to", "n", "quality", "frame_ms"))
_NUMBERS = frozenset(("guidance", "strength", "deadline_ms"))
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")

_PLAIN = re.compile(rb"(?:[\w.-]+=[\w.-]*&){0,20}[\w.-]+=[\w.-]*")
"""A query of a few fields without escapes."""


class Common(BaseModel):
    """The fields that all endpoints take, as sent. None: not given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | Literal["auto"] | None = Field(
        None,
        description="Network evaluations per image; `auto`: as many as give the best quality that is done within the "
        "deadline. Default: the fewest; for a flow-matching model, the most.",
    )
    min_steps: int | None = Field(None, ge=1, description="With steps=auto: no fewer than these.")
    max_steps: int | None = Field(None, ge=1, description="With steps=auto: no more than these.")
    seed: int | None = Field(
        None, ge=0, lt=SEED_BOUND, description="Image i uses seed + i. Default: a random one below 2^32."
    )
    # Text first: a class may be called 7, and only the manifest knows (Manifest.find_label).
    label: str | int | None = Field(
        None,
        union_mode="left_to_right",
        description="A class: index, name, or `none` for no class. Default: each image draws one from its seed.",
    )
    guidance: float | None = Field(
        None, allow_inf_nan=False, description="Guidance scale; 1 is the plain conditional model. Default: the model's."
    )
    format: Format | None = Field(None, description="Default: png for images, json for points.")
    quality: int | None = Field(None, ge=1, le=100, description="Of jpeg and webp. Default: 95 and 90.")
    model: str | None = Field(
        None,
        description="The name of the bundle, or NAME@ and the first digits of a digest for one version of it. Default: "
        "the first that is served.",
    )
    deadline_ms: float | None = Field(
        None,
        gt=0,
        le=MAX_DEADLINE_MS,
        allow_inf_nan=False,
        description="Milliseconds from the request's arrival: refused at once (429) if it cannot be done by then, "
        "dropped (504) if it was not begun by then. Default: the server's.",
    )
    priority: Priority | None = Field(
        None, description="`batch` yields to `interactive` ones, and may wait longer. Default: interactive."
    )
    bitwise: bool | None = Field(
        None,
        description="The same bytes whatever else is in the batch, of a model that does not promise it (see "
        "batch_invariant in /v1/models): its rows are evaluated in batches filled up to a fixed size. Default: false.",
    )
    on_disconnect: Literal["cancel", "finish"] | None = Field(
        None,
        description="When the client leaves: `cancel` drops the work, `finish` does it for the cache (needs a seed). "
        "Default: cancel.",
    )


class Ask(Common):
    """The fields of /generate, as sent. None: not given."""

    n: int | None = Field(None, ge=1, description="How many images. Default: 1.")
    stream: Literal["first", "every"] | None = Field(
        None,
        description="Answer with server-sent events: `first` shows the picture of the fewest steps, then the one asked "
        "for; `every` shows what each step is heading for. n must be 1. Default: no stream.",
    )


Source = tuple[dict[str, Any], bool]
"""Fields by name, and whether their types are JSON's (else all values are text)."""


@dataclass
class Asked:
    """The fields of a request that have the right type, and what is wrong so far."""

    fields: dict[str, Any]
    model: Model
    """The one that is asked for; the default one where its name is wrong."""
    max_images: int
    faults: Faults


def read(
    kind: type[BaseModel],
    sources: Iterable[Source],
    models: Sequence[Model],
    max_images: int,
    right: Mapping[str, Right] | None = None,
) -> Asked:
    """The fields of `sources` as `kind` declares them.

    `models` are those that are served, the default first; `right` tells what values of the fields that only `kind` has
    are right.
    """
    given_by = [source for source in sources if source[0]]
    model = _named(models, [given["model"] for given, _ in given_by if "model" in given])
    faults = Faults(model, max_images, models, kind.model_fields.keys(), right or {})
    fields: dict[str, Any] = {}
    for given, strict in given_by:
        for name in given.keys() & fields.keys():
            faults.add(name, given[name], f"{name} is given in both the query and the body; give it once")
        fields |= _validated(kind, given, strict, faults)
    return Asked(fields, model, max_images, faults)


def settle(asked: Asked) -> Plan:
    """The plan that the fields make.

    Raises Problem (422) that names every field that is wrong, its value, and what would be right.
    """
    fields, model, faults = asked.fields, asked.model, asked.faults
    manifest = model.manifest
    if "model" in fields and not model.answers_to(fields["model"]):
        faults.add("model", fields["model"])
    steps = _steps(asked)
    n = fields.get("n", 1)
    if n > asked.max_images:
        faults.add("n", n)
    drawn_seed = "seed" not in fields
    seed = secrets.randbits(DRAWN_SEED_BITS) if drawn_seed else fields["seed"]
    if seed + n > SEED_BOUND and n <= asked.max_images:
        faults.add("seed", seed, f"seed={seed} with n={n} would use seeds beyond {SEED_BOUND - 1}")
    format = fields.get("format", model.formats[0])
    if format not in model.formats:
        faults.add("format", format)
    quality = fields.get("quality")
    if quality is not None and format not in ("jpeg", "webp"):
        faults.add("quality", quality, f"quality={quality} is for jpeg and webp, and format is {format}; leave it out")
    label = guidance = None
    if "label" in fields:
        label = find_label(asked, "label")
    try:
        guidance = manifest.check_guidance(fields.get("guidance"))
    except ValueError:
        faults.add("guidance", fields["guidance"])
    if faults.found:
        raise problem.invalid(faults.found)
    bitwise = fields.get("bitwise", False) and not model.deterministic
    return Plan(model, seed, n, label, steps, guidance, format, quality=quality, drawn_seed=drawn_seed, bitwise=bitwise)


def find_label(asked: Asked, field: str) -> int | None:
    """The index of the label that a field names; a fault if there is none."""
    try:
        return asked.model.manifest.find_label(asked.fields[field])
    except ValueError:
        asked.faults.add_label(asked.fields[field], field)
        return None


def query_fields(query: bytes) -> dict[str, str]:
    """The fields of a raw query string. Raises Problem (400)."""
    if not query:
        return {}
    if _PLAIN.fullmatch(query):
        # The same as below; the general way costs more than all checks of the fields that follow.
        pairs = [(name, value) for name, _, value in [part.partition("=") for part in query.decode().split("&")]]
    else:
        try:
            pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS)
        except ValueError as error:
            raise problem.malformed(f"the query cannot be read: {error}") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise problem.malformed(f"the query gives {twice[:80]!r} more than once; give it once")
    return fields


def json_fields(body: bytes) -> dict[str, Any]:
    """The members of a JSON body that are not null; none of an empty one. Raises Problem (400)."""
    if not body or not body.strip():
        return {}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("an object has a member more than once")
        return members

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        # Decoded here, because `loads` would take UTF-16 and UTF-32 too, which others read otherwise (RFC 8259, 8.1).
        fields = json.loads(body.decode("utf-8-sig"), object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise problem.malformed("the body is not valid JSON: it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise problem.malformed(f"the body is not valid JSON: byte {error.start} is not UTF-8") from None
    except ValueError as error:
        # Python's own words on a number's length speak of its settings.
        why = "a number has too many digits" if "set_int_max_str_digits" in str(error) else error
        raise problem.malformed(f"the body is not valid JSON: {why}") from None
    if not isinstance(fields, dict):
        raise problem.malformed('the body must be a JSON object, such as {"seed": 7}')
    return {name: value for name, value in fields.items() if value is not None}


def _named(models: Sequence[Model], names: list[Any]) -> Model:
    """The model whose name is given; the default one where none is, for the other fields' sake."""
    if not names:
        return models[0]
    return next((model for model in models if any(map(model.answers_to, map(str, names)))), models[0])


def _validated(kind: type[BaseModel], given: dict[str, Any], strict: bool, faults: Faults) -> dict[str, Any]:
    """The fields of `given` that have the right type; the others are added to `faults`."""
    # Before pydantic, which names no field in its error if the name is broken text (a lone surrogate in JSON).
    known = faults.fields
    if not given.keys() <= known:
        for name in sorted(given.keys() - known):
            faults.add(name, given[name])
        given = {name: value for name, value in given.items() if name in known}
    if not strict and (odd := [name for name, value in given.items() if _misspelt(name, value)]):
        for name in sorted(odd):
            faults.add(name, given[name])
        given = {name: value for name, value in given.items() if name not in odd}
    try:
        ask = kind.model_validate(given, strict=True) if strict else kind.model_validate_strings(given)
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors(include_url=False, include_context=False)}
        for name in sorted(wrong):
            faults.add(name, given[name], typed=strict)
        rest = {name: value for name, value in given.items() if name not in wrong}
        return _validated(kind, rest, strict, faults) if rest else {}
    values = vars(ask)
    return {name: values[name] for name in given}


def _misspelt(name: str, value: str) -> bool:
    """Whether a number is written as Python has it, and JSON has not: 1_000, +1, 1.0 for a whole number."""
    if value.isdigit():
        return False
    if name in _WHOLE:
        return _WHOLE_NUMBER.fullmatch(value) is None and value != "auto"
    return name in _NUMBERS and ("_" in value or value != value.strip() or value.startswith("+"))


def _steps(asked: Asked) -> int | Auto:
    """The steps of a plan; what the model cannot do is a fault."""
    fields, supported = asked.fields, asked.model.manifest.steps
    steps: int | Literal["auto"] = fields.get("steps", asked.model.default_steps)
    if steps != "auto":
        if steps not in supported:
            asked.faults.add("steps", steps)
        for name in ("min_steps", "max_steps"):
            if name in fields:
                asked.faults.add(name, fields[name], f"{name} goes with steps=auto; add that or leave it out")
        return steps
    auto = Auto(fields.get("min_steps", supported[0]), fields.get("max_steps", supported[-1]))
    if not any(auto.min <= count <= auto.max for count in supported):
        name = "min_steps" if "min_steps" in fields else "max_steps"
        known = ", ".join(map(str, supported))
        detail = f"no step count from {auto.min} to {auto.max} is supported; {asked.model.name} supports {known}"
        asked.faults.add(name, fields.get(name), detail)
    return auto
