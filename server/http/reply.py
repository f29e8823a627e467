"""How results go back: headers for one image, JSON for many, an ETag for what can be asked for again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from export.runtime.manifest import exact
from server.backend.model import Model
from server.http.desk import Answer
from server.http.plan import Plan
from server.http.problem import Header
from server.jobs import Format
from server.observe.account import Source

MEDIA_TYPES: dict[Format, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npy": "application/x-npy",
    "json": "application/json",
}

_CACHE: dict[Source, bytes] = {"cache": b"hit", "joined": b"joined", "run": b"miss"}

_TIMING = b"queue;dur=%.3f, network;dur=%.3f, decode;dur=%.3f, encode;dur=%.3f, total;dur=%.3f"

_TAG = re.compile(r'"[^"]*"')
"""An entity tag, whose text may hold commas and stars."""

CACHE_CONTROL = b"max-age=3600"
"""For GET. Not `public`: a shared cache must not give one key's answer to who has none. An hour and not a year: the
same URL shows another image after another bundle took the name's place. Asking again with the ETag costs no network
evaluation."""


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


def etag(key: Hashable, deterministic: bool) -> bytes:
    """The ETag of the answer with this `Plan.key`, known before the work.

    Weak where the bits of the answer depend on its company.
    """
    strong = f'"{hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()}"'
    return (strong if deterministic else f"W/{strong}").encode()


def matches(if_none_match: str, tag: bytes) -> bool:
    """Whether an If-None-Match header names `tag` (weak comparison, RFC 9110 13.1.2)."""
    if not if_none_match:
        return False
    if if_none_match.strip() == "*":
        return True
    mine = tag.decode().removeprefix("W/")
    return mine in _TAG.findall(if_none_match)


def used(plan: Plan, answer: Answer) -> list[Header]:
    """Headers that say what was used and where the answer is from: with them the same bytes can be asked for again."""
    model, labels = plan.model, answer.result.labels
    headers = [
        (b"longjump-model", model.name.encode()),
        (b"longjump-seed", str(plan.seed).encode()),
        (b"longjump-label", ",".join(label_text(label, model) for label in labels).encode()),
        (b"longjump-steps", str(answer.steps).encode()),
        (b"longjump-guidance", exact(_guidance(plan)).encode()),
        (b"longjump-fingerprint", model.fingerprint.encode()),
        (b"longjump-cache", _CACHE[answer.source]),
    ]
    if plan.bitwise:
        headers.append((b"longjump-bitwise", b"true"))
    if plan.vary is not None:
        headers.append((b"longjump-strength", exact(plan.vary.strength).encode()))
    if plan.path is not None:
        headers.append((b"longjump-seed-to", str(plan.path.seed).encode()))
    if len(labels) == 1:
        # Percent-encoded, because a name may be any text and a header may not.
        headers.append((b"longjump-label-name", _quoted(model.manifest.label_name(labels[0]))))
    return headers


@lru_cache(1024)
def _quoted(name: str) -> bytes:
    return quote(name, safe=" ").encode()


def label_text(label: int, model: Model) -> str:
    """A label as a field's value: its index, or none.

    A name wins over an index written the same way (`Manifest.find_label`), so an index that is the name of another
    class gets zeros in front until it is nobody's name.
    """
    if label == model.manifest.null_label:
        return "none"
    text, names = str(label), model.manifest.labels
    while text in names and names[label] != text:
        text = "0" + text
    return text


def server_timing(answer: Answer, seconds: float) -> Header:
    """The Server-Timing header, in milliseconds; `seconds` in all."""
    if answer.source == "cache":
        return (b"server-timing", b"cache;desc=hit, total;dur=%.3f" % (1000 * seconds))
    stages = answer.result.stages
    numbers = (stages.queue, stages.network, stages.decode, stages.encode, seconds)
    return (b"server-timing", _TIMING % tuple(1000 * number for number in numbers))


def about(plan: Plan, steps: int) -> dict[str, Any]:
    """What all images of a JSON reply have in common."""
    strength = {} if plan.vary is None else {"strength": plan.vary.strength}
    return {
        **strength,
        **({"bitwise": True} if plan.bitwise else {}),
        "model": plan.model.name,
        "steps": steps,
        "guidance": _guidance(plan),
        "fingerprint": plan.model.fingerprint,
        "format": plan.format,
        "media_type": MEDIA_TYPES[plan.format],
    }


def sample(seed: int, label: int, model: Model) -> dict[str, Any]:
    """What a JSON reply says about one image."""
    index, name = label_of(label, model)
    return {"seed": seed, "label": index, "label_name": name}


def label_of(label: int, model: Model) -> tuple[int | str, str]:
    """(index or none, name) of a label, for JSON, where an index is a number and cannot be a name."""
    name = model.manifest.label_name(label)
    return (name if label == model.manifest.null_label else label), name


def document(plan: Plan, answer: Answer) -> bytes:
    """A JSON reply: all that was used and, for each image, its seed, label and base64 bytes; or the points."""
    common, result, path = about(plan, answer.steps), answer.result, plan.path
    if path is None:
        items = [sample(plan.seed + i, label, plan.model) for i, label in enumerate(result.labels)]
    else:
        seeds = (plan.seed, path.seed)
        common["from"], common["to"] = (sample(*end, plan.model) for end in zip(seeds, result.labels, strict=True))
        items = [{"at": i / (plan.n - 1)} for i in range(plan.n)]
    if plan.format == "json":
        # The blob is the text of the list of points already.
        return b'%s, "samples": %s, "points": %s}' % (_open(common), json.dumps(items).encode(), result.blobs[0])
    images = (b'%s, "base64": "%s"}' % (_open(item), blob) for item, blob in zip(items, result.blobs, strict=True))
    return b'%s, "images": [%s]}' % (_open(common), b", ".join(images))


def landing(plan: Plan, answer: Answer) -> bytes:
    """The JSON reply of /jump: all that was used, and z at time s."""
    assert plan.leap is not None
    label, name = label_of(answer.result.labels[0], plan.model)
    used = {
        "model": plan.model.name,
        "t": plan.leap.t,
        "s": plan.leap.s,
        "label": label,
        "label_name": name,
        "guidance": _guidance(plan),
        "fingerprint": plan.model.fingerprint,
    }
    return b'%s, "z": %s}' % (_open(used), answer.result.blobs[0])


def _guidance(plan: Plan) -> float:
    return 1.0 if plan.guidance is None else plan.guidance


def _open(members: dict[str, Any]) -> bytes:
    """A JSON object without its closing brace."""
    return json.dumps(members).encode()[:-1]
