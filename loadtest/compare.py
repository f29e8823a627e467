"""Say what changed between two results, with uncertainty: two runs, or two sweeps.

    longjump loadtest compare before.json after.json
    longjump loadtest compare before.json after.json --fail-on-regression

A change is clear if its interval leaves "the same" out. The intervals hold for all comparisons at once (95 % together,
Bonferroni), and know that requests of one stretch of time resemble each other. They are of what varies within a run: a
machine that is slower an hour later is a clear change too, and not one of the server. Measure both on the same quiet
machine, in turn, more than once.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from loadtest import arguments

SMALLEST = 2.0
"""Percent: what changed by less is not called a regression, however sure it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `longjump loadtest compare`."""
    parser.add_argument("before", type=Path, metavar="A.json", help="a run's or a sweep's result")
    parser.add_argument("after", type=Path, metavar="B.json", help="another of the same kind")
    parser.add_argument(
        "--fail-on-regression",
        type=arguments.percent,
        nargs="?",
        const=SMALLEST,
        metavar="PERCENT",
        help="exit with 1 if something became clearly worse by more than this (default: %(const)g)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Compare and print; 0, or 1 with --fail-on-regression and one. ValueError for results that do not compare."""
    from loadtest.comparison import compare, read_any, text
    from loadtest.differences import differences

    before, after = read_any(args.before), read_any(args.after)
    names = (str(args.before), str(args.after))
    rows, remarks = compare(before, after, names), differences(before, after)
    if args.before.samefile(args.after):
        remarks.insert(0, "A and B are the same file")
    elif before == after:
        remarks.insert(0, "A and B are copies of one result")
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "remarks": remarks}, indent=1))
    else:
        print(text(rows, remarks, *names))
    limit = args.fail_on_regression
    worse = [row for row in rows if limit is not None and row.regression > limit]
    for row in worse:
        print(f"longjump loadtest compare: worse: {row.what}, {row.before} to {row.after}", file=sys.stderr)
    return 1 if worse else 0
