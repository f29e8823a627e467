"""`make status`: runs every points recipe whole, and every image recipe briefly, and writes docs/status.md from it.

No cell of that table is typed by hand. docs/status.json keeps the figures.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.road.walk import GAUSSIAN, Walk, command, gaussian_data, walk
from trainer.oracle.fixed_points import shortcut_slope
from trainer.recipe import shipped

ROOT = Path(__file__).parents[2]
IMAGE_BRIEF = ["run.steps=20", "run.batch=8", "run.save_every=20", "model.width=48", "model.depth=2", "model.heads=2"]
TOLERANCE = 0.02
"""Of slope and offset against the closed form."""


def expected_slope(found: Walk) -> tuple[float, int]:
    """The slope that theory gives this method on the Gaussian, and at how many steps it is asked.

    A flow map is exact in one jump; flow matching is Euler's method on the exact velocity, whose product is known.
    """
    std = GAUSSIAN[1]
    return (shortcut_slope(found.finest, std), found.finest) if found.method == "flow-matching" else (std, 1)


def oracle_cell(found: Walk) -> str:
    """`slope 0.397 (0.400), offset 0.704 (0.700)` and whether both are within the tolerance."""
    expected, steps = expected_slope(found)
    measured = found.slope if steps == 1 else found.slope_finest
    assert measured is not None
    assert found.offset is not None
    good = abs(measured - expected) <= TOLERANCE and (steps > 1 or abs(found.offset - GAUSSIAN[0]) <= TOLERANCE)
    text = f"{'yes' if good else '**no**'}: slope {measured:.3f} ({expected:.3f}) at {steps} step{'s' * (steps > 1)}"
    return text + (f", offset {found.offset:.3f} ({GAUSSIAN[0]:.3f})" if steps == 1 else "")


def row(points: Walk, image: Walk) -> str:
    """One line of the table."""

    def mark(stage: str) -> str:
        kinds = [kind for kind, found in (("points", points), ("images", image)) if stage in found.reached]
        return ", ".join(kinds) or "no"

    executed = ", ".join(sorted({*points.executed_on, *image.executed_on})) or "nothing"
    return (
        f"| {points.method} | {mark('trained')} ({points.train_seconds:.0f} s) | {oracle_cell(points)} "
        f"| {mark('exported')} | {mark('served')} | {executed} |"
    )


def main() -> None:
    """Walk every recipe and write both files."""
    points: dict[str, Walk] = {}
    images: dict[str, Walk] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        gaussian = gaussian_data(folder, 100_000)
        facets = folder / "facets"
        command(
            *("data", "build", "facets", "--size", "32", "--train", "64", "--test", "16", "--out", str(facets)),
            folder=folder,
        )
        for recipe in shipped():
            print(f"longjump: {recipe}", flush=True)
            place = folder / recipe.replace("/", "-")
            place.mkdir()
            if recipe.startswith("points/"):
                found = walk(recipe, gaussian, place)
                points[found.method] = found
            else:
                found = walk(recipe, facets, place, IMAGE_BRIEF)
                images[found.method] = found
    when = datetime.now(UTC).date().isoformat()
    machine = f"{os.cpu_count()} cores of {_processor()}, {platform.system()}, Python {platform.python_version()}"
    lines = [
        "# Status",
        "",
        f"What runs, by running it: `make status` wrote this on {when} on {machine}. Do not edit.",
        "",
        "| method | trained | meets the closed form | exported | served | executed on |",
        "|---|---|---|---|---|---|",
        *(row(points[method], images[method]) for method in sorted(points)),
        "",
        f"Closed form: data N({GAUSSIAN[0]}, {GAUSSIAN[1]}^2), the recipe `points/METHOD` in full (its wall time",
        "is in brackets), measured through the exported bundle by `longjump generate` on 4,000 seeds; the value that",
        f"theory expects is in brackets; `yes` means within {TOLERANCE}. Images: a tiny network, a few steps, to",
        "show that the road holds; how good pictures are is not measured here.",
        "",
    ]
    docs = ROOT / "docs"
    docs.mkdir(exist_ok=True)
    (docs / "status.md").write_text("\n".join(lines))
    figures = {
        "date": when,
        "machine": machine,
        "points": {method: asdict(found) for method, found in points.items()},
        "images": {method: asdict(found) for method, found in images.items()},
    }
    (docs / "status.json").write_text(json.dumps(figures, indent=2) + "\n")
    print("\n".join(lines))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
