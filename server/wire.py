"""Frames on the socket between the API process and a worker: a small header and raw blobs.

    u32 header bytes | u32 blob bytes | header (a dict in Python's marshal, "sizes" lists the blobs') | blob | blob ...

Both ends are ours, run by one Python on one machine, so there is no version and no checksum, and marshal will do: it
takes a microsecond where JSON takes ten, twice on the way of every request. Frames are told apart by their "op".

To a worker go
    job      a Job (see Job.header); the image of a variation is its one blob
    cancel   id: nobody waits for this job any more; answered by cancelled, unless its end is on its way already
    ping     answered by pong
and back come, first,
    hello    manifest, fingerprint, threads, costs (Costs.to_dict), started, startup
    refused  reason, missing (the name of a package, or null); the last frame
then
    done     id, labels, stages (see Stages), and the blobs of a Result
    part     id, step, and the one blob of a Part
    failed   id, reason
    expired  id: its deadline passed before it was begun
    cancelled  id, stage: "waiting" for its first tick, "running", or "encoding"
    pong     sent between two ticks, so it proves that the thread of the device lives; written: how many replies and
             parts had their turn so far, writing: whether there are more, so that a stuck encoder shows
each of which has "ticks": [[rows, seconds, padding], ...], those whose cost has become known since the frame before.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator, Sequence
from typing import Any

_PREFIX = struct.Struct("<II")

MAX_FRAME = 2**31
"""Bytes. A longer frame means that the ends lost step."""

Frame = tuple[dict[str, Any], list[bytes]]


def pack(header: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """One frame as bytes. ValueError if it is longer than MAX_FRAME."""
    if blobs:
        header = {**header, "sizes": [len(blob) for blob in blobs]}
    head = marshal.dumps(header)
    size = sum(map(len, blobs))
    if len(head) + size > MAX_FRAME:
        raise ValueError(f"a reply of {size} bytes is over the limit of {MAX_FRAME}; ask for fewer images at once")
    return b"".join((_PREFIX.pack(len(head), size), head, *blobs))


class Frames:
    """Cuts a byte stream back into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in `data` and yield the frames that are now complete. ValueError if the stream makes no sense."""
        self._buffer += data
        while len(self._buffer) >= _PREFIX.size:
            head_size, blob_size = _PREFIX.unpack_from(self._buffer)
            start = _PREFIX.size + head_size
            if start + blob_size > MAX_FRAME + _PREFIX.size:
                raise ValueError(f"a frame of {start + blob_size} bytes is over the limit of {MAX_FRAME}")
            if len(self._buffer) < start + blob_size:
                return
            header = marshal.loads(self._buffer[_PREFIX.size : start])
            blobs = []
            for size in header.get("sizes", ()):
                blobs.append(bytes(memoryview(self._buffer)[start : start + size]))
                start += size
            del self._buffer[:start]
            yield header, blobs
