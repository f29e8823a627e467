"""Further precisions of a bundle's graphs: fp16 and int8, each measured against fp32 before it is written.

Needs the onnx package, and no torch.
"""

from __future__ import annotations

PRECISIONS = ("fp32", "fp16", "int8")
"""What a bundle's graphs can be had in; the first is always there."""


def parse_precisions(text: str) -> tuple[str, ...]:
    """`fp32,fp16` -> ("fp32", "fp16"); ValueError that lists what there is."""
    names = tuple(name.strip() for name in text.split(","))
    if wrong := [name for name in names if name not in PRECISIONS]:
        raise ValueError(f"--precision {text}: {wrong[0]!r} is none of {', '.join(PRECISIONS)}")
    return names
