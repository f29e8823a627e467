"""What a client asks for: fields from the query and the JSON body, checked against the model that is served.

A field may stand in the query or in the body, not in both: two values for one field are a contradiction that the
server will not settle by a rule the client does not know. JSON null means that the field is not given.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.backend.model import Model
from server.http import problem
from server.http.faults import SEED_BOUND, Faults
from server.jobs import Format, Job, Layout

DRAWN_SEED_BITS = 32
"""Seeds that the server draws stay short enough to read out."""

_MAX_QUERY_FIELDS = 64


class Ask(BaseModel):
    """The fields of /generate, as sent. None: not given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | None = Field(
        None, description="Network evaluations per image. Default: the fewest; for a flow-matching model, the most."
    )
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
    n: int | None = Field(None, ge=1, description="How many images. Default: 1.")
    format: Format | None = Field(None, description="Default: png for images, json for points.")
    model: str | None = Field(None, description="The name of the bundle. Default: the first that is served.")


@dataclass(frozen=True)
class Plan:
    """A request that can be served: every field settled."""

    model: Model
    seed: int
    n: int
    label: int | None
    steps: int
    guidance: float | None
    format: Format

    def job(self, job_id: int, arrival: float, layout: Layout) -> Job:
        """The plan as a job for the queue."""
        return Job(job_id, arrival, self.seed, self.n, self.label, self.steps, self.guidance, self.format, layout)


def plan(query: bytes, body: bytes, models: Sequence[Model], *, max_images: int, seed_required: bool) -> Plan:
    """Read the raw query string and JSON body (empty: none) and settle every field for the model that is asked for.

    `models` are those that are served, the default first.

    Raises Problem: 400 for a body or query that cannot be read, 422 that names every field that is wrong, its value,
    and what would be right.
    """
    sources = ((_query_fields(query), False), (_body_fields(body), True))
    model = _asked(models, [given["model"] for given, _ in sources if "model" in given])
    faults = Faults(model, max_images, [served.name for served in models])
    fields: dict[str, Any] = {}
    for given, strict in sources:
        if not given:
            continue
        for name in given.keys() & fields.keys():
            faults.add(name, given[name], f"{name} is given in both the query and the body; give it once")
        fields |= _validated(given, strict, faults)
    if seed_required and "seed" not in fields and not faults.names("seed"):
        faults.add("seed", None, "GET /generate needs a seed, so that its answer can be cached; POST draws one")
    settled = _settle(fields, model, max_images, faults)
    if faults.found:
        raise problem.invalid(faults.found)
    return settled


def _asked(models: Sequence[Model], names: list[Any]) -> Model:
    """The model whose name is given; the default one where none is, for the other fields' sake."""
    return next((model for model in models if model.name in names), models[0])


def _query_fields(query: bytes) -> dict[str, str]:
    if not query:
        return {}
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


def _body_fields(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            raise ValueError("an object has a member more than once")
        return members

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        fields = json.loads(body, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise problem.malformed(f"the body is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise problem.malformed('the body must be a JSON object, such as {"seed": 7}')
    return {name: value for name, value in fields.items() if value is not None}


def _validated(given: dict[str, Any], strict: bool, faults: Faults) -> dict[str, Any]:
    """The fields of `given` that have the right type; the others are added to `faults`."""
    # Before pydantic, which names no field in its error if the name is broken text (a lone surrogate in JSON).
    for name in sorted(given.keys() - Ask.model_fields.keys()):
        faults.add(name, given[name])
    given = {name: value for name, value in given.items() if name in Ask.model_fields}
    try:
        ask = Ask.model_validate(given, strict=True) if strict else Ask.model_validate_strings(given)
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors(include_url=False, include_context=False)}
        for name in sorted(wrong):
            faults.add(name, given[name])
        rest = {name: value for name, value in given.items() if name not in wrong}
        return _validated(rest, strict, faults) if rest else {}
    return {name: getattr(ask, name) for name in ask.model_fields_set}


def _settle(fields: dict[str, Any], model: Model, max_images: int, faults: Faults) -> Plan:
    """The plan that the well-typed `fields` make; what the model cannot do is added to `faults`."""
    manifest = model.manifest
    if "model" in fields and fields["model"] != model.name:
        faults.add("model", fields["model"], allowed=faults.served)
    steps = fields.get("steps", model.default_steps)
    if steps not in manifest.steps:
        faults.add("steps", steps, allowed=manifest.steps)
    n = fields.get("n", 1)
    if n > max_images:
        faults.add("n", n, allowed={"min": 1, "max": max_images})
    seed = fields["seed"] if "seed" in fields else secrets.randbits(DRAWN_SEED_BITS)
    if seed + n > SEED_BOUND and n <= max_images:
        faults.add("seed", seed, f"seed={seed} with n={n} would use seeds beyond {SEED_BOUND - 1}")
    format = fields.get("format", model.formats[0])
    if format not in model.formats:
        faults.add("format", format, allowed=list(model.formats))
    label = guidance = None
    if "label" in fields:
        try:
            label = manifest.find_label(fields["label"])
        except ValueError:
            faults.add_label(fields["label"])
    try:
        guidance = manifest.check_guidance(fields.get("guidance"))
    except ValueError:
        limits = manifest.guidance and {"min": manifest.guidance.min, "max": manifest.guidance.max}
        faults.add("guidance", fields["guidance"], allowed=limits)
    return Plan(model, seed, n, label, steps, guidance, format)
