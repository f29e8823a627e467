"""A value with blobs as one string of bytes: a line of JSON with a version and the blobs' sizes, then the blobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

VERSION = 1
"""The newest that is read; each parcel says the oldest that reads it, and names that are not known are passed over."""


def pack(told: dict[str, Any], blobs: Sequence[bytes]) -> bytes:
    """The bytes, for `unpack`."""
    head = {"v": VERSION, "sizes": [len(blob) for blob in blobs], "told": told}
    return b"\n".join((json.dumps(head).encode(), b"".join(blobs)))


def unpack(parcel: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What was packed. ValueError for what needs a later version, or was cut."""
    line, _, rest = parcel.partition(b"\n")
    try:
        head = json.loads(line)
        told, sizes = head["told"], head["sizes"]
        if head["v"] > VERSION:
            raise ValueError(f"it is written in version {head['v']!r}, and this server reads up to {VERSION}")
        if sum(sizes) != len(rest):
            raise ValueError(f"it has {len(rest)} bytes and should have {sum(sizes)}")
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a parcel: {type(error).__name__}: {error}") from None
    blobs, start = [], 0
    for size in sizes:
        blobs.append(rest[start : start + size])
        start += size
    return told, blobs
