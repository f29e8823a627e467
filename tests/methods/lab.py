"""`make lab`: models of eight Gaussians by several methods, and a server of them with the lab page at /lab.

They are cells of the methods table, so that what either has trained the other need not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from export.export import export
from tests.methods.cells import CACHE, Cell, run_all
from tests.methods.problems import PLANE
from tests.methods.table import names

CHOSEN = ("meanflow", "ayf-emd", "sct", "shortcut", "flow-matching")


def main() -> None:
    """Train what is missing, export, and become the server."""
    parser = argparse.ArgumentParser(prog="make lab", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(CHOSEN), choices=names(), metavar="NAME",
                        help=f"of {', '.join(names())}")  # fmt: skip
    parser.add_argument("--port", default="8000")
    args = parser.parse_args()
    cells = [Cell(method, PLANE[0].name) for method in args.methods]
    missing = [cell.method for cell in cells if cell.result() is None]
    if missing:
        print(f"training {', '.join(missing)}: a minute or two each, two at a time", flush=True)
    if run_all(cells, tell=lambda text: print(text, flush=True)):
        sys.exit(1)
    bundles = []
    for cell in cells:
        bundle = CACHE / "lab" / f"{cell.method}-{cell.key}"
        if not bundle.is_dir():
            bundle.parent.mkdir(parents=True, exist_ok=True)
            export(cell.folder / "run", bundle, name=f"eight-{cell.method}")
        bundles.append(str(bundle))
    print(f"the lab: http://127.0.0.1:{args.port}/lab", flush=True)
    program = shutil.which("longjump", path=os.path.dirname(sys.executable)) or "longjump"
    os.execv(program, [program, "serve", *bundles, "--port", args.port])


if __name__ == "__main__":
    main()
