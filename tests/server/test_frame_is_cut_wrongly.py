"""A stream of frames, cut anywhere, gives the same frames; one that makes no sense is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import wire
from server.jobs import Job, Path, Vary
from server.wire import Frames, pack

from .loopback import job

blobs = st.lists(st.binary(max_size=50), max_size=4)
headers = st.dictionaries(st.text(max_size=5).filter(lambda key: key != "sizes"), st.integers(), max_size=3)


@settings(max_examples=50)
@given(frames=st.lists(st.tuples(headers, blobs), max_size=5), cuts=st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_cut(frames: list[tuple[dict[str, int], list[bytes]]], cuts: list[int]) -> None:
    stream = b"".join(pack(header, parts) for header, parts in frames)
    reader, read, at, turn = Frames(), [], 0, 0
    while at < len(stream):
        piece = stream[at : at + cuts[turn % len(cuts)]]
        read += [
            ({key: header[key] for key in header if key != "sizes"}, parts) for header, parts in reader.feed(piece)
        ]
        at, turn = at + len(piece), turn + 1
    assert read == frames


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 2**63 - 1, "n": 3, "label": None, "guidance": 2.5, "format": "webp", "layout": "each", "quality": 7},
        {"priority": "batch", "deadline": math.inf, "every_step": True},
        {"vary": Vary(0.375, bytes(range(12)))},
        {"path": Path(2**62, None), "n": 7, "layout": "animation"},
    ],
)
def test_job_survives_the_wire(fields: dict[str, Any]) -> None:
    sent = job(7, 4, **fields)
    ((header, parts),) = Frames().feed(pack(sent.header(), sent.blobs()))
    assert Job.from_frame(header, parts) == sent


def test_senseless_length_is_refused() -> None:
    with pytest.raises(ValueError, match="over the limit"):
        list(Frames().feed(b"\xff" * 8))


def test_reply_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME", 100)
    with pytest.raises(ValueError, match="ask for fewer images"):
        pack({}, [b"x" * 200])
