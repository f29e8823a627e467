"""`make methods-table`: trains every method on data with a known answer and writes docs/methods.md from what came out.

A result is kept in runs/methods under what decides it (code, recipe, data, teacher), so a table that was cut off goes
on where it was, and a change of code asks only for what it touches. What was not run says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.methods.cells import Cell, run_all
from tests.methods.code import ROOT
from tests.methods.expected import ASKED, expected_slope
from tests.methods.measure import STEPS
from tests.methods.problems import GAUSSIAN, MIXTURES, PLANE, PROBLEMS
from tests.speed.table import BEGIN, END, processor
from tests.speed.table import PAGE as TRAINING
from trainer.objectives import methods

PAGE = ROOT / "docs" / "methods.md"
NOT_RUN = "not run"
ORDER = (
    "flow-matching", "cd", "ct", "ict", "ect", "sct", "scd", "ctm", "shortcut", "ayf-emd", "ayf-lmd", "meanflow", "imf",
    "alpha-flow", "split-meanflow",
)  # fmt: skip
"""As the literature came to them; others follow."""


def names() -> list[str]:
    """All methods."""
    found = methods()
    return sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def lines_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *rows)]


def gaussian_cell(method: str) -> list[str]:
    """Slope and offset, expected and measured."""
    expected = expected_slope(method)
    found = Cell(method, GAUSSIAN.name).result()
    theory = f"{expected.value:.3f} ({expected.why})"
    if found is None:
        return [theory, NOT_RUN, NOT_RUN]
    row = found["steps"][str(expected.steps)]
    return [theory, f"{row['slope']:.3f}", f"{row['offset']:.3f}"]


def mixture_cells(method: str) -> list[str]:
    """RMS of the one-step map on each mixture, the worst beside what is asked, and what training took."""
    found = [Cell(method, problem.name).result() for problem in MIXTURES]
    cells = [NOT_RUN if each is None else percent(each["steps"]["1"].get("map")) for each in found]
    errors = [each["steps"]["1"]["map"] for each in found if each is not None]
    asked = ASKED.get(method)
    verdict = "" if asked is None else f"{100 * asked:.0f} %"
    if asked is not None and len(errors) == len(MIXTURES):
        verdict += ", met" if max(errors) <= asked else f", **not met on {sum(error > asked for error in errors)}**"
    took = [each["seconds"] for each in found if each is not None]
    return [*cells, verdict or "no one-step map", f"{statistics.median(took):.0f} s" if took else NOT_RUN]


def further_steps(method: str) -> list[str]:
    """Distance of the distribution from the truth's at each number of steps, the median over the mixtures."""
    found = [result for problem in MIXTURES if (result := Cell(method, problem.name).result()) is not None]
    return [percent(_median(found, str(steps), "distribution")) for steps in STEPS] if found else [NOT_RUN] * len(STEPS)


def plane_cells(method: str, problem: str) -> list[str]:
    """Energy distance as multiples of the floor at each number of steps; the one-step map against the exact one."""
    found = Cell(method, problem).result()
    if found is None:
        return [NOT_RUN] * (len(STEPS) + 1)
    rows = found["steps"]
    cells = [
        f"{rows[str(steps)]['energy'] / rows[str(steps)]['floor']:.1f}" if str(steps) in rows else "" for steps in STEPS
    ]
    return [*cells, percent(rows["1"].get("map"))]


def percent(value: float | None) -> str:
    """3.2 %."""
    return "" if value is None else f"{100 * value:.1f} %"


def _median(found: Sequence[dict[str, Any]], steps: str, key: str) -> float | None:
    values = [each["steps"][steps][key] for each in found if steps in each["steps"]]
    return statistics.median(values) if values else None


def page() -> str:
    """docs/methods.md from the results that there are."""
    results = [result for cell in wanted(names(), list(PROBLEMS)) if (result := cell.result()) is not None]
    dates = sorted({result["date"] for result in results})
    when = f"from {dates[0]} to {dates[-1]}" if len(dates) > 1 else f"on {dates[0]}" if dates else "on no day yet"
    steps = [f"{count} step{'s' * (count > 1)}" for count in STEPS]
    machine = f"{os.cpu_count()} cores of {processor()}, {platform.system()}, Python {platform.python_version()}"
    text = [
        "# Methods: expected against measured",
        "",
        f"`make methods-table` wrote this on {datetime.now(UTC):%Y-%m-%d} on {machine}; the trainings ran {when}, two "
        "at a time, each with one thread. Do not edit. Every method is its shipped recipe `points/METHOD` in full, the "
        "default average of its weights, from 100,000 points; the distilling ones share a teacher, "
        "`points/flow-matching` on the same data, whose training is not in their time. `longjump methods` says what "
        "each method is.",
        "",
        "## A Gaussian, N(0.7, 0.4²)",
        "",
        "The exact one-step map is 0.7 + 0.4 z. A method with finite steps comes to rest elsewhere, at a slope that is "
        "known too (`trainer/oracle/fixed_points.py`); flow matching is asked at its most steps.",
        "",
        *lines_table(
            ["method", "slope expected", "slope", "offset (0.7)"], [[name, *gaussian_cell(name)] for name in names()]
        ),
        "",
        "## Mixtures on a line",
        "",
        "One jump against the exact map, the quantile map: RMS over 4,000 seeds, in percent of the data's standard "
        f"deviation. {'; '.join(_mixture_text(problem.name) for problem in MIXTURES)}. No test trains on "
        "them; some recipes were tuned with them in view.",
        "",
        *lines_table(
            ["method", *(problem.name for problem in MIXTURES), "asked", "training"],
            [[name, *mixture_cells(name)] for name in names()],
        ),
        "",
        "More steps, by the method's own sampler (`longjump methods` says which): RMS between the sorted samples and "
        "the sorted truth, which noise on the way leaves comparable; the median over the mixtures.",
        "",
        *lines_table(["method", *steps], [[name, *further_steps(name)] for name in names()]),
    ]
    for problem in PLANE:
        text += [
            "",
            f"## {problem.name[0].upper()}{problem.name[1:]} in the plane",
            "",
            "Energy distance of 2,000 samples to as many real points, as a multiple of that between two sets of real "
            "points; and the one-step map against the integrated flow map, as above.",
            "",
            *lines_table(
                ["method", *steps, "one-step map"], [[name, *plane_cells(name, problem.name)] for name in names()]
            ),
        ]
    text += [
        "",
        "## What a step costs",
        "",
        *step_cost(),
        "",
    ]
    return "\n".join(text)


def step_cost() -> list[str]:
    """Time and memory of a step of each method as ratios to flow matching: what `make train-speed` wrote."""
    text = TRAINING.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    return text.splitlines() if text else [f"**{NOT_RUN}** (`make train-speed`)."]


def wanted(chosen: Sequence[str], problems: Sequence[str]) -> list[Cell]:
    """The cells of the table, problem by problem."""
    return [Cell(method, problem) for problem in problems for method in chosen]


def _mixture_text(name: str) -> str:
    found = PROBLEMS[name].distribution.parameters
    parts = [
        f"{weight:g} N({mean[0]:g}, {std:g}²)"
        for weight, mean, std in zip(found["weight"], found["mean"], found["std"], strict=True)
    ]
    return f"{name}: {' + '.join(parts)}"


def write_page(path: Path, text: str) -> None:
    """Write a page whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def main() -> int:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(prog="make methods-table", description=__doc__)
    parser.add_argument("--methods", nargs="+", metavar="NAME", default=names(), help="only these")
    parser.add_argument("--problems", nargs="+", metavar="NAME", default=list(PROBLEMS), choices=list(PROBLEMS),
                        help=f"only these, in this order, of {', '.join(map(repr, PROBLEMS))}")  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time, a thread each (default: 2)")
    parser.add_argument("--page-only", action="store_true", help="write the page from what there is")
    args = parser.parse_args()
    begun, failed = time.monotonic(), []
    if not args.page_only:
        cells = wanted(args.methods, args.problems)
        missing = [cell for cell in cells if cell.result() is None]
        print(f"{len(missing)} of {len(cells)} cells to run, {args.workers} at a time", flush=True)
        failed = run_all(cells, args.workers, lambda text: print(text, flush=True))
    write_page(PAGE, page())
    print(f"written {PAGE.relative_to(ROOT)}; {(time.monotonic() - begun) / 60:.0f} min")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
