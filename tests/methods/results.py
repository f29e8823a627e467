"""`make results`: trains six methods alike on real pictures, measures them, and writes docs/results.md.

What was trained and what was measured are kept in runs/results under what decides them, so a run that was cut off goes
on where it was, and a change of code asks only for what it touches. What was not run says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from tests.methods.code import ROOT
from tests.methods.pictures import STEPS, TEACHER, Cell, dataset, order
from tests.methods.plans import CACHE, PLANS, Plan, Stopped
from tests.methods.plots import png
from tests.methods.table import NOT_RUN, lines_table, names, write_page
from tests.speed.table import processor
from trainer.evaluate.evaluation import NOT_FID

PAGE = ROOT / "docs" / "results.md"
PLOTS = ROOT / "docs" / "results"
CHOSEN = (TEACHER, "meanflow", "imf", "ect", "ayf-emd", "ctm")
LONGER = 2
"""So many times as long MeanFlow is trained once more: about what a flow and ECT after it cost together."""

FIGURES = {
    "fd_enetlite0": "{:.1f}",
    "kid_enetlite0": "{:.4f}",
    "precision": "{:.3f}",
    "recall": "{:.3f}",
    "class_accuracy": "{:.1%}",
}


def cells(plan: Plan, chosen: Sequence[str]) -> list[Cell]:
    """Of a plan, in the order in which they run."""
    lengths = {"meanflow": (1, LONGER)}
    return order([Cell(method, plan, longer) for method in chosen for longer in lengths.get(method, (1,))])


def title(cell: Cell) -> str:
    """A cell's name in tables."""
    return cell.method if cell.longer == 1 else f"{cell.method}, {cell.longer} times as long"


def figures(found: Sequence[Cell]) -> list[str]:
    """A table of each figure's values at each step count; the floor as the last line."""
    steps = [str(count) for count in STEPS]
    lines: list[str] = []
    for name, form in FIGURES.items():
        rows = []
        floor = None
        for cell in found:
            result = cell.result()
            if result is None:
                rows.append([title(cell), *[NOT_RUN] * len(steps)])
                continue
            floor = result["floor"].get(name)
            rows.append([title(cell), *(form.format(result["steps"][count][name]) for count in steps)])
        if floor is not None:
            rows.append(["real pictures", form.format(floor), "", "", ""])
        head = [name, *(f"{count} evaluation{'s' * (count != '1')}" for count in steps)]
        lines += ["", *lines_table(head, rows)]
    return lines


def costs(found: Sequence[Cell]) -> list[str]:
    """What each training took, and with the flow that it begins with, as multiples of flow matching's."""
    base = Cell(TEACHER, found[0].plan).trained()
    rows = []
    for cell in found:
        own, whole = cell.trained(), cell.cost()
        if own is None or whole is None or base is None:
            rows.append([title(cell), *[NOT_RUN] * 5])
            continue
        rows.append(
            [
                title(cell),
                f"{own['images']:,}",
                f"{own['cpu_seconds'] / 60:.1f} min",
                f"{own['flops'] / base['flops']:.2f}",
                f"{whole[0] / 60:.1f} min",
                f"{whole[1] / base['flops']:.2f}",
            ]
        )
    head = [
        "method",
        "training pictures",
        "CPU time",
        "arithmetic",
        "CPU time with its flow",
        "arithmetic with its flow",
    ]
    return lines_table(head, rows)


def grid(found: Sequence[Cell]) -> bytes | None:
    """A PNG: a row for each method, a block for each step count, a sample of each class; None: nothing was drawn."""
    from matplotlib.figure import Figure

    drawn = [(cell, samples) for cell in found if cell.result() and (samples := cell.samples()) is not None]
    if not drawn:
        return None
    figure = Figure(figsize=(3.6 * len(STEPS), 0.5 * len(drawn) + 0.3), layout="constrained")
    axes = figure.subplots(len(drawn), len(STEPS), squeeze=False)
    for row, (cell, samples) in enumerate(drawn):
        for column, count in enumerate(STEPS):
            axis = axes[row][column]
            axis.imshow(samples[column].swapaxes(0, 1).reshape(samples.shape[3], -1, 3), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(f"{count} evaluation{'s' * (count != 1)}", fontsize=9)
            if column == 0:
                axis.set_ylabel(title(cell).replace(", ", "\n"), fontsize=7, rotation=0, ha="right", va="center")
    return png(figure)


def section(plan: Plan, chosen: Sequence[str]) -> list[str]:
    """A plan's part of the page."""
    if not plan.data.is_dir():
        return [f'**{NOT_RUN}** (`make results ARGS="--data {plan.name}"`, with an accelerator).']
    found = cells(plan, chosen)
    others = [name for name in names() if name not in chosen and Cell(name, plan).result() is None]
    found += [Cell(name, plan) for name in names() if name not in chosen and name not in others]
    known = next((result for cell in found if (result := cell.result()) is not None), None)
    lines = []
    if known is not None:
        settings = known["settings"]
        lines += [
            f"{settings['samples']:,} samples of each step count, seeds {settings['seeds'][0]} and on, against the "
            f"first {settings['reference']['pictures']:,} pictures of the test split at "
            f"{'x'.join(map(str, settings['resolution']))}; the last line of each table, the floor, is "
            f"{settings['floor']} (of the first {settings['training']['pictures']:,}), as good as a model can be at "
            f"that number. Data {settings['data']['sha256'][:12]}, extractor "
            f"{settings['extractor']['network']}, {settings['extractor']['sha256'][:12]}.",
        ]
    lines += figures(found)
    if (picture := grid(found)) is not None:
        PLOTS.mkdir(parents=True, exist_ok=True)
        (PLOTS / f"{plan.name}.png").write_bytes(picture)
        lines += [
            "",
            f"![Samples](results/{plan.name}.png)",
            "",
            "A sample of each class: the first seeds, none picked.",
        ]
    lines += ["", "What training took:", "", *costs(found)]
    if others:
        lines += ["", f'{", ".join(others)}: **{NOT_RUN}** (`make results ARGS="--methods {others[0]}"`).']
    return lines


def commands(plan: Plan) -> list[str]:
    """Those behind one line of the tables, with paths as a person would choose them."""
    cell = Cell("ect", plan)

    def shown(words: Sequence[str]) -> str:
        text = shlex.join(["longjump", *words])
        for path, name in (
            (plan.measured, "runs/measured"),
            (plan.data, "runs/data"),
            (cell.run, "runs/ect"),
            (Cell(TEACHER, plan).run, "runs/flow"),
        ):
            text = text.replace(str(path), name)
        return text

    return [
        "```bash",
        shown(["data", "build", *plan.build, "--out", str(plan.data)]),
        shown(Cell(TEACHER, plan).words()).replace(str(Cell(TEACHER, plan).run), "runs/flow"),
        shown(cell.words()),
        shown(cell.measuring()),
        "```",
    ]


def warning(found: Sequence[Cell]) -> list[str]:
    """What comes before all figures where no method makes its classes half as well as they can be told apart."""
    results = [result for cell in found if (result := cell.result()) is not None]
    lines = [line for result in results for line in result["steps"].values() if "class_accuracy" in line]
    if not lines:
        return []
    best, real = max(line["class_accuracy"] for line in lines), results[0]["floor"]["class_accuracy"]
    if best > real / 2:
        return []
    plan = found[0].plan
    return [
        f"**{plan.images // plan.batch} steps of {plan.batch} pictures are too few for any method to learn its "
        f"classes**: of the samples below at most {best:.1%} are of the class asked for, of real pictures {real:.1%} "
        f"(by chance 1 in {len(dataset(plan).classes)}). The figures compare how far each method is on its way; "
        "they do not say which one is the best in the end.",
        "",
    ]


def page(chosen: Sequence[str]) -> str:
    """docs/results.md from the results that there are."""
    plan = PLANS["fashion-mnist"]
    known: list[dict[str, Any]] = []
    if plan.data.is_dir():
        known = [found for cell in cells(plan, chosen) if (found := cell.trained()) is not None]
    dates = sorted({found["date"] for found in known})
    when = f"; the trainings ran {'on ' if len(dates) == 1 else 'from '}{' to '.join(dates[:1] + dates[1:][-1:])}"
    machine = f"{os.cpu_count()} virtual cores of {processor()}"
    width, depth, heads = (setting.partition("=")[2] for setting in plan.network)
    text = [
        "# Results: methods compared on pictures",
        "",
        *(warning(cells(plan, chosen)) if plan.data.is_dir() else []),
        f"`make results` wrote this on {datetime.now(UTC):%Y-%m-%d} on {machine}, {platform.system()}, Python "
        f"{platform.python_version()}{when if dates else ''}, one or two at a time, each with one thread, beside "
        "other work: the CPU times say little, the arithmetic was counted. Do not edit. "
        "[choosing-a-method.md](choosing-a-method.md) says what follows from it.",
        "",
        f"**Not FID**: {NOT_FID}.",
        "",
        "## Fashion-MNIST at 32x32",
        "",
        f"Every method has the same network (a DiT of width {width}, depth {depth}, {heads} heads, patch 4), the same "
        f"{plan.images:,} training pictures in batches of {plan.batch}, the same optimiser and no guidance; the rest "
        "is its shipped recipe `fashion-mnist/METHOD`, whose warm-ups were shortened with the run. ect, ayf-emd and "
        "ctm begin with the weights of the flow matching in the first line, which the last two also distil: their "
        "total cost is in the last two columns of the last table. **The runs are very short**: they compare methods at "
        "a budget of minutes on one CPU core and say little of what a hundred times as long would give.",
        "",
        *section(plan, chosen),
        "",
        "The commands behind one line (ect), which `make results` runs:",
        "",
        *(commands(plan) if plan.data.is_dir() else [f"**{NOT_RUN}.**"]),
        "",
        "`runs/measured` holds the first pictures of both splits of `runs/data`: features of all would take longer "
        "than the trainings.",
        "",
        "## Facets at 64x64",
        "",
        *section(PLANS["facets"], chosen),
    ]
    return "\n".join([*text, ""])


def run(plan: Plan, chosen: Sequence[str]) -> int:
    """Train and measure what is missing, and write the page after each; the number of those that failed.

    Raises Stopped where it was told to.
    """
    plan.prepare()
    failed = 0
    for cell in cells(plan, chosen):
        try:
            print(f"{title(cell)} on {plan.name}: training", flush=True)
            cell.train()
            print(f"{title(cell)} on {plan.name}: measuring", flush=True)
            cell.evaluate()
        except ChildProcessError as error:
            failed += 1
            print(f"{title(cell)} on {plan.name}: {error}", file=sys.stderr, flush=True)
        write_page(PAGE, page(CHOSEN))
    return failed


def main() -> int:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(prog="make results", description=__doc__)
    parser.add_argument("--data", choices=list(PLANS), default="fashion-mnist", help="default: fashion-mnist")
    parser.add_argument(
        "--methods", nargs="+", choices=names(), metavar="NAME", default=list(CHOSEN), help="only these"
    )
    parser.add_argument("--page-only", action="store_true", help="write the page from what there is")
    args = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    try:
        failed = 0 if args.page_only else run(PLANS[args.data], args.methods)
    except (Stopped, KeyboardInterrupt):
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    write_page(PAGE, page(CHOSEN))
    print(f"written {PAGE.relative_to(ROOT)}; kept in {CACHE.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
