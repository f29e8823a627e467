"""The report's charts as PNG pictures, for READMEs: rendered from the same SVG, in its light colours."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from loadtest.result import replace_file

ZOOM = 2.0
"""Pixels per unit of the SVG."""


def write_pngs(charts: dict[str, str], folder: Path) -> list[Path]:
    """Write each chart as `folder`/<name>.png, and return the paths. ValueError on a machine without fonts."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, svg in charts.items():
        path = folder / f"{name}.png"
        replace_file(path, render(svg))
        paths.append(path)
    return paths


def render(svg: str) -> bytes:
    """The bytes of a PNG. ValueError on a machine without fonts: its texts would be missing without a word."""
    if not _has_fonts():
        raise ValueError(
            "PNGs need a font, and this machine has none; on Debian and Ubuntu: apt install fonts-dejavu-core"
        )
    return _rendered(standalone(svg))


def standalone(svg: str) -> str:
    """An SVG with its style inside: plain colours, since only browsers know variables."""
    package = files("loadtest.report")
    light = package.joinpath("style.css").read_text(encoding="utf-8").partition("@media")[0]
    values = dict(re.findall(r"(--[\w-]+): ([^;]+);", light))
    css = package.joinpath("chart.css").read_text(encoding="utf-8")
    css = re.sub(r"var\((--[\w-]+)\)", lambda match: values[match[1]], css)
    return svg.replace(">", f"><style>{css}</style>", 1)


@cache
def _has_fonts() -> bool:
    blank = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    letter = '<text x="2" y="16" font-family="sans-serif">X</text>'
    return _rendered(blank.format(letter)) != _rendered(blank.format(""))


def _rendered(svg: str) -> bytes:
    import resvg_py  # an extra, wanted for PNGs alone

    family = "DejaVu Sans"
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=ZOOM, background="#ffffff", sans_serif_family=family))
