"""Make the report of a sweep again from its JSON: the page, and pictures for a README.

longjump loadtest report sweep.json
longjump loadtest report sweep.json --png plots --html /tmp/report.html
"""

from __future__ import annotations

import argparse
from pathlib import Path

from loadtest.result import replace_file
from loadtest.sweep.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump loadtest report`."""
    parser.add_argument("sweep", type=Path, metavar="SWEEP.json", help="what `longjump loadtest sweep` wrote")
    parser.add_argument("--html", type=Path, metavar="FILE", help="(default: beside it, as .html)")
    add_png(parser)


def add_png(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declare --png."""
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="write each chart as a PNG too")


def run(args: argparse.Namespace) -> int:
    """Write and print it; 0. ValueError for a file that is no sweep, or one without runs."""
    from loadtest.report.terminal import table
    from loadtest.sweep.findings import summary
    from loadtest.sweep.result import read_sweep

    sweep = read_sweep(args.sweep)
    if not sweep.runs:
        raise ValueError(f"{args.sweep} has no run in it: there is nothing to report")
    html = args.html or args.sweep.with_suffix(".html")
    if html.resolve() == args.sweep.resolve():
        raise ValueError(f"the page would take the place of {args.sweep}; give another name: --html FILE")
    found = summary(sweep)
    paths = write_report(found, html, args.png)
    print(f"{table(found)}\n\nwritten to {', '.join(map(str, paths))}")
    return 0


def write_report(found: Summary, html: Path, png: Path | None) -> list[Path]:
    """Write the page, and the pictures if a folder is given; the paths."""
    from loadtest.report.charts import all_charts
    from loadtest.report.page import page
    from loadtest.report.png import write_pngs

    replace_file(html, page(found).encode())
    return [html, *(write_pngs(all_charts(found), png) if png is not None else [])]
