"""`make status`: runs every points recipe whole, and every image recipe briefly, and writes docs/status.md from it.

No cell of that table is typed by hand. docs/status.json keeps the figures, of each method with its date, so that
`make status ARGS="cd ct"` runs some methods again and leaves the rows of the others; a method without figures is
`not run`. Distillers learn from the flow matching that is trained on the same data first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.methods.expected import expected_slope
from tests.road.walk import GAUSSIAN, Walk, command, gaussian_data, walk
from tests.speed.table import processor
from trainer.objectives import methods
from trainer.recipe import load_recipe

ROOT = Path(__file__).parents[2]
FIGURES, PAGE = ROOT / "docs" / "status.json", ROOT / "docs" / "status.md"
TEACHER = "flow-matching"
IMAGE_BRIEF = [
    *("run.steps=20", "run.batch=8", "run.save_every=20", "run.score=0"),
    *("model.network=dit", "model.width=48", "model.depth=2", "model.heads=2"),
]
TOLERANCE = 0.02
"""Of slope and offset against the closed form."""


def oracle_cell(found: Walk) -> str:
    """`slope 0.397 (0.400), offset 0.704 (0.700)` and whether both are within the tolerance."""
    expected = expected_slope(found.method)
    measured = found.slope if expected.steps == 1 else found.slope_finest
    assert measured is not None
    assert found.offset is not None
    good = abs(measured - expected.value) <= TOLERANCE
    text = f"slope {measured:.3f} ({expected.value:.3f}, {expected.why})"
    if expected.steps == 1:
        good = good and abs(found.offset - GAUSSIAN[0]) <= TOLERANCE
        text += f", offset {found.offset:.3f} ({GAUSSIAN[0]:.3f})"
    return f"{'yes' if good else '**no**'}: {text}"


def row(method: str, kinds: dict[str, Walk]) -> str:
    """One line of the table; `kinds` has the walks on points and on images that there are."""
    if "points" not in kinds:
        return f"| {method} | not run | not run | not run | not run | not run |"

    def mark(stage: str) -> str:
        return ", ".join(kind for kind in sorted(kinds, reverse=True) if stage in kinds[kind].reached) or "no"

    executed = ", ".join(sorted({name for found in kinds.values() for name in found.executed_on})) or "nothing"
    points = kinds["points"]
    return (
        f"| {method} | {mark('trained')} ({points.train_seconds:.0f} s) | {oracle_cell(points)} "
        f"| {mark('exported')} | {mark('served')} | {executed} |"
    )


def page(figures: dict[str, dict[str, Any]]) -> str:
    """docs/status.md from docs/status.json."""
    walks = {method: {kind: Walk(**found) for kind, found in each["walks"].items()} for method, each in figures.items()}
    when = {f"{each['date']} on {each['machine']}" for each in figures.values()}
    return "\n".join(
        [
            "# Status",
            "",
            f"What runs, by running it: `make status` wrote this on {'; '.join(sorted(when))}. Do not edit.",
            "",
            "| method | trained | meets the closed form | exported | served | executed on |",
            "|---|---|---|---|---|---|",
            *(row(method, walks.get(method, {})) for method in sorted(methods())),
            "",
            f"Closed form: data N({GAUSSIAN[0]}, {GAUSSIAN[1]}^2), the recipe `points/METHOD` in full (its wall time,",
            "on one thread, is in brackets), measured through the exported bundle by `longjump generate` on 4,000",
            "seeds, in one step but for Euler's. In brackets is what theory expects, and of what: discrete methods",
            f"rest where their own steps lead, not at the flow's {GAUSSIAN[1]:.3f}. `yes` means within {TOLERANCE}.",
            "Distillers learn from the flow matching of the table, whose time is not in theirs. Images: a tiny",
            "network, a few steps, to show that the road holds; how good pictures are is not measured here.",
            "",
        ]
    )


def main() -> None:
    """Walk the recipes of some methods, or of all, and write both files after each."""
    parser = argparse.ArgumentParser(prog="make status", description=__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="which (default: all)")
    asked = parser.parse_args().methods or sorted(methods())
    if unknown := set(asked) - methods().keys():
        parser.error(f"no method {', '.join(sorted(unknown))}; there are {', '.join(sorted(methods()))}")
    figures: dict[str, dict[str, Any]] = {}
    if FIGURES.is_file():
        figures = {method: each for method, each in json.loads(FIGURES.read_text()).items() if method in methods()}
    machine = f"{os.cpu_count()} cores of {processor()}, {platform.system()}, Python {platform.python_version()}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        facets = folder / "facets"
        sizes = ("--size", "32", "--train", "64", "--test", "16")
        command("data", "build", "facets", *sizes, "--out", str(facets), folder=folder)
        data = {"points": gaussian_data(folder, 100_000), "images": facets}
        for method in sorted({TEACHER, *asked}, key=lambda name: (name != TEACHER, name)):
            walks = {}
            for kind in data:
                recipe = f"{'points' if kind == 'points' else 'facets'}/{method}"
                print(f"longjump: {recipe}", flush=True)
                place = folder / kind / method
                place.mkdir(parents=True)
                given = ["--threads", "1"]
                if load_recipe(recipe).objective.teacher == "required":
                    given += ["--teacher", str(folder / kind / TEACHER / "run")]
                found = walk(recipe, data[kind], place, IMAGE_BRIEF if kind == "images" else [], given)
                walks[kind] = asdict(found)
            figures[method] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine, "walks": walks}
            FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
            PAGE.write_text(page(figures))
    print(page(figures))


if __name__ == "__main__":
    main()
