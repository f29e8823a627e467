"""`make claims`: runs what the claims about the methods need and writes docs/claims.md, with a plot of each.

The trainings are cells like those of the methods table, kept the same way.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime

import torch

from tests.methods.cells import run_all
from tests.methods.claims import claims
from tests.methods.code import ROOT
from tests.methods.plots import png
from tests.methods.table import NOT_RUN, write_page
from tests.speed.table import processor

PAGE = ROOT / "docs" / "claims.md"
PLOTS = ROOT / "docs" / "claims"


def main() -> int:
    """Run what is missing, and write the page and its plots."""
    parser = argparse.ArgumentParser(prog="make claims", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(claims()), metavar="CLAIM", default=list(claims()))
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time, a thread each (default: 2)")
    parser.add_argument("--page-only", action="store_true", help="write the page from what there is")
    args = parser.parse_args()
    torch.set_num_threads(1)  # more wait for each other where anything else runs
    chosen = {name: claim for name, claim in claims().items() if name in args.only}
    failed = []
    if not args.page_only:
        cells = [cell for claim in chosen.values() for cell in claim.cells()]
        failed = run_all(cells, args.workers, lambda text: print(text, flush=True))
    machine = f"{os.cpu_count()} cores of {processor()}, {platform.system()}, Python {platform.python_version()}"
    lines = [
        "# Claims, tested",
        "",
        "What the literature and the post that this project began with say of these methods, tried on points. `make "
        f"claims` wrote this on {datetime.now(UTC):%Y-%m-%d} on {machine}; do not edit. One or two dimensions, "
        "small networks: what holds here may still fail on pictures, and the other way round.",
    ]
    PLOTS.mkdir(parents=True, exist_ok=True)
    for name, claim in claims().items():
        lines += ["", f"## {claim.TITLE}", "", claim.CLAIM, ""]
        if any(cell.result() is None for cell in claim.cells()):
            lines += [f"**{NOT_RUN}.**"]
            continue
        finding = claim.find()
        (PLOTS / f"{name}.png").write_bytes(png(finding.figure))
        verdict = finding.verdict[0].upper() + finding.verdict[1:]
        lines += [f"**{verdict}.** {finding.text}", "", f"![{claim.TITLE}](claims/{name}.png)"]
    write_page(PAGE, "\n".join([*lines, ""]))
    print(f"written {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
