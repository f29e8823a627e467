"""How results go back: headers for one image, JSON for many, an ETag for what can be asked for again."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from server.backend.model import Model
from server.http.ask import Plan
from server.http.problem import Header
from server.jobs import Format, Layout, Result

MEDIA_TYPES: dict[Format, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
    "json": "application/json",
}

CACHE_CONTROL = b"public, max-age=3600"
"""For GET. An hour and not a year: the same URL shows another image after another bundle took the name's place. Asking
again with the ETag costs no network evaluation."""


def wants_json(accept: str, n: int, format: Format) -> bool:
    """Whether images should go into a JSON reply, by the Accept header.

    Many images do if the client names application/json and does not prefer the image; one image only if it prefers
    JSON. (`*/*`, or no header, names nothing: a grid, or the image.)
    """
    if "json" not in accept.lower():
        return False
    weights = _weights(accept.lower())
    as_json = weights.get("application/json", 0.0)
    main = MEDIA_TYPES[format].partition("/")[0]
    as_image = next((weights[media] for media in (MEDIA_TYPES[format], f"{main}/*", "*/*") if media in weights), 0.0)
    return as_json > as_image or (n > 1 and 0 < as_json == as_image)


def _weights(accept: str) -> dict[str, float]:
    """Media type -> its weight (q, 1 if not given), of a lower-case Accept header."""
    weights = {}
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        weights[media] = weight
    return weights


def etag(plan: Plan, layout: Layout, model: Model) -> bytes:
    """The ETag of an answer, known before the work: all that its bytes depend on.

    Weak where the bits of a row depend on its batch.
    """
    # Field by field: a Plan also holds its Model, with the seconds that this start of the worker took.
    fields = (plan.seed, plan.n, plan.label, plan.steps, plan.guidance, plan.format)
    text = repr((model.fingerprint, layout, fields))
    strong = f'"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"'
    return (strong if model.deterministic else f"W/{strong}").encode()


def matches(if_none_match: str, tag: bytes) -> bool:
    """Whether an If-None-Match header names `tag` (weak comparison, RFC 9110 13.1.2)."""
    mine = tag.decode().removeprefix("W/")
    return any(part.strip().removeprefix("W/") in (mine, "*") for part in if_none_match.split(","))


def used(plan: Plan, labels: list[int], model: Model) -> list[Header]:
    """Headers that say what was used: with them the same bytes can be asked for again."""
    names = [_label(label, model) for label in labels]
    headers = [
        (b"longjump-model", model.name.encode()),
        (b"longjump-seed", str(plan.seed).encode()),
        (b"longjump-label", ",".join(str(index) for index, _ in names).encode()),
        (b"longjump-steps", str(plan.steps).encode()),
        (b"longjump-guidance", f"{1.0 if plan.guidance is None else plan.guidance:.15g}".encode()),
        (b"longjump-fingerprint", model.fingerprint.encode()),
    ]
    if len(names) == 1:
        # Percent-encoded, because a name may be any text and a header may not.
        headers.append((b"longjump-label-name", quote(names[0][1], safe=" ").encode()))
    return headers


def server_timing(result: Result) -> Header:
    """The Server-Timing header, in milliseconds."""
    stages = vars(result.stages).items()
    return (b"server-timing", ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in stages).encode())


def document(plan: Plan, result: Result, model: Model) -> bytes:
    """A JSON reply: all that was used and, for each image, its seed, label and base64 bytes; or the points."""
    about: dict[str, Any] = {
        "model": model.name,
        "steps": plan.steps,
        "guidance": 1.0 if plan.guidance is None else plan.guidance,
        "fingerprint": model.fingerprint,
        "format": plan.format,
        "media_type": MEDIA_TYPES[plan.format],
    }
    items = [
        {"seed": plan.seed + i, "label": index, "label_name": name}
        for i, (index, name) in enumerate(_label(label, model) for label in result.labels)
    ]
    if plan.format == "json":
        # The blob is the text of the list of points already.
        return b'%s, "samples": %s, "points": %s}' % (_open(about), json.dumps(items).encode(), result.blobs[0])
    images = (b'%s, "base64": "%s"}' % (_open(item), blob) for item, blob in zip(items, result.blobs, strict=True))
    return b'%s, "images": [%s]}' % (_open(about), b", ".join(images))


def _open(members: dict[str, Any]) -> bytes:
    """A JSON object without its closing brace."""
    return json.dumps(members).encode()[:-1]


def _label(label: int, model: Model) -> tuple[int | str, str]:
    """(index or none, name) of a label."""
    name = model.manifest.label_name(label)
    return (name if label == model.manifest.null_label else label), name
